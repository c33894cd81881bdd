"""What one core can do: milliseconds a photograph for decoding and for encoding, alone, in one thread, as JSON.

ceiling.py FOLDER COUNT
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.encoder import load_encoder
from ingest.decode import decode

BATCH = 64
ROUNDS = 3


def ceiling(folder: Path, count: int) -> dict[str, float]:
    """Measure ``count`` photographs spread over ``folder``; the best of some rounds counts."""
    paths = sorted((folder / "images").glob("*.jpg"))
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    files = [path.read_bytes() for path in chosen]
    encoder = load_encoder(find_checkpoint(DEFAULT_MODEL), "cpu")
    spec = encoder.checkpoint.preprocessing
    pixels = np.stack([spec.pixels(decode(data, target=spec.shorter_side)) for data in files])
    encoder.encode_pixels(pixels[:BATCH])

    def decode_all() -> None:
        for data in files:
            spec.pixels(decode(data, target=spec.shorter_side))

    def encode_all() -> None:
        for start in range(0, len(pixels), BATCH):
            encoder.encode_pixels(pixels[start : start + BATCH])

    return {"decode_ms": _milliseconds(decode_all) / len(files), "encode_ms": _milliseconds(encode_all) / len(files)}


def _milliseconds(work: Callable[[], None]) -> float:
    def once() -> float:
        started = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - started)

    return min(once() for _ in range(ROUNDS))


if __name__ == "__main__":
    print(json.dumps(ceiling(Path(sys.argv[1]), int(sys.argv[2]))))
