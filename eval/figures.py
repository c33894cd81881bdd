"""From per-query marks to figures: each mean with its interval, its chance level and its ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.bounds import (
    RESAMPLES,
    bootstrap_interval,
    ceiling_hit,
    ceiling_recall,
    ceiling_reciprocal_rank,
    chance_hit,
    chance_median_rank,
    chance_recall,
    chance_reciprocal_rank,
    median_interval,
)
from eval.examination import Curve, Figure
from eval.metrics import Marks, Ranks, first_as_float, hit_at, median_rank, recall_at, reciprocal_rank


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn: ``groups`` int64 (q,) names the product of each query, resampled as a whole."""

    seed: int = 42
    resamples: int = RESAMPLES
    groups: npt.NDArray[np.int64] | None = None

    def of(self, rows: npt.NDArray[np.bool_]) -> Bootstrap:
        """Restrict the groups to some of the queries, bool (q,)."""
        return Bootstrap(self.seed, self.resamples, None if self.groups is None else self.groups[rows])


def figure(
    name: str,
    definition: str,
    marks: Marks,
    gallery: int,
    bootstrap: Bootstrap,
    chance: float | None = None,
    ceiling: float | None = None,
) -> Figure:
    """Fold marks, float64 (q,), into their mean with its interval; no marks make a figure that is not a number."""
    low, high = bootstrap_interval(marks, bootstrap.seed, bootstrap.resamples, bootstrap.groups)
    value = float(marks.mean()) if len(marks) else float("nan")
    return Figure(name, value, low, high, chance, ceiling, len(marks), gallery, definition)


def rank_figures(
    ranks: Ranks,
    bootstrap: Bootstrap,
    twins: npt.NDArray[np.int64] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    present: npt.NDArray[np.int64] | None = None,
    *,
    set_recall: bool = False,
) -> tuple[Figure, ...]:
    """Return hit@K, set recall@K where some query has several right answers, MRR, MRR@10 and the median rank.

    With a single right answer a query, set recall is hit@K again; ``set_recall`` asks for it nonetheless.

    ``twins`` int64 (q,) as in `eval.bounds.ceiling_hit` gives the ceilings; without it they are unknown.
    ``present`` int64 (q,) counts the right answers that the gallery holds, for ranks that come from a list cut short.
    """
    gallery, relevant = ranks.gallery, ranks.relevant
    if present is None:
        present = ranks.found
    made = [
        figure(
            f"hit@{k}",
            "hit",
            hit_at(ranks, k),
            gallery,
            bootstrap,
            chance_hit(gallery, present, k),
            None if twins is None else ceiling_hit(twins, k),
        )
        for k in ks
    ]
    if set_recall or np.any(relevant > 1):
        # Chance and ceiling both fall short of K / gallery and 1 where the gallery lacks some of the right answers.
        share = float(np.mean(present / np.maximum(relevant, 1)))
        made += [
            figure(
                f"recall@{k}",
                "set recall",
                recall_at(ranks, k),
                gallery,
                bootstrap,
                chance_recall(gallery, k) * share,
                ceiling_recall(present, relevant, k),
            )
            for k in ks
        ]
    made += [
        figure(
            name,
            "reciprocal rank",
            reciprocal_rank(ranks, cutoff),
            gallery,
            bootstrap,
            chance_reciprocal_rank(gallery, present, cutoff),
            None if twins is None else ceiling_reciprocal_rank(twins, cutoff),
        )
        for name, cutoff in (("MRR", None), ("MRR@10", 10))
    ]
    low, high = median_interval(first_as_float(ranks), bootstrap.seed, bootstrap.resamples, bootstrap.groups)
    chance = chance_median_rank(gallery, present)
    return (*made, Figure("median rank", median_rank(ranks), low, high, chance, None, len(ranks), gallery, "rank"))


def hit_curve(ranks: Ranks, bootstrap: Bootstrap, until: int = 100) -> Curve:
    """Return hit@K for K = 1..``until``, or up to the size of the gallery."""
    present = ranks.found
    ks = tuple(range(1, max(1, min(until, ranks.gallery)) + 1))
    figures = [
        figure("hit", "hit", hit_at(ranks, k), ranks.gallery, bootstrap, chance_hit(ranks.gallery, present, k))
        for k in ks
    ]
    return Curve(
        ks,
        tuple(f.value for f in figures),
        tuple(f.low for f in figures),
        tuple(f.high for f in figures),
        tuple(f.chance or 0.0 for f in figures),
    )
