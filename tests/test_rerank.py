"""A re-ranker may only permute, and keeps both scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.records import Hit
from engine.rerank import in_better_order

Scores = st.lists(st.tuples(st.floats(-1, 1), st.one_of(st.none(), st.floats(-5, 5))), max_size=30)


def hits_of(scores: list[tuple[float, float | None]]) -> tuple[list[Hit], dict[str, float]]:
    ordered = sorted(scores, key=lambda pair: -pair[0])
    hits = [Hit(str(n), score, {"item_id": f"item {n}"}) for n, (score, _) in enumerate(ordered)]
    return hits, {str(n): second for n, (_, second) in enumerate(ordered) if second is not None}


@given(Scores, st.floats(0, 4))
def test_no_hit_is_lost_or_changed_but_for_its_second_score(scores: list, weight: float) -> None:
    hits, sums = hits_of(scores)
    found = in_better_order(hits, sums, weight)
    assert sorted(hit.id for hit in found) == sorted(hit.id for hit in hits)
    before = {hit.id: hit for hit in hits}
    for hit in found:
        assert (hit.score, hit.payload) == (before[hit.id].score, before[hit.id].payload)
        assert hit.rerank_score == sums.get(hit.id)
    tail = [hit.id for hit in hits if hit.id not in sums]
    assert [hit.id for hit in found if hit.id not in sums] == tail


@given(Scores)
def test_a_weight_of_zero_changes_no_order(scores: list) -> None:
    hits, sums = hits_of(scores)
    seen = [hit.id for hit in hits if hit.id in sums]
    assert [hit.id for hit in in_better_order(hits, sums, 0.0)][: len(seen)] == seen


def test_a_hit_whose_words_are_found_rises() -> None:
    hits = [Hit("a", 0.50, {}), Hit("b", 0.49, {}), Hit("c", 0.20, {})]
    found = in_better_order(hits, {"a": 0.05, "b": 1.0, "c": 0.1}, 1.0)
    assert [hit.id for hit in found] == ["b", "a", "c"]
    assert np.isclose(found[0].rerank_score or 0, 1.0)
