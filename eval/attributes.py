"""Attributes in the examination: do the hits have what was asked for, and which kinds of queries go well or badly.

The fields come from the data: every payload field of words or yes/no with 2 to 60 values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.records import Item
from eval.bounds import chance_hit
from eval.examination import Figure, Group
from eval.figures import Bootstrap, figure
from eval.metrics import Marks, Ranks

MOST_VALUES = 60
FEWEST_QUERIES = 20
"""A group with fewer queries is left out: its interval would span most of the scale."""

_NAMES = ("item_id", "product_id", "title")
"""What names an item is no attribute of it, even where a small catalogue has few values."""

_NO_VALUE = -1


def attribute_fields(items: Sequence[Item]) -> tuple[str, ...]:
    """Return the payload fields of words or yes/no that have 2 to 60 values, sorted."""
    values: dict[str, set[str] | None] = {}
    for item in items:
        for name, value in item.payload.items():
            if name in _NAMES:
                continue
            seen = values.setdefault(name, set())
            if seen is None:
                continue
            if not isinstance(value, str | bool):
                values[name] = None
                continue
            seen.add(_word(value))
            if len(seen) > MOST_VALUES:
                values[name] = None
    return tuple(sorted(name for name, seen in values.items() if seen is not None and len(seen) >= 2))


def attribute_precision(
    targets: Sequence[Item],
    top: npt.NDArray[np.int64],
    gallery_ids: Sequence[str],
    known: Mapping[str, Item],
    bootstrap: Bootstrap,
) -> tuple[Figure, ...]:
    """Return, per field, the share of the first hits that have the value of the photograph that was described.

    ``targets`` are the q described items, ``top`` int64 (q, k) the columns of their hits. A query whose item lacks the
    field is not asked; a hit that lacks it does not match. Chance is the share of the gallery with the value.
    """
    gallery = [known.get(item_id) for item_id in gallery_ids]
    made = []
    for name in attribute_fields(targets):
        codes: dict[str, int] = {}
        own = _coded(targets, name, codes)
        theirs = _coded(gallery, name, codes)
        asked = own != _NO_VALUE
        share = np.bincount(theirs[theirs >= 0], minlength=len(codes)) / len(gallery_ids)
        marks = (theirs[top[asked]] == own[asked, None]).mean(axis=1)
        chance = float(share[own[asked]].mean())
        made.append(figure(name, "precision", marks, len(gallery_ids), bootstrap.of(asked), chance))
    return tuple(made)


def breakdown(targets: Sequence[Item], marks: Marks, ranks: Ranks, bootstrap: Bootstrap) -> tuple[Group, ...]:
    """Return hit@10 by product, ``marks`` float64 (q,), for each value of each field that 20 queries have."""
    present = ranks.found
    groups = []
    for name in attribute_fields(targets):
        codes: dict[str, int] = {}
        own = _coded(targets, name, codes)
        for value, code in sorted(codes.items()):
            rows = own == code
            if np.count_nonzero(rows) >= FEWEST_QUERIES:
                chance = chance_hit(ranks.gallery, present[rows], 10)
                one = figure("hit@10", "hit", marks[rows], ranks.gallery, bootstrap.of(rows), chance)
                groups.append(Group(name, value, one))
    return tuple(groups)


def _coded(items: Sequence[Item | None], name: str, codes: dict[str, int]) -> npt.NDArray[np.int64]:
    """Return the value of a field as a number per item, int64 (n,); values not seen before are added to ``codes``."""
    coded = np.full(len(items), _NO_VALUE, dtype=np.int64)
    for row, item in enumerate(items):
        value = item.payload.get(name) if item else None
        if isinstance(value, str | bool):
            coded[row] = codes.setdefault(_word(value), len(codes))
    return coded


def _word(value: str | bool) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else value
