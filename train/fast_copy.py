"""QUANTIZE: a CLIP + photographs with captions --fast_copy--> its like, faster without a GPU.

Both towers become ONNX, and the image tower computes in 8-bit integers where captions find as well with them
(`train.quantize`). Nothing is learnt. A copy embeds a little otherwise than what it was made of, so it has a
fingerprint of its own, and collections of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from train.export import export_checkpoint, note, write_json
from train.origins import Origins
from train.pairs import Pairs, build_pairs
from train.quantize import CALIBRATION, arithmetic, quantize_image_tower
from train.teacher import on_all_cores
from train.towers import towers_of

EXAMINED = 2000
"""About so many photographs, at most, say whether integers find as well; a quarter as many others tell the ranges."""
TIMED = 128
"""So many photographs are embedded both ways, to see how fast the copy is and how near."""
FEW = 50
"""Among so few photographs that are described differently, captions would find as well by any arithmetic."""
COPY = """## This copy

Made by `engine quantize` of the checkpoint with the fingerprint `{base}`. `text.onnx` and `image.onnx` are its towers
for ONNX Runtime; the image tower computes in {arithmetic}. hit@10 of {examined:,} captions: {marks}. Mean
cosine of photographs to how they were embedded before: {cosine:.4f}.
"""


@dataclass(frozen=True)
class Copied:
    """What was made, and how it compares.

    ``hit_at_10``: of captions, by arithmetic of the image tower: ``float32`` and, if it was tried, ``int8``;
    ``arithmetic``: which of them it computes by. ``examined``: among so many photographs. ``cosine``: mean, of
    some as the copy embeds them to the same as they were embedded. ``before`` and ``after``: photographs/s of both
    image towers on this machine.
    """

    folder: Path
    hit_at_10: dict[str, float]
    arithmetic: str
    examined: int
    cosine: float
    before: float
    after: float

    @property
    def marks(self) -> str:
        """What captions find, in words."""
        return ", ".join(f"{mark:.4f} in {name}" for name, mark in self.hit_at_10.items())


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
        CheckpointError: ``base`` cannot be loaded.
        SourceError: the sources have too few photographs that are told apart, or two of them give the same one.
        UsageError: ``base`` is such a copy, or something that cannot be copied; or ``out`` is in use.
    """
    folder = out / "checkpoint"
    _check(base)
    if folder.exists():
        raise UsageError(f"{folder} exists already: give another --out")
    encoder = load_encoder(base, "cpu")
    calibrating, examined = _two_parts(base, sources, out / "pixels", begin)
    captions = examined.first_captions()
    begin(f"reading {len(captions):,} captions")
    torch.set_num_threads(Cores().idle())
    towers = towers_of(base, "cpu")
    with torch.inference_mode():
        texts = towers.embed_texts(towers.model.eval(), captions).cpu().numpy()
    with replacing(folder) as part:
        export_checkpoint(towers.model, towers.tokenizer, base.preprocessing, base.notes, part, base)
        begin("trying 8-bit integers")
        found = quantize_image_tower(Checkpoint(part), calibrating, examined, texts)
        computes_in = arithmetic(found)
        _sign(part, base, computes_in)
        pixels = np.asarray(examined.pixels[:TIMED])
        rows, before = _embed(encoder, pixels)
        ours, after = _embed(load_encoder(Checkpoint(part), "cpu"), pixels)
        cosine = float((ours * rows).sum(axis=1).mean())
        copied = Copied(folder, found, computes_in, len(examined), cosine, before, after)
        note(part, {"copied": {"from": base.fingerprint, "hit@10": found, "cosine": cosine}})
        _write_card(base, copied, part)
    return copied


def _check(base: Checkpoint) -> None:
    if base.token_heads:
        raise UsageError(f"{base.folder} has heads for re-ranking: copy the checkpoint that it was made from")
    if "siglip" in str(base.config.get("model_type")):
        raise UsageError(f"{base.folder} is a SigLIP, whose texts are padded: only other CLIPs can be copied")
    if base.tower("image"):
        raise UsageError(f"{base.folder} has ONNX towers already: no copy of it would be faster")


def _two_parts(
    base: Checkpoint, sources: Sequence[Source], cache: Path, begin: Callable[[str], None]
) -> tuple[Pairs, Pairs]:
    """Return photographs to measure ranges by, and others to search among; none that is held out."""
    share, seed = split_of(base)
    origins = Origins(sources)
    known = [item for part in PARTS[:2] for item in split(origins.items, part, seed, share)]
    some = known[:: max(1, -(-len(known) // (CALIBRATION + EXAMINED)))]
    begin(f"decoding {len(some):,} photographs")
    calibrating, examined = (
        build_pairs(items, origins, base.preprocessing, cache)
        for items in (some[::5], [item for row, item in enumerate(some) if row % 5])
    )
    if (count := len(set(examined.keys))) < FEW:
        raise SourceError(
            f"only {count} photographs outside the held-out part are described differently, and {FEW} are needed to "
            "see what integers cost: give more --data, with captions or attributes"
        )
    return calibrating, examined


def _sign(folder: Path, base: Checkpoint, computes_in: str) -> None:
    """Let the copy have a fingerprint of its own, though its weights may be those of ``base``."""
    copied = {"copy_of": base.fingerprint, "image_tower": computes_in}
    write_json(folder / "config.json", Checkpoint(folder).config | copied)


def _embed(encoder: Encoder, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, float]:
    """Return unit rows, and how many photographs/s that were, on all cores as an ingest takes them."""
    torch.set_num_threads(1)
    encoder.encode_pixels(pixels[:CHUNK])  # what is loaded at the first call
    started = time.perf_counter()
    rows = on_all_cores(encoder.encode_pixels, pixels, CHUNK)
    return rows, len(pixels) / (time.perf_counter() - started)


def _write_card(base: Checkpoint, copied: Copied, folder: Path) -> None:
    """Hand on the card of ``base``, and say of what this is a copy."""
    card = base.folder / CARD
    said = card.read_text(encoding="utf-8", errors="replace") if card.exists() else f"# Copy of {base.name}\n"
    ours = COPY.format(**vars(copied), marks=copied.marks, base=base.fingerprint[:12])
    (folder / CARD).write_text(f"{said.rstrip()}\n\n{ours}", encoding="utf-8", errors="backslashreplace")
