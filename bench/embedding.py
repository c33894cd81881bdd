"""Photographs of a source to their vectors in memory, for benchmarks that need no store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.encoder import Encoder
from engine.records import Item
from ingest.decode import decode
from ingest.sources.source import Source

CHUNK = 256


def embed_photographs(encoder: Encoder, source: Source, items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return unit rows (n, d), and patches (n, p, t) if the checkpoint makes them."""
    spec = encoder.checkpoint.preprocessing
    rows, patches = [], []
    for start in range(0, len(items), CHUNK):
        images = [decode(source.read(item), target=spec.shorter_side) for item in items[start : start + CHUNK]]
        found = encoder.encode_photographs(np.stack([spec.pixels(image) for image in images]))
        rows.append(found[0])
        patches.append(found[1])
    return np.concatenate(rows), None if patches[0] is None else np.concatenate(patches)
