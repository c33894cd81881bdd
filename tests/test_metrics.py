from __future__ import annotations

import doctest
import math

import ir_measures
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eval.bounds as bounds_module
import eval.exact as exact_module
import eval.metrics as metrics_module
from engine.errors import UsageError
from eval.bounds import (
    bootstrap_interval,
    bootstrap_means,
    ceiling_hit,
    ceiling_recall,
    ceiling_reciprocal_rank,
    chance_hit,
    chance_median_rank,
    chance_recall,
    chance_reciprocal_rank,
    median_interval,
    paired_bootstrap,
)
from eval.exact import exact_search, ranks_of_vectors
from eval.figures import Bootstrap, rank_figures
from eval.metrics import (
    NEVER,
    Ranks,
    best_and_worst,
    hit_at,
    median_rank,
    ranks_from_lists,
    ranks_of_relevant,
    ranks_of_run,
    recall_at,
    reciprocal_rank,
)


def slow_order(scores: list[float], relevant: set[int]) -> list[int]:
    """The oracle: sort by score; at equal scores the irrelevant first; what is no number goes against us."""

    def key(column: int) -> tuple[float, bool]:
        score = scores[column]
        if math.isnan(score):
            score = -math.inf if column in relevant else math.inf
        return (-score, column in relevant)

    return sorted(range(len(scores)), key=key)


