"""What a figure is worth: its confidence interval, the level of pure chance below it and the ceiling above it.

The bootstrap resamples queries, or whole groups of them: captions of one product are not independent witnesses, and
an interval that pretends so is too narrow. A mean depends only on how often each distinct value was drawn, so the
10,000 resamples are drawn as multinomial counts, which gives the same distribution as drawing queries one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import UsageError
from eval.metrics import Marks

Counts = npt.NDArray[np.int64]

RESAMPLES, MEDIAN_RESAMPLES = 10_000, 500
_CHUNK = 4_000_000  # draws held at once: 32 MB
_MANY_KINDS = 256  # above it, drawing the groups themselves is quicker than drawing counts


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a is than b on the same queries: the mean difference, its 95 % interval, a two-sided p-value."""

    mean: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    values: Marks,
    seed: int = 42,
    resamples: int = RESAMPLES,
    groups: Counts | None = None,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of ``values``, float64 (q,).

    ``groups`` int64 (q,) names the group (the product) of each query; groups are then resampled whole (Efron and
    Tibshirani 1993; cluster bootstrap). Without values both ends are not a number.
    """
    if len(values) == 0:
        return float("nan"), float("nan")
    means = bootstrap_means(values, seed, resamples, groups)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired_bootstrap(
    a: Marks, b: Marks, seed: int = 42, resamples: int = RESAMPLES, groups: Counts | None = None
) -> Difference:
    """Compare two systems on the same queries, mark by mark, float64 (q,) each.

    Raises: UsageError when the two are not marks of the same queries.
    """
    if a.shape != b.shape or len(a) == 0:
        raise UsageError(f"a paired test needs marks of the same queries, not {a.shape} and {b.shape}")
    difference = a - b
    means = bootstrap_means(difference, seed, resamples, groups)
    low, high = np.quantile(means, [0.025, 0.975])
    # One is added so that no finite number of resamples can claim a p-value of 0 (Davison and Hinkley 1997, 4.2).
    tail = 1 + min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return Difference(float(difference.mean()), float(low), float(high), min(1.0, 2 * tail / (resamples + 1)))


def bootstrap_means(values: Marks, seed: int = 42, resamples: int = RESAMPLES, groups: Counts | None = None) -> Marks:
    """Return the mean of each of ``resamples`` resamplings of the queries, or of the groups; float64 (resamples,)."""
    rng = np.random.default_rng(seed)
    totals = _totals(values, groups)
    kinds, times = np.unique(totals, axis=1, return_counts=True)
    if len(times) <= _MANY_KINDS:
        drawn = _draw_counts(rng, kinds, times, resamples)
    else:
        drawn = _draw_columns(rng, totals, resamples)
    return np.concatenate([total / size for total, size in drawn])


def median_interval(
    first: Marks, seed: int = 42, resamples: int = RESAMPLES, groups: Counts | None = None
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median of ``first``, float64 (q,).

    Queries are resampled one by one, or whole ``groups`` of them, int64 (q,), as in `bootstrap_interval`; of these at
    most `MEDIAN_RESAMPLES` times, as nothing shortens it.
    """
    if len(first) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    if groups is None or len(np.unique(groups)) == len(first):
        medians = _medians_one_by_one(first, rng, resamples)
    else:
        medians = _medians_of_groups(first, rng, min(resamples, MEDIAN_RESAMPLES), groups)
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def _medians_one_by_one(first: Marks, rng: np.random.Generator, resamples: int) -> Marks:
    """Draw only the place among q of each median, an order statistic: it has a Beta distribution."""
    middle = (len(first) + 1) / 2
    places = rng.beta(middle, middle, resamples) * len(first)
    return np.sort(first)[np.minimum(places.astype(np.int64), len(first) - 1)]


