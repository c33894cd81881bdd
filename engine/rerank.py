"""Looking at the first hits more closely: the same hits in a better order, both scores kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.records import Hit

Reranker = Literal["none", "maxsim", "cross"]
"""By the towers alone; by each word's best part of the photograph; by cross-attention of the words to the parts."""
DEPTH = 50
"""So many hits are looked at. Published and own trials agree that a larger pool does not find more."""


def in_better_order(hits: Sequence[Hit], scores: Mapping[str, float], weight: float) -> list[Hit]:
    """Return the hits in the order of both scores together; hits that ``scores`` lacks follow in their order.

    ``scores``: the re-ranker's, by point id. Each of the two scores is brought to mean 0 and deviation 1 among these
    hits, and the second is weighed by ``weight``: at 0 nothing changes.
    """
    seen = [replace(hit, rerank_score=scores[hit.id]) for hit in hits if hit.id in scores]
    others = [hit for hit in hits if hit.id not in scores]
    first, second = standard([hit.score for hit in seen]), standard([hit.rerank_score or 0.0 for hit in seen])
    order = np.argsort(-(first + weight * second), kind="stable")
    return [seen[row] for row in order.tolist()] + others


def standard(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return scores (..., k) brought to mean 0 and deviation 1 along the last axis; equal ones become 0."""
    values = np.asarray(scores, dtype=np.float64)
    if not values.size:
        return values
    deviation = values.std(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = np.divide(
        values - values.mean(axis=-1, keepdims=True), deviation, out=np.zeros_like(values), where=deviation > 0
    )
    return found