@st.composite
def scored(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    levels = draw(st.integers(1, 6))  # few levels: many ties
    value = st.integers(0, levels).map(lambda n: float("nan") if n == 6 else n / 8)
    scores = draw(st.lists(st.lists(value, min_size=gallery, max_size=gallery), min_size=queries, max_size=queries))
    row = st.lists(st.booleans(), min_size=gallery, max_size=gallery)
    relevant = draw(st.lists(row, min_size=queries, max_size=queries))
    return np.array(scores, dtype=np.float32), np.array(relevant, dtype=bool)


@settings(max_examples=300, deadline=None)
@given(scored(), st.integers(1, 10))
def test_ranks_and_marks_equal_those_of_a_slow_oracle_with_ties_and_not_a_number(
    case: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]], k: int
) -> None:
    scores, relevant = case
    ranks = ranks_of_relevant(scores, relevant)
    for query, (row, right) in enumerate(zip(scores.tolist(), relevant, strict=True)):
        wanted = set(np.flatnonzero(right).tolist())
        order = slow_order(row, wanted)
        places = [place for place, column in enumerate(order, start=1) if column in wanted]
        assert ranks.of(query).tolist() == places
        found = [place for place in places if place <= k]
        assert hit_at(ranks, k)[query] == bool(found)
        assert recall_at(ranks, k)[query] == pytest.approx(len(found) / len(wanted) if wanted else 0)
        assert reciprocal_rank(ranks)[query] == pytest.approx(1 / places[0] if places else 0)
        assert reciprocal_rank(ranks, k)[query] == pytest.approx(1 / found[0] if found else 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_marks_equal_those_of_ir_measures_where_nothing_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(5 * 30).reshape(5, 30).astype(np.float32)
    relevant = rng.random((5, 30)) < 0.15
    relevant[:, 0] = True  # ir_measures leaves queries without right answers out; we never do
    qrels = {str(q): {f"d{d}": int(relevant[q, d]) for d in range(30)} for q in range(5)}
    run = {str(q): {f"d{d}": float(scores[q, d]) for d in range(30)} for q in range(5)}
    measures = [ir_measures.Success @ 5, ir_measures.R @ 5, ir_measures.RR, ir_measures.RR @ 10]
    theirs = {(m.measure, m.query_id): m.value for m in ir_measures.iter_calc(measures, qrels, run)}
    ranks = ranks_of_relevant(scores, relevant)
    ours = [hit_at(ranks, 5), recall_at(ranks, 5), reciprocal_rank(ranks), reciprocal_rank(ranks, 10)]
    for measure, marks in zip(measures, ours, strict=True):
        assert marks.tolist() == pytest.approx([theirs[measure, str(q)] for q in range(5)])


def test_the_worked_examples_in_the_docstrings_are_true() -> None:
    for module in (metrics_module, bounds_module, exact_module):
        assert doctest.testmod(module, extraglobs={"np": np}).failed == 0
    assert doctest.testmod(metrics_module).attempted >= 5


def test_chunked_ranks_equal_those_of_the_full_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    queries, gallery = unit(rng, 37, 8), unit(rng, 53, 8)
    relevant = [rng.choice(53, size=n % 4, replace=False) for n in range(37)]
    full = exact_search(queries, gallery, (relevant,), top=7)
    monkeypatch.setattr(metrics_module, "CHUNK_FLOATS", 200)
    monkeypatch.setattr(exact_module, "CHUNK_FLOATS", 200)
    chunked = exact_search(queries, gallery, (relevant,), top=7)
    assert same(full.ranks[0], chunked.ranks[0])
    assert same(full.ranks[0], ranks_of_relevant(queries @ gallery.T, relevant, exact_module.TIE))
    assert np.array_equal(full.top, chunked.top)


def test_exact_search_finds_what_a_full_sort_finds() -> None:
    rng = np.random.default_rng(2)
    queries, gallery = unit(rng, 20, 16), unit(rng, 300, 16)
    found = exact_search(queries, gallery, top=25)
    scores = queries @ gallery.T
    assert np.array_equal(found.top, np.argsort(-scores, axis=1, kind="stable")[:, :25])
    assert np.allclose(found.scores, -np.sort(-scores, axis=1)[:, :25])
    assert exact_search(queries, gallery[:3], top=25).top.shape == (20, 3)
    assert exact_search(queries[:0], gallery, top=25).top.shape == (0, 25)


def test_a_collapsed_encoder_ranks_last_not_first() -> None:
    gallery = np.tile(unit(np.random.default_rng(0), 1, 64), (101, 1))
    ranks = ranks_of_vectors(gallery, gallery, [np.array([n]) for n in range(101)])
    assert ranks.first.tolist() == [101] * 101
    assert hit_at(ranks, 100).sum() == 0


def test_a_model_of_nothing_but_nan_scores_nothing() -> None:
    scores = np.full((4, 20), np.nan, dtype=np.float32)
    assert ranks_of_relevant(scores, np.eye(4, 20, dtype=bool)).first.tolist() == [20] * 4


def test_byte_identical_photographs_tie_even_where_the_product_rounds_differently() -> None:
    rng = np.random.default_rng(3)
    gallery = unit(rng, 67, 512)
    gallery[13] = gallery[66]
    ranks = ranks_of_vectors(gallery[[13, 66]], gallery, [np.array([13]), np.array([66])])
    assert ranks.first.tolist() == [2, 2]


def test_a_query_that_found_nothing_stays_in_the_denominator_with_zero() -> None:
    ranks = ranks_of_run([["a", "b"], [], ["c"]], [{"b"}, {"a"}, set()], gallery=9)
    assert hit_at(ranks, 10).tolist() == [1, 0, 0]
    assert recall_at(ranks, 10).tolist() == [1, 0, 0]
    assert reciprocal_rank(ranks).tolist() == [0.5, 0, 0]
    assert median_rank(ranks) == math.inf


def test_an_answer_that_the_gallery_lacks_is_never_found_and_counts() -> None:
    scores = np.array([[0.9, 0.1]], dtype=np.float32)
    ranks = ranks_of_relevant(scores, [np.array([-1, 0])])
    assert ranks.of(0).tolist() == [1, NEVER]
    assert recall_at(ranks, 2).tolist() == [0.5]
    assert (ranks.relevant.tolist(), ranks.found.tolist()) == ([2], [1])


def test_an_id_returned_twice_counts_where_it_came_first() -> None:
    assert ranks_of_run([["a", "a", "b"]], [{"a", "b"}], gallery=3).of(0).tolist() == [1, 3]
    assert ranks_of_run([["a", "b"]], [["b", "b"]], gallery=3).of(0).tolist() == [2]


def test_the_median_rank_of_no_query_at_all_is_that_of_nothing_found() -> None:
    assert median_rank(ranks_from_lists([], 9)) == math.inf


def test_the_best_and_the_worst_queries_are_none_twice_the_worst_first_and_among_equals_from_everywhere() -> None:
    ranks = ranks_from_lists([np.array([rank]) for rank in (3, 1, 9, 2, NEVER)], 20)
    assert best_and_worst(ranks, 2, 0) == ([1, 3], [4, 2])
    assert best_and_worst(ranks, 12, 0) == ([1, 3], [4, 2])
    assert best_and_worst(ranks_from_lists([np.array([1])], 20), 12, 0) == ([0], [0])
    equal = ranks_from_lists([np.array([1])] * 100, 20)
    chosen = [best_and_worst(equal, 12, seed) for seed in range(5)]
    assert chosen == [best_and_worst(equal, 12, seed) for seed in range(5)]
    assert len({tuple(best) for best, _ in chosen}) == len({tuple(worst) for _, worst in chosen}) == 5
    assert all(set(best).isdisjoint(worst) and max(best) > 50 for best, worst in chosen)


def test_relevance_that_does_not_fit_the_scores_is_refused() -> None:
    scores = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(UsageError, match="1 queries"):
        ranks_of_relevant(scores, [np.array([0])])
    with pytest.raises(UsageError, match=r"column 3 .* gallery of 3"):
        ranks_of_relevant(scores, [np.array([0]), np.array([3])])
    with pytest.raises(UsageError, match="shape"):
        ranks_of_relevant(scores, np.zeros((3, 2), dtype=bool))
    with pytest.raises(UsageError, match="2 queries"):
        ranks_of_run([[], []], [{"a"}], gallery=3)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 50))
