"""Recall@K, defined once: the trainer's validation, the report and the benchmarks all take it from here.

The field has two definitions under one name, and they differ as soon as a query has several right answers:

    hit@K     1 if any relevant item is among the first K, else 0. Also called Success@K or accuracy@K. It is what CLIP
              papers print as R@K; with one relevant item a query it equals instance recall.
    recall@K  |relevant among the first K| / |relevant|: set recall, as in BEIR and in Marqo's fashion benchmark.

Three rules hold for both. Ties count against us: whatever scores as high as a relevant item without being relevant
goes before it, so a collapsed encoder ranks last, not first. A query that found nothing, or whose answer the gallery
lacks, stays in the denominator with 0. Marks are per query first, float64 of shape (q,); means are folds over them.

A worked example, two queries (rows) over a gallery of four photographs (columns). Photographs 2 and 3 answer query 0
and photograph 3 answers query 1. Photograph 0 ties with photograph 2, so it goes before it:

>>> scores = np.array([[0.9, 0.3, 0.9, 0.1], [0.2, 0.8, 0.4, 0.6]], dtype=np.float32)
>>> ranks = ranks_of_relevant(scores, [np.array([2, 3]), np.array([3])])
>>> ranks.of(0).tolist(), ranks.of(1).tolist()
([2, 4], [2])
>>> hit_at(ranks, 1).tolist(), hit_at(ranks, 2).tolist(), recall_at(ranks, 2).tolist()
([0.0, 0.0], [1.0, 1.0], [0.5, 1.0])
>>> reciprocal_rank(ranks).tolist(), median_rank(ranks)
([0.5, 0.5], 2.0)

Never compare two figures whose galleries differ in size: hit@10 among 32 and among 40,000 have nothing in common.
Intervals, chance levels and ceilings are in `eval.bounds`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import UsageError

Scores = npt.NDArray[np.float32]
Marks = npt.NDArray[np.float64]
Relevant = Sequence[npt.NDArray[np.int64]] | npt.NDArray[np.bool_]
"""Which gallery items answer each query: bool (q, g), or q arrays of column numbers.

The column -1 is an answer that the gallery lacks: it is never found, and it counts.
"""

NEVER = int(np.iinfo(np.int64).max)
"""The rank of a relevant item that was not found at all."""

CHUNK_FLOATS = 8_000_000
"""How many scores are held at once (32 MB): 8,000 queries over 8,000 photographs pass in eight chunks."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks, from 1, of the relevant items of q queries; each query's ranks ascend.

    ``values`` is int64 of shape (all relevant items,), ``offsets`` int64 of shape (q + 1,): query i has
    ``values[offsets[i]:offsets[i + 1]]``. ``gallery`` is the number of candidates.
    """

    values: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    gallery: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, query: int) -> npt.NDArray[np.int64]:
        """Return the ranks of one query, ascending, shape (relevant items,)."""
        return self.values[self.offsets[query] : self.offsets[query + 1]]

    @property
    def relevant(self) -> npt.NDArray[np.int64]:
        """How many items are relevant to each query, int64 (q,)."""
        return np.diff(self.offsets)

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """How many of these the gallery holds, int64 (q,)."""
        query_of = np.repeat(np.arange(len(self)), self.relevant)
        return np.bincount(query_of[self.values < NEVER], minlength=len(self))

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """The rank of each query's best relevant item, int64 (q,); NEVER where none was found."""
        first = np.full(len(self), NEVER, dtype=np.int64)
        answered = self.relevant > 0
        first[answered] = self.values[self.offsets[:-1][answered]]
        return first


def hit_at(ranks: Ranks, k: int) -> Marks:
    """Return hit@K (Success@K) of each query: 1.0 if any relevant item is among the first ``k``; float64 (q,)."""
    return (ranks.first <= k).astype(np.float64)


def recall_at(ranks: Ranks, k: int) -> Marks:
    """Return set recall@K of each query: the share of its relevant items among the first ``k``; float64 (q,).

    A query without any relevant item has 0.
    """
    found = np.bincount(_query_of(ranks), weights=ranks.values <= k, minlength=len(ranks))
    return found / np.maximum(ranks.relevant, 1)


def reciprocal_rank(ranks: Ranks, cutoff: int | None = None) -> Marks:
    """Return 1 / rank of each query's best relevant item, 0 beyond ``cutoff``; float64 (q,); the mean is MRR."""
    first = ranks.first
    return np.where(first <= (cutoff or NEVER - 1), 1.0 / first, 0.0)


def median_rank(ranks: Ranks) -> float:
    """Return the median of the best ranks over queries; infinite when half of the queries found nothing."""
    return float(np.median(first_as_float(ranks))) if len(ranks) else float("inf")


def first_as_float(ranks: Ranks) -> Marks:
    """Return the best rank of each query as float64 (q,), infinite where nothing was found."""
    first = ranks.first
    return np.where(first == NEVER, np.inf, first.astype(np.float64))