def _medians_of_groups(first: Marks, rng: np.random.Generator, resamples: int, groups: Counts) -> Marks:
    """Draw how often each group comes, and find the middle of all queries, each counted as often as its group."""
    names, which = np.unique(groups, return_inverse=True)
    order = np.argsort(first, kind="stable")
    ordered, which = first[order], which[order]
    medians, chunk = [], max(1, _CHUNK // len(first))
    for start in range(0, resamples, chunk):
        shares = np.full(len(names), 1 / len(names))
        drawn = rng.multinomial(len(names), shares, size=min(chunk, resamples - start))
        until = np.cumsum(drawn[:, which], axis=1)  # so many queries are drawn up to this rank
        half = until[:, -1:] / 2
        medians.append((ordered[np.argmax(until >= half, axis=1)] + ordered[np.argmax(until > half, axis=1)]) / 2)
    return np.concatenate(medians)


def chance_hit(gallery: int, relevant: int | Counts, k: int) -> float:
    """Return the hit@K of a random order: 1 - C(g - r, k) / C(g, k), averaged over queries if ``relevant`` is (q,)."""
    return _mean_over(relevant, lambda r: float(1.0 - _none_yet(gallery, r)[min(k, gallery)]))


def chance_recall(gallery: int, k: int) -> float:
    """Return the set recall@K of a random order: K / gallery, however many items are relevant."""
    return min(1.0, k / gallery) if gallery else 0.0


def chance_reciprocal_rank(gallery: int, relevant: int | Counts, cutoff: int | None = None) -> float:
    """Return the mean reciprocal rank of a random order, cut at ``cutoff``."""

    def expected(r: int) -> float:
        none = _none_yet(gallery, r)[: (cutoff or gallery) + 1]
        return float(np.sum(-np.diff(none) / np.arange(1, len(none))))

    return _mean_over(relevant, expected)


def chance_median_rank(gallery: int, relevant: int | Counts) -> float:
    """Return the rank that half of the queries reach in a random order."""
    counts, times = np.unique(np.atleast_1d(relevant), return_counts=True)
    if not gallery or not len(counts):
        return float("inf")
    none = sum(n * _none_yet(gallery, int(r)) for r, n in zip(counts, times, strict=True)) / times.sum()
    reached = np.flatnonzero(none <= 0.5)
    return float(reached[0]) if len(reached) else float("inf")


def ceiling_hit(twins: Counts, k: int) -> float:
    """Return the best hit@K that captions allow when the one right answer is the very photograph.

    ``twins`` int64 (q,) counts the gallery's photographs with the query's own caption, the right one among them (0 if
    the gallery lacks it). An oracle knows the caption, no more: it must order the twins at random.
    """
    return float(np.mean(np.where(twins > 0, np.minimum(1.0, k / np.maximum(twins, 1)), 0.0))) if len(twins) else 0.0


def ceiling_reciprocal_rank(twins: Counts, cutoff: int | None = None) -> float:
    """Return the best mean reciprocal rank that captions allow, ``twins`` as in `ceiling_hit`."""
    return _mean_over(twins, lambda m: float(np.sum(1.0 / np.arange(1, min(m, cutoff or m) + 1)) / m) if m else 0.0)


def ceiling_recall(present: Counts, relevant: Counts, k: int) -> float:
    """Return the best set recall@K there is: with more than K right answers even a perfect order cannot reach 1.

    ``relevant`` int64 (q,) counts a query's right answers, ``present`` those among them that the gallery holds.
    """
    return float(np.mean(np.minimum(present, k) / np.maximum(relevant, 1))) if len(relevant) else 0.0


def _totals(values: Marks, groups: Counts | None) -> Marks:
    """Return the sum of the marks and the number of queries of each group, float64 (2, groups)."""
    if groups is None:
        return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))])
    _, which = np.unique(groups, return_inverse=True)
    return np.stack([np.bincount(which, weights=values), np.bincount(which)])


def _draw_counts(
    rng: np.random.Generator, kinds: Marks, times: Counts, resamples: int
) -> Iterator[tuple[Marks, Marks]]:
    n = int(times.sum())
    chunk = max(1, _CHUNK // len(times))
    for start in range(0, resamples, chunk):
        drawn = rng.multinomial(n, times / n, size=min(chunk, resamples - start)).astype(np.float64)
        yield drawn @ kinds[0], drawn @ kinds[1]


def _draw_columns(rng: np.random.Generator, totals: Marks, resamples: int) -> Iterator[tuple[Marks, Marks]]:
    n = totals.shape[1]
    chunk = max(1, _CHUNK // n)
    for start in range(0, resamples, chunk):
        drawn = rng.integers(0, n, size=(min(chunk, resamples - start), n), dtype=np.uint32)
        yield totals[0][drawn].sum(axis=1), totals[1][drawn].sum(axis=1)


def _none_yet(gallery: int, relevant: int) -> Marks:
    """Return the chance that none of the first k in a random order is relevant, for k = 0..gallery."""
    left = np.arange(gallery, 0, -1, dtype=np.float64)
    steps = np.clip((left - relevant) / left, 0.0, 1.0)
    return np.concatenate([[1.0], np.cumprod(steps)])


def _mean_over(relevant: int | Counts, value: Callable[[int], float]) -> float:
    counts, times = np.unique(np.atleast_1d(relevant), return_counts=True)
    if not len(counts):
        return 0.0
    return float(sum(n * value(int(r)) for r, n in zip(counts, times, strict=True)) / times.sum())