def test_chance_is_the_hypergeometric_closed_form(gallery: int, relevant: int, k: int) -> None:
    relevant, k_in = min(relevant, gallery), min(k, gallery)
    exact = 1 - math.comb(gallery - relevant, k_in) / math.comb(gallery, k_in)
    assert chance_hit(gallery, relevant, k) == pytest.approx(exact, abs=1e-12)


def test_chance_levels_are_what_random_scores_reach() -> None:
    rng = np.random.default_rng(4)
    relevant = np.array([1, 3] * 3000)
    ranks = ranks_of_relevant(rng.random((6000, 50), dtype=np.float32), [np.arange(n) for n in relevant])
    assert hit_at(ranks, 10).mean() == pytest.approx(chance_hit(50, relevant, 10), abs=0.02)
    assert recall_at(ranks, 10).mean() == pytest.approx(chance_recall(50, 10), abs=0.02)
    assert reciprocal_rank(ranks).mean() == pytest.approx(chance_reciprocal_rank(50, relevant), abs=0.02)
    assert reciprocal_rank(ranks, 10).mean() == pytest.approx(chance_reciprocal_rank(50, relevant, 10), abs=0.02)
    assert median_rank(ranks) == pytest.approx(chance_median_rank(50, relevant), abs=1)


def test_the_ceiling_is_what_an_oracle_of_captions_reaches() -> None:
    rng = np.random.default_rng(5)
    captions = np.repeat(np.arange(400), rng.integers(1, 12, size=400))
    twins = np.bincount(captions)[captions]
    draws = [(captions[:, None] == captions[None, :]) + rng.random((len(captions),) * 2) / 2 for _ in range(3)]
    own = [np.array([n]) for n in range(len(captions))]
    ranks = [ranks_of_relevant(draw.astype(np.float32), own) for draw in draws]
    for k in (1, 5, 10):
        assert np.mean([hit_at(r, k).mean() for r in ranks]) == pytest.approx(ceiling_hit(twins, k), abs=0.015)
    mrr = np.mean([reciprocal_rank(r).mean() for r in ranks])
    assert mrr == pytest.approx(ceiling_reciprocal_rank(twins), abs=0.015)
    assert ceiling_hit(np.array([0, 1]), 10) == 0.5
    assert ceiling_recall(np.array([2, 1]), np.array([4, 1]), 1) == pytest.approx((1 / 4 + 1) / 2)


