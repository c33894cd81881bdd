"""Whether decoding a JPEG at a reduced size leaves its embedding as it is, and what it saves.

    python bench/reduced_decode.py FOLDER [COUNT]

FOLDER holds JPEG photographs that are at least four times as large as the model wants them; others are passed over.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.encoder import load_encoder
from ingest.decode import decode


def main(folder: Path, count: int) -> None:
    """Print cosines between embeddings of both decodings, and milliseconds a photograph."""
    encoder = load_encoder(find_checkpoint(DEFAULT_MODEL), "cpu")
    spec = encoder.checkpoint.preprocessing
    files = []
    for path in sorted(folder.rglob("*.jpg")):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if min(image.size) >= 4 * spec.shorter_side and len(files) < count:
                files.append(data)
    rows, took = [], []
    for target in (None, spec.shorter_side):
        started = time.perf_counter()
        pixels = np.stack([spec.pixels(decode(data, target=target)) for data in files])
        took.append(1000 * (time.perf_counter() - started) / len(files))
        rows.append(np.concatenate([encoder.encode_pixels(part) for part in np.array_split(pixels, 1 + count // 64)]))
    cosines = (rows[0] * rows[1]).sum(axis=1)
    nearest = [np.argsort(-(queries @ rows[0].T), axis=1)[:, 0] for queries in rows]
    same = float(np.mean(nearest[1] == np.arange(len(files))))
    print(
        f"{len(files)} photographs; cosine of whole and reduced: mean {cosines.mean():.5f}, least {cosines.min():.5f}"
    )
    print(f"its own whole photograph is the nearest one: {same:.3f}; {took[0]:.2f} and {took[1]:.2f} ms to decode")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500)