def best_and_worst(ranks: Ranks, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Return which queries, at most ``count`` of each, have the lowest ranks, and which the highest, the worst first.

    Among equal ranks at random, so from everywhere.
    """
    order = np.random.default_rng(seed).permutation(len(ranks))
    order = order[np.argsort(ranks.first[order], kind="stable")]
    split = min(count, len(order) // 2 or 1)
    return order[:split].tolist(), order[: -split - 1 : -1].tolist()


def ranks_of_relevant(scores: Scores, relevant: Relevant, tolerance: float = 0.0) -> Ranks:
    """Rank the relevant items of each query by score, pessimistically.

    ``scores`` is float32 (q queries, g gallery items), higher is better. The j-th best relevant item has the rank
    j + the number of irrelevant items that score at least as high, less ``tolerance``. A score that is not a number
    counts against us too. Works in chunks of queries: beyond the scores themselves it needs about 32 MB.

    Raises: UsageError when ``relevant`` does not fit ``scores``.
    """
    return ranks_of_views(scores, (relevant,), tolerance)[0]


def ranks_of_views(scores: Scores, views: Sequence[Relevant], tolerance: float = 0.0) -> tuple[Ranks, ...]:
    """Do as `ranks_of_relevant` for several notions of relevance over the same scores, sorting them only once."""
    queries, gallery = scores.shape
    columns = [_columns(view, queries, gallery) for view in views]
    ranked: list[list[npt.NDArray[np.int64]]] = [[] for _ in views]
    rows = max(1, CHUNK_FLOATS // max(1, gallery))
    for start in range(0, queries, rows):
        ordered = np.sort(scores[start : start + rows], axis=1)
        for offset, row in enumerate(ordered):
            query = start + offset
            for view, out in zip(columns, ranked, strict=True):
                out.append(_ranks_in_row(scores[query], row, view[query], tolerance))
    return tuple(ranks_from_lists(lists, gallery) for lists in ranked)


def ranks_of_run(run: Sequence[Sequence[str]], relevant: Sequence[Collection[str]], gallery: int) -> Ranks:
    """Rank the relevant items of each query by where they stand in its list of found item ids, best first.

    What the list does not hold was never found. An id that occurs twice counts where it occurs first.

    Raises: UsageError when the two have not the same number of queries.
    """
    if len(run) != len(relevant):
        raise UsageError(
            f"the run answers {len(run)} queries, but {len(relevant)} were asked; answer each, if with []"
        )
    lists = []
    for found, wanted in zip(run, relevant, strict=True):
        places: dict[str, int] = {}
        for place, item in enumerate(found, start=1):
            places.setdefault(item, place)
        lists.append(np.sort(np.array([places.get(item, NEVER) for item in set(wanted)], dtype=np.int64)))
    return ranks_from_lists(lists, gallery)


def ranks_from_lists(lists: Sequence[npt.NDArray[np.int64]], gallery: int) -> Ranks:
    """Join one ascending array of ranks a query into `Ranks`."""
    offsets = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in lists], out=offsets[1:])
    return Ranks(np.concatenate([*lists, np.empty(0, dtype=np.int64)]), offsets, gallery)


def _ranks_in_row(
    scores: Scores, ordered: Scores, columns: npt.NDArray[np.int64], tolerance: float
) -> npt.NDArray[np.int64]:
    """Rank one query's relevant columns; ``ordered`` is its scores ascending, with those that are no numbers last."""
    known = columns[columns >= 0]
    own = -np.sort(-scores[known])
    # What is not below a score is at least as high, or no number at all: both go before it.
    bar = np.where(np.isnan(own), np.float32(-np.inf), own - np.float32(tolerance)).astype(np.float32)
    ahead = len(ordered) - np.searchsorted(ordered, bar, side="left")
    relevant_ahead = len(known) - np.searchsorted(np.sort(own), bar, side="left")
    ranks = np.full(len(columns), NEVER, dtype=np.int64)
    ranks[: len(known)] = ahead - relevant_ahead + np.arange(1, len(known) + 1)
    return ranks


def _columns(relevant: Relevant, queries: int, gallery: int) -> Sequence[npt.NDArray[np.int64]]:
    if isinstance(relevant, np.ndarray) and relevant.ndim == 2:
        if relevant.shape != (queries, gallery):
            raise UsageError(f"relevance has the shape {relevant.shape}, the scores ({queries}, {gallery})")
        return [np.flatnonzero(row) for row in relevant]
    if len(relevant) != queries:
        raise UsageError(f"relevance is given for {len(relevant)} queries, but there are scores of {queries}")
    columns = [np.unique(np.asarray(row, dtype=np.int64)) if len(row) > 1 else row for row in relevant]
    highest = max((int(row.max()) for row in columns if len(row)), default=-1)
    if highest >= gallery:
        raise UsageError(f"relevant column {highest} lies outside the gallery of {gallery}")
    return columns


def _query_of(ranks: Ranks) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(ranks)), ranks.relevant)