def test_the_bootstrap_interval_is_that_of_drawing_queries_one_by_one() -> None:
    rng = np.random.default_rng(6)
    values = rng.choice([0.0, 0.5, 1.0], size=300, p=[0.5, 0.2, 0.3])
    slow = [values[rng.integers(0, 300, 300)].mean() for _ in range(5000)]
    assert bootstrap_interval(values) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.01)
    many = rng.random(1000)  # more kinds than are drawn as counts
    slow = [many[rng.integers(0, 1000, 1000)].mean() for _ in range(5000)]
    assert bootstrap_interval(many) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.005)


def test_of_equal_cosines_the_first_in_the_gallery_come_first_also_where_not_all_fit_in() -> None:
    rng = np.random.default_rng(4)
    gallery = np.eye(3, dtype=np.float32)[rng.integers(3, size=500)]
    queries = np.eye(3, dtype=np.float32)
    for top in (1, 10, 200, 499):
        expected = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, :top]
        assert np.array_equal(exact_search(queries, gallery, top=top).top, expected)


def test_intervals_depend_on_the_seed_and_on_nothing_else() -> None:
    values = np.random.default_rng(7).random(500)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_an_interval_of_captions_that_come_in_products_is_wider_than_one_of_independent_captions() -> None:
    rng = np.random.default_rng(8)
    products = np.repeat(np.arange(100), 9)
    marks = np.repeat((rng.random(100) < 0.4).astype(np.float64), 9)
    alone, grouped = bootstrap_means(marks), bootstrap_means(marks, groups=products)
    assert grouped.mean() == pytest.approx(marks.mean(), abs=0.01)
    assert grouped.std() == pytest.approx(3 * alone.std(), rel=0.1)


def test_an_interval_over_nothing_is_not_a_number() -> None:
    assert all(math.isnan(end) for end in (*bootstrap_interval(np.empty(0)), *median_interval(np.empty(0))))


def test_the_median_interval_is_that_of_drawing_queries_one_by_one() -> None:
    rng = np.random.default_rng(9)
    first = np.floor(rng.exponential(100, size=201)) + 1
    slow = [np.median(first[rng.integers(0, 201, 201)]) for _ in range(5000)]
    low, high = np.quantile(slow, [0.025, 0.975])
    assert median_interval(first) == pytest.approx((low, high), rel=0.06)
    assert median_interval(np.full(9, np.inf)) == (np.inf, np.inf)


def test_the_median_interval_of_captions_that_come_in_products_is_that_of_drawing_products() -> None:
    rng = np.random.default_rng(9)
    products = np.repeat(np.arange(61), 1 + np.arange(61) % 5)
    first = np.floor(rng.exponential(100, size=61))[products] + np.arange(len(products)) % 3
    members = [first[products == product] for product in range(61)]
    slow = [np.median(np.concatenate([members[n] for n in rng.integers(0, 61, 61)])) for _ in range(3000)]
    found = median_interval(first, groups=products)
    assert found == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), rel=0.1)
    alone = median_interval(first)
    assert found[1] - found[0] > 1.3 * (alone[1] - alone[0])
    assert median_interval(np.full(9, np.inf), groups=np.arange(9) // 2) == (np.inf, np.inf)
    ranks = ranks_from_lists([np.array([int(rank) + 1]) for rank in first], 999)
    assert rank_figures(ranks, Bootstrap(groups=products))[-1].low == pytest.approx(found[0] + 1)


def test_a_paired_bootstrap_sees_a_small_difference_and_none_where_there_is_none() -> None:
    rng = np.random.default_rng(10)
    a = (rng.random(2000) < 0.3).astype(np.float64)
    b = a.copy()
    b[rng.choice(2000, 40, replace=False)] = 0
    seen = paired_bootstrap(a, b)
    assert seen.mean > 0 and seen.low > 0 and seen.p_value < 0.01
    assert paired_bootstrap(a, a).p_value == 1
    assert paired_bootstrap(b, a).mean == -seen.mean
    with pytest.raises(UsageError, match="same queries"):
        paired_bootstrap(a, a[:5])


def unit(rng: np.random.Generator, n: int, d: int) -> npt.NDArray[np.float32]:
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def same(a: Ranks, b: Ranks) -> bool:
    return np.array_equal(a.values, b.values) and np.array_equal(a.offsets, b.offsets) and a.gallery == b.gallery
