"""Looking at the first hits more closely: the same hits in a better order, both scores kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.records import Hit

Reranker = Literal["none", "maxsim"]
DEPTH = 50
"""So many hits are looked at. Published and own trials agree that a larger pool does not find more."""


def by_words(hits: Sequence[Hit], sums: Mapping[str, float], words: int, weight: float) -> list[Hit]:
    """Return the hits in the order of both scores together; hits that ``sums`` lacks follow in their order.

    ``sums``: by point id, the sum over ``words`` words of the cosine with the best patch. Each of the two scores is
    brought to mean 0 and deviation 1 among these hits, and the second is weighed by ``weight``: at 0 nothing changes.
    """
    seen = [replace(hit, rerank_score=sums[hit.id] / words) for hit in hits if hit.id in sums]
    others = [hit for hit in hits if hit.id not in sums]
    first = _standard([hit.score for hit in seen])
    second = _standard([hit.rerank_score or 0.0 for hit in seen])
    order = np.argsort(-(first + weight * second), kind="stable")
    return [seen[row] for row in order.tolist()] + others


def _standard(scores: Sequence[float]) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    deviation = values.std() if len(values) else 0.0
    return (values - values.mean()) / deviation if deviation > 0 else np.zeros(len(values))
