"""The two steps of a batch that run beside the main thread: bytes off the disk, and pixels through the tower."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from engine.encoder import Encoder
from engine.errors import ImageError
from engine.records import Item, Vector
from ingest.decode import FULL_SIZE, decode
from ingest.ledger import Entry
from ingest.perceptual import Look, look_of
from ingest.sources.source import Source

MAX_PIXELS = 64_000_000
"""Decoded, that is 192 MB of RGB for each embedding thread; larger photographs are quarantined."""
MAX_FILE_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """An item with the bytes of its file, or with the reason why it is no photograph.

    ``sha256`` is empty where the bytes could not be had.
    """

    item: Item
    data: bytes = b""
    sha256: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a photograph: a unit vector (d,), its size in pixels and its look; or an error.

    ``patches``: unit rows (p, t) for its parts, from a checkpoint that makes them.
    """

    item_id: str
    vector: Vector | None = None
    width: int = 0
    height: int = 0
    look: Look | None = None
    error: str = ""
    patches: Vector | None = None


def fetch(source: Source, items: Sequence[Item], known: Mapping[str, Entry]) -> list[Fetched]:
    """Read and hash the files of a batch, in order; a file that cannot be read carries its reason."""
    return [_fetch_one(source, item, known.get(item.id)) for item in items]


def _fetch_one(source: Source, item: Item, before: Entry | None) -> Fetched:
    if item.size_bytes > MAX_FILE_BYTES:
        size, cap = item.size_bytes // 1_000_000, MAX_FILE_BYTES // 1_000_000
        return Fetched(item, error=f"{size} MB, more than the cap of {cap}")
    try:
        data = source.read(item)
    except ImageError as error:
        return Fetched(item, error=str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    if before and before.state == "quarantined" and before.sha256 == sha256:
        # Perhaps a decoder has come since that reads it; if not, the encoder need not be loaded to find out.
        try:
            decode(data, max_pixels=MAX_PIXELS)
        except ImageError as error:
            return Fetched(item, b"", sha256, str(error))
    return Fetched(item, data, sha256)


def embed(batch: Sequence[Fetched], encoder: Encoder, lock: threading.Lock | None) -> list[Embedded]:
    """Decode and embed a batch; a file that is no photograph carries its reason and disturbs no other.

    ``lock`` is held while the tower computes, for accelerators that take one batch at a time.
    """
    preprocessing = encoder.checkpoint.preprocessing
    results: list[Embedded] = []
    pixels = []
    for fetched in batch:
        try:
            image = decode(fetched.data, target=preprocessing.shorter_side, max_pixels=MAX_PIXELS)
        except ImageError as error:
            results.append(Embedded(fetched.item.id, error=str(error)))
            continue
        width, height = image.info[FULL_SIZE]
        results.append(Embedded(fetched.item.id, None, width, height, look_of(image)))
        pixels.append(preprocessing.pixels(image))
    if not pixels:
        return results
    with lock or nullcontext():
        vectors, patches = encoder.encode_photographs(np.stack(pixels))
    rows = iter(zip(vectors, patches if patches is not None else [None] * len(vectors), strict=True))
    return [result if result.error else _with_vector(result, *next(rows)) for result in results]


def _with_vector(result: Embedded, row: Vector, patches: Vector | None) -> Embedded:
    """One photograph that the tower turns into no number must not hold up all others."""
    if np.isfinite(row).all() and (patches is None or np.isfinite(patches).all()):
        return replace(result, vector=row, patches=patches)
    return Embedded(result.item_id, error="the model has no finite embedding of it")
