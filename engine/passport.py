"""The index passport: which checkpoint made a collection, and the refusal of any other.

Vectors of two models never mix, and a query embedded by the wrong model finds nonsense without any error. So a
collection records the checkpoint's fingerprint, and the embeddings of a few golden texts and drawings: the first tells
another checkpoint, the second the same checkpoint computed differently (another library, a damaged export).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checkpoint import Checkpoint
from engine.encoder import Encoder, encode_image
from engine.errors import PassportError
from engine.records import Vector

if TYPE_CHECKING:
    from PIL import Image

GOLDEN_TEXTS = ("a red dress", "long sleeve denim jacket for men")
KEPT = 16
"""How many leading components of a golden embedding are kept."""
TOLERANCE = 0.01
"""bfloat16 moves a component by about 0.001; another model by about 0.06."""


def make_passport(encoder: Encoder) -> dict[str, Any]:
    """Return the passport of a new collection that ``encoder`` will fill, ready for JSON."""
    checkpoint = encoder.checkpoint
    return {
        "collection_id": uuid.uuid4().hex,
        "checkpoint": checkpoint.name,
        "fingerprint": checkpoint.fingerprint,
        "architecture": str(checkpoint.config.get("model_type", "")),
        "dimension": checkpoint.dimension,
        "golden_texts": _leading(encoder.encode_texts(GOLDEN_TEXTS)),
        "golden_images": _leading(np.stack([encode_image(encoder, image) for image in golden_images()])),
    }


def check_fingerprint(passport: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that did not make the collection.

    Raises:
        PassportError: naming both checkpoints.
    """
    if passport.get("fingerprint") != checkpoint.fingerprint:
        raise PassportError(
            f"the index was made by checkpoint {passport.get('checkpoint')!r} "
            f"({str(passport.get('fingerprint'))[:12]}), not by {checkpoint.name!r} ({checkpoint.fingerprint[:12]}): "
            "give that one with --model, or ingest into another --collection"
        )


def check_golden_texts(passport: Mapping[str, Any], encoder: Encoder) -> None:
    """Refuse an encoder whose text tower no longer computes what it did when the collection was made."""
    _compare(passport["golden_texts"], encoder.encode_texts(GOLDEN_TEXTS), "text")


def check_golden_images(passport: Mapping[str, Any], encoder: Encoder) -> None:
    """Refuse an encoder whose image tower no longer computes what it did when the collection was made."""
    rows = np.stack([encode_image(encoder, image) for image in golden_images()])
    _compare(passport["golden_images"], rows, "image")


def golden_images() -> list[Image.Image]:
    """Return two small drawings made of arithmetic alone, so that they are the same everywhere."""
    from PIL import Image

    y, x = np.mgrid[0:96, 0:72]
    waves = np.stack([x * 255 // 71, y * 255 // 95, (x + y) * 255 // 166], axis=-1)
    checks = np.where(((x // 12 + y // 12) % 2)[..., None] == 0, (200, 30, 40), (245, 240, 230))
    return [Image.fromarray(pixels.astype(np.uint8)) for pixels in (waves, checks)]


def _leading(rows: Vector) -> list[list[float]]:
    return [[round(float(value), 5) for value in row[:KEPT]] for row in rows]


def _compare(kept: list[list[float]], rows: Vector, tower: str) -> None:
    distance = float(np.abs(np.asarray(kept, dtype=np.float32) - rows[:, :KEPT]).max())
    if not distance <= TOLERANCE:
        raise PassportError(
            f"the {tower} tower gives other embeddings than when the index was made (off by {distance:.3f}): "
            "the checkpoint's files are damaged or a library changed; reinstall, or ingest again"
        )
