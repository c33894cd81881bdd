"""Who is examined: the examiner owns the split, and training must ask for its part.

The split goes by product, because photographs of one product show one garment: a model that trained on the front view
has seen the answer when the side view is asked for. Each item is assigned by a hash of its group, so the split
streams, does not depend on order, and an item keeps its part when the catalogue grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

from engine.checkpoint import Checkpoint
from engine.errors import UsageError
from engine.records import Item
from eval.captions import evened

Part = Literal["train", "validation", "test"]
TRAIN_SHARE, SEED = 0.8, 42
PARTS: tuple[Part, ...] = ("train", "validation", "test")


def split(
    items: Iterable[Item],
    part: Part,
    seed: int = SEED,
    train_share: float = TRAIN_SHARE,
    validation_share: float = 0.05,
    *,
    by_photograph: bool = False,
) -> Iterator[Item]:
    """Yield the items of one part: 8:2 into train and test, then ``validation_share`` of train is set apart.

    ``by_photograph`` assigns photographs instead of products. It leaks: views of one garment fall on both sides, and
    the figures come out too high. It is there only to compare with results that were obtained in that way.

    Raises: UsageError when the part is none, or a share is not between 0 and 1.
    """
    if part not in PARTS:
        raise UsageError(f"{part!r} is no part of the split; choose one of {', '.join(PARTS)}")
    for name, share in (("train_share", train_share), ("validation_share", validation_share)):
        if not 0 <= share <= 1:
            raise UsageError(f"{name}={share} is no share; give a number between 0 and 1")
    for item in items:
        group = f"photograph:{item.id}" if by_photograph else group_of(item)
        if part_of(group, seed, train_share, validation_share) == part:
            yield item


def part_of(group: str, seed: int = SEED, train_share: float = TRAIN_SHARE, validation_share: float = 0.05) -> Part:
    """Return the part that a group belongs to; depends on nothing else."""
    if _uniform("test", seed, group) >= train_share:
        return "test"
    return "validation" if _uniform("validation", seed, group) < validation_share else "train"


def split_of(checkpoint: Checkpoint) -> tuple[float, int]:
    """Return train share and seed that a checkpoint was trained by; the usual ones where it does not say."""
    return checkpoint.trained_split or (TRAIN_SHARE, SEED)


def group_of(item: Item) -> str:
    """Return what keeps items together: the product, else the title (case and spacing aside), else the item."""
    product = str(item.payload.get("product_id", "")).strip()
    if product:
        return f"product:{product}"
    title = evened(str(item.payload.get("title", "")))
    return f"title:{title}" if title else f"photograph:{item.id}"


def _uniform(purpose: str, seed: int, group: str) -> float:
    """Return a number in [0, 1) that is the same on every machine and in every Python, unlike hash()."""
    digest = hashlib.blake2b(f"{purpose}\0{seed}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
