"""QUANTIZE: a CLIP + photographs with captions --fast_copy--> its like, several times as fast on a processor.

Both towers become ONNX, and the image tower computes in 8-bit integers where captions find as well with them
(`train.quantize`). Nothing is learnt. A copy embeds a little otherwise than what it was made of, so it has a
fingerprint of its own, and collections of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.checkpoint import Checkpoint
from engine.encoder import Encoder, load_encoder
from engine.errors import SourceError, UsageError
from engine.records import Vector
from engine.replacing import replacing
from engine.towers import CHUNK
from eval.split import PARTS, split, split_of
from ingest.sources.source import Source
from train.card import CARD
from train.cores import Cores
from train.export import export_checkpoint, note
from train.origins import Origins
from train.pairs import build_pairs
from train.quantize import CALIBRATION, quantize_image_tower
from train.towers import towers_of

EXAMINED = 2000
"""About so many photographs say whether integers find as well; a fifth as many more tell the ranges."""
FEW = 10
TIMED = 32
"""So many photographs a core are embedded to see how fast the copy is."""


COPY = """## This copy

Made by `engine quantize` of the checkpoint with the fingerprint `{base}`. `text.onnx` and `image.onnx` are its towers
for ONNX Runtime. Mean cosine of photographs to how they were embedded before: {cosine:.4f}. hit@10 by arithmetic of
the image tower: {hit_at_10}.
"""


@dataclass(frozen=True)
class Copied:
    """What was made, and how it compares.

    ``hit_at_10``: of captions, by arithmetic of the image tower: ``float32`` and, if it was tried, ``int8``.
    ``cosine``: mean, of photographs as the copy embeds them to the same as they were embedded. ``before`` and
    ``after``: photographs/s of both image towers on this machine.
    """

    folder: Path
    hit_at_10: dict[str, float]
    cosine: float
    before: float
    after: float


def fast_copy(
    base: Checkpoint,
    sources: Sequence[Source],
    out: Path,
    *,
    begin: Callable[[str], None] = lambda what: None,
) -> Copied:
    """Make ``out``/checkpoint, which embeds as ``base`` does, and is fast without a GPU.

    Some photographs of ``sources`` tell the ranges of its activations, and others whether captions find as well; what
    is held out stays so. ``begin`` is told what takes minutes.

    Raises:
        SourceError: the sources have too few photographs that can be decoded, or two of them give the same one.
        UsageError: ``base`` re-ranks, which its copy could not; or ``out`` is in use.
    """
    folder = out / "checkpoint"
    if base.token_heads:
        raise UsageError(f"{base.folder} has heads for re-ranking: copy the checkpoint that it was made from")
    if "siglip" in str(base.config.get("model_type")):
        raise UsageError(f"{base.folder} is a SigLIP, whose texts are padded: only other CLIPs can be copied")
    if folder.exists():
        raise UsageError(f"{folder} exists already: give another --out")
    share, seed = split_of(base)
    origins = Origins(sources)
    known = [item for part in PARTS[:2] for item in split(origins.items, part, seed, share)]
    some = known[:: max(1, len(known) // (CALIBRATION + EXAMINED))]
    if len(some) < FEW:
        raise SourceError(f"{len(some)} photographs outside the held-out part are too few to tell: give more --data")
    begin(f"decoding {len(some):,} photographs")
    calibrating, examined = (
        build_pairs(items, origins, base.preprocessing, out / "pixels")
        for items in (some[::5][:CALIBRATION], [item for row, item in enumerate(some) if row % 5])
    )
    torch.set_num_threads(Cores().idle())
    towers, encoder = towers_of(base, "cpu"), load_encoder(base, "cpu")
    captions = examined.first_captions()
    begin(f"reading {len(captions):,} captions")
    with torch.inference_mode():
        texts = towers.embed_texts(towers.model.eval(), captions).cpu().numpy()
    with replacing(folder) as part:
        export_checkpoint(towers.model, towers.tokenizer, base.preprocessing, base.notes, part, base)
        copy = Checkpoint(part)
        begin("trying 8-bit integers")
        found = quantize_image_tower(copy, calibrating, examined, texts)
        pixels = np.asarray(examined.pixels[: TIMED * (os.cpu_count() or 1)])
        rows, before = _embed(encoder, pixels)
        ours, after = _embed(load_encoder(copy, "cpu"), pixels)
        copied = Copied(folder, found, float((ours * rows).sum(axis=1).mean()), before, after)
        note(part, {"copied": {"from": base.fingerprint, "cosine": copied.cosine, "hit@10": found}})
        _write_card(base, copied, part)
    return copied


def _embed(encoder: Encoder, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, float]:
    """Return unit rows, and how many photographs/s that were, on all cores as an ingest takes them."""
    torch.set_num_threads(1)
    parts = np.array_split(pixels, -(-len(pixels) // CHUNK))
    encoder.encode_pixels(parts[0])  # what is loaded at the first call
    with ThreadPoolExecutor() as pool:
        started = time.perf_counter()
        rows = list(pool.map(encoder.encode_pixels, parts))
        return np.concatenate(rows), len(pixels) / (time.perf_counter() - started)


def _write_card(base: Checkpoint, copied: Copied, folder: Path) -> None:
    """Hand on the card of ``base``, and say of what this is a copy."""
    card = base.folder / CARD
    said = card.read_text(encoding="utf-8", errors="replace") if card.exists() else f"# {base.name}\n"
    (folder / CARD).write_text(f"{said.rstrip()}\n\n{COPY.format(**vars(copied), base=base.fingerprint[:12])}")
