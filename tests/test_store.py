"""One promise, kept by every store: the embedded one, and a Qdrant server behind its client."""

from __future__ import annotations

import operator
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from qdrant_http import serve
from starlette.testclient import TestClient

from engine.errors import FilterError, StoreError, StoreMissing
from engine.filters import check_filter, parse_where
from engine.match import matches
from engine.records import FieldKind, FilterJSON, Hit, Point, Value, point_id
from engine.store import ranking
from engine.store.edge import EdgeStore
from engine.store.open import open_store
from engine.store.protocol import CollectionSpec, SearchSpec, Store
from engine.store.remote import RemoteStore
from serve.problems import handle_problems
from serve.stages import Stages
from serve.store import store_routes

DIMENSION = 8
FIELDS: dict[str, FieldKind] = {
    "colour": "keyword",
    "price": "float",
    "hat": "bool",
    "stars": "integer",
    "title": "text",
    "created": "datetime",
    "width": "integer",
    "source": "keyword",
}
PASSPORT = {"model": "test", "nested": {"golden": [0.5, 0.25]}, "note": "größe"}
Opener = Callable[[], Store]


def unit(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def catalogue(count: int = 60) -> list[Point]:
    """A small shop: every field is missing somewhere, and some items share their very photograph."""
    rng = np.random.default_rng(7)
    points = []
    for n in range(count):
        item = f"shop/{n:03d}.jpg"
        payload: dict[str, Any] = {"item_id": item, "source": "table", "product_id": f"p{n // 3}", "width": 100 + n}
        if n % 7:
            payload["colour"] = ["red", "Red", "light blue", ["red", "green"], "black"][n % 5]
        if n % 6:
            payload["price"] = [9.99, 10, 49.5, 50, 120.0][n % 5]
        if n % 4:
            payload["hat"] = n % 3 == 0
        if n % 5:
            payload["stars"] = n % 6
        if n % 3:
            payload["title"] = ["Red denim jacket", "long sleeve denim", "A red dress, long", "hat"][n % 4]
        if n % 8:
            payload["created"] = ["2024-01-01", "2024-01-01T12:30:00Z", "2024-01-02T01:00:00+02:00"][n % 3]
        payload["captions"] = [f"a caption of number {n}", "seen from the back"][: n % 3]
        vector = rng.normal(size=DIMENSION).astype(np.float32)
        points.append(Point(point_id(item), vector / np.linalg.norm(vector), payload))
    twin = points[5]
    points[6] = Point(points[6].id, twin.vector.copy(), points[6].payload)
    points[7] = Point(points[7].id, twin.vector.copy(), points[7].payload)
    return points


POINTS = catalogue()
BY_ID = {point.id: point for point in POINTS}


@pytest.fixture(params=["edge", "served", "local", "http", "live"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open the same collection again and again, in one of five ways; the client is closed at the end."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    if request.param == "edge":
        yield lambda: open_store(str(tmp_path / "store"), name)
        return
    if request.param == "served":
        with EdgeStore(tmp_path / "store", name) as own, TestClient(serving(own)) as http:
            yield lambda: RemoteStore("http://testserver", client=http, retry_for_s=0.1)
        return
    from qdrant_client import QdrantClient

    from engine.store.server import ServerStore

    if request.param == "local":
        client = QdrantClient(":memory:")
        yield lambda: ServerStore(":memory:", name, client=client)
        client.close()
    elif request.param == "http":
        with serve() as url:
            yield lambda: open_store(url, name)
    elif url := os.environ.get("QDRANT_URL"):
        key = os.environ.get("QDRANT_API_KEY")
        yield lambda: open_store(url, name, api_key=key)
        client = QdrantClient(url=url, api_key=key)
        for alias in client.get_aliases().aliases:
            if alias.alias_name == name:
                client.delete_collection(alias.collection_name)
        client.close()
    else:
        pytest.skip("QDRANT_URL is not set")


def serving(store: Store) -> FastAPI:
    """The part of `engine serve` that other processes reach its store by."""
    app = FastAPI()
    handle_problems(app)
    store_routes(app, store, Stages(), writes=True)
    return app


@pytest.fixture
def store(opener: Opener) -> Iterator[Store]:
    with opener() as store:
        store.create(CollectionSpec(DIMENSION, PASSPORT, FIELDS))
        store.upsert(POINTS)
        yield store


def found(store: Store, filter: Mapping[str, object] | None) -> set[str]:
    records, cursor = store.scroll(filter, limit=1000)
    assert cursor is None
    return {str((record.payload or {})["item_id"]) for record in records}


# --- the oracle: what a checked filter means, in a few lines over the payloads


def words(text: object) -> list[str]:
    return re.findall(r"[^\W_]+", str(text).lower())


def moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def holds(condition: Mapping[str, Any], id: str, payload: Mapping[str, Any]) -> bool:
    if "key" not in condition and not {"has_id", "is_empty", "is_null", "nested"} & set(condition):
        least = condition.get("min_should", {"conditions": [], "min_count": 0})
        return (
            all(holds(each, id, payload) for each in condition.get("must", []))
            and not any(holds(each, id, payload) for each in condition.get("must_not", []))
            and (not condition.get("should") or any(holds(each, id, payload) for each in condition["should"]))
            and sum(holds(each, id, payload) for each in least["conditions"]) >= least["min_count"]
        )
    if "has_id" in condition:
        return id in condition["has_id"]
    if "is_empty" in condition:
        return payload.get(condition["is_empty"]["key"]) in (None, [])
    if "is_null" in condition or "nested" in condition:
        return False
    value = payload.get(condition["key"])
    values = value if isinstance(value, list) else [] if value is None else [value]
    match condition:
        case {"match": {"value": wanted}}:
            return any(type(each) is type(wanted) and each == wanted for each in values)
        case {"match": {"any": wanted}}:
            return any(each in wanted for each in values)
        case {"match": {"except": unwanted}}:
            return any(each not in unwanted for each in values)
        case {"match": {"text": text}}:
            return any(set(words(text)) <= set(words(each)) for each in values)
        case {"match": {"text_any": text}}:
            return any(set(words(text)) & set(words(each)) for each in values)
        case {"match": {"phrase": text}}:
            return any(f" {' '.join(words(text))} " in f" {' '.join(words(each))} " for each in values)
        case {"values_count": bounds}:
            return within(len(values), bounds)
        case {"range": bounds} if any(isinstance(bound, str) for bound in bounds.values()):
            return any(within(moment(each), {name: moment(b) for name, b in bounds.items()}) for each in values)
        case {"range": bounds}:
            return any(within(each, bounds) for each in values)
    raise AssertionError(condition)


def within(value: Any, bounds: Mapping[str, Any]) -> bool:
    tests = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}
    return all(tests[name](value, bound) for name, bound in bounds.items())


FILTERS: dict[str, dict[str, Any] | str] = {
    "keyword": "colour=red",
    "keyword exact case": "colour=Red",
    "keyword with a blank": "colour='light blue'",
    "keyword any": "colour=red,black",
    "keyword not": "colour!=red",
    "keyword none of": "colour!=red,black",
    "keyword except": {"must": {"key": "colour", "match": {"except": ["red", "black"]}}},
    "keyword any of nothing": {"must": [{"key": "colour", "match": {"any": []}}]},
    "keyword in an array": "colour=green",
    "float below": "price<50",
    "float at least": "price>=49.5",
    "float between": "10<=price<50",
    "float between, mirrored": "50>price>=10",
    "float equal": "price=10",
    "float any": "price=10,120",
    "float not": "price!=10",
    "float except": {"must": [{"key": "price", "match": {"except": [10, 50]}}]},
    "bool true": "hat=true",
    "bool false": "hat=false",
    "bool not true": "hat!=true",
    "bool either": "hat=true,false",
    "bool except": {"must": [{"key": "hat", "match": {"except": [True]}}]},
    "bool in must_not": {"must_not": [{"key": "hat", "match": {"value": False}}]},
    "integer": "stars=1",
    "integer any": "stars=1,2,5",
    "integer range": {"must": [{"key": "stars", "range": {"gt": 1, "lte": 4}}]},
    "integer except": {"must": [{"key": "stars", "match": {"except": [1, 2]}}]},
    "core integer": "width>=130",
    "text": "title~denim",
    "text, two words in any order": "title~'denim red'",
    "text not": "title!~denim",
    "text any": {"must": [{"key": "title", "match": {"text_any": "dress hat"}}]},
    "phrase": {"must": [{"key": "title", "match": {"phrase": "red dress"}}]},
    "captions": "captions~back",
    "present": "colour?",
    "absent": "!colour?",
    "empty array": "!captions?",
    "null": {"must": [{"is_null": {"key": "colour"}}]},
    "is_empty inside a field condition": {"must": [{"key": "hat", "is_empty": False}]},
    "values count": {"must": [{"key": "colour", "values_count": {"gte": 2}}]},
    "date from": "created>=2024-01-01T12:30:00Z",
    "date before": "created<2024-01-01T12:30:00Z",
    "a whole day": "created=2024-01-01",
    "not that day": "created!=2024-01-01",
    "instant": "created=2024-01-01T12:30:00Z",
    "date with a zone": {"must": [{"key": "created", "range": {"gte": "2024-01-02T01:00:00+02:00"}}]},
    "has id": {"must": [{"has_id": [POINTS[3].id, POINTS[9].id.upper(), str(uuid.UUID(int=1))]}]},
    "not has id": {"must_not": [{"has_id": [POINTS[3].id]}]},
    "should": {"should": [{"key": "colour", "match": {"value": "black"}}, {"key": "stars", "match": {"value": 5}}]},
    "min should": {
        "min_should": {
            "conditions": [
                {"key": "colour", "match": {"value": "red"}},
                {"key": "hat", "match": {"value": True}},
                {"key": "price", "range": {"lt": 20}},
            ],
            "min_count": 2,
        }
    },
    "nested clauses": {
        "must": [
            {"should": [{"key": "colour", "match": {"value": "red"}}, {"must_not": [{"is_empty": {"key": "hat"}}]}]},
            {"must_not": [{"key": "price", "range": {"gte": 50}}]},
        ],
        "should": [{"key": "stars", "match": {"any": [1, 2]}}, {"key": "title", "match": {"text": "long"}}],
        "must_not": [{"key": "created", "range": {"lt": "2024-01-01T01:00:00Z"}}],
    },
    "nothing in it": {},
}


def test_every_filter_finds_what_ten_lines_of_python_find(store: Store) -> None:
    fields = store.spec().fields
    for name, written in FILTERS.items():
        filter = parse_where([written]) if isinstance(written, str) else written
        assert filter is not None
        checked = check_filter(filter, fields)
        assert check_filter(checked, fields) == checked, name
        expected = {p.payload["item_id"] for p in POINTS if holds(checked, p.id, p.payload)}
        assert found(store, filter) == expected, name
        assert store.count(filter) == len(expected), name
        hits = store.search(SearchSpec(unit(1), filter=filter, limit=100))
        assert {hit.item_id for hit in hits} == expected, name


def test_clauses_and_their_negations_hold_together(store: Store) -> None:
    filter = parse_where(["colour=red,black", "price<100", "hat!=true", "stars=1"])
    assert filter is not None
    expected = {p.payload["item_id"] for p in POINTS if holds(check_filter(filter, FIELDS), p.id, p.payload)}
    assert found(store, filter) == expected
    assert expected


def test_an_unknown_field_is_an_error_everywhere_that_lists_the_fields(store: Store) -> None:
    filter = parse_where(["color=red"])
    calls: list[Callable[[], object]] = [
        lambda: store.search(SearchSpec(unit(1), filter=filter)),
        lambda: store.search_batch([SearchSpec(unit(1), filter=filter)]),
        lambda: store.search_groups(SearchSpec(unit(1), filter=filter), "product_id"),
        lambda: store.recommend([POINTS[0].id], [], SearchSpec(unit(1), filter=filter)),
        lambda: store.count(filter),
        lambda: store.scroll(filter),
        lambda: store.facet("colour", filter),
    ]
    for call in calls:
        with pytest.raises(FilterError, match=r"'color'; did you mean 'colour'\? It has: captions, colour, created"):
            call()
    with pytest.raises(FilterError, match="'color'"):
        store.facet("color")
    with pytest.raises(FilterError, match="'shop'"):
        store.search_groups(SearchSpec(unit(1)), "shop")
    with pytest.raises(FilterError, match="'price' cannot be counted"):
        store.facet("price")
    with pytest.raises(FilterError, match="cannot be grouped by 'title'"):
        store.search_groups(SearchSpec(unit(1)), "title")


def test_search_returns_true_cosines_best_first_and_equal_scores_by_id(store: Store) -> None:
    query = POINTS[5].vector
    truth = sorted((-float(p.vector @ query), p.id) for p in POINTS)
    for exact in (False, True):
        hits = store.search(SearchSpec(query, limit=10, exact=exact))
        assert [hit.score for hit in hits] == pytest.approx([-score for score, _ in truth[:10]], abs=1e-5)
        twins = sorted(point.id for point in POINTS[5:8])
        assert [hit.id for hit in hits[:3]] == twins
        assert [hit.id for hit in hits[3:]] == [id for _, id in truth[3:10]]
        assert hits[3].payload == BY_ID[hits[3].id].payload


def test_pages_neither_overlap_nor_leave_out_even_through_a_tie(store: Store) -> None:
    query = POINTS[5].vector
    whole = [hit.id for hit in store.search(SearchSpec(query, limit=60))]
    assert len(set(whole)) == 60
    for size in (1, 2, 7, 13):
        pages = [store.search(SearchSpec(query, limit=size, offset=start)) for start in range(0, 60, size)]
        assert [hit.id for page in pages for hit in page] == whole
    assert store.search(SearchSpec(query, limit=5, offset=1000)) == []
    assert store.search(SearchSpec(query, limit=0)) == []


def test_a_large_tie_is_cut_the_same_way_every_time(store: Store) -> None:
    twins = [Point(point_id(f"twin/{n}"), unit(0, 0, 1), {"item_id": f"twin/{n}"}) for n in range(70)]
    store.upsert(twins)
    hits = store.search(SearchSpec(unit(0, 0, 1), limit=20, offset=10))
    assert [hit.id for hit in hits] == sorted(point.id for point in twins)[10:30]
    few = store.search(SearchSpec(unit(0, 0, 1), limit=2, offset=5))
    assert [hit.id for hit in few] == sorted(point.id for point in twins)[5:7], "of a tie several times the page"


def test_min_score_leaves_out_what_is_below(store: Store) -> None:
    query = unit(1, 1)
    scores = {p.id: float(p.vector @ query) for p in POINTS}
    hits = store.search(SearchSpec(query, limit=100, min_score=0.3))
    assert {hit.id for hit in hits} == {id for id, score in scores.items() if score >= 0.3}


def test_a_batch_of_searches_answers_each_as_if_it_were_alone(store: Store) -> None:
    specs = [
        SearchSpec(
            unit(n % 5 + 1, 1, n), limit=n % 4 + 1, offset=n % 3, filter=parse_where(["price<50"]) if n % 2 else None
        )
        for n in range(70)
    ]
    assert store.search_batch(specs) == [store.search(spec) for spec in specs]
    assert store.search_batch([]) == []


def test_groups_hold_each_product_once_in_the_order_of_its_best_hit(store: Store) -> None:
    query = unit(1, 0.5)
    ranked = store.search(SearchSpec(query, limit=60))
    best: dict[Any, str] = {}
    for hit in ranked:
        best.setdefault(hit.payload["product_id"], hit.id)
    for limit, offset in ((5, 0), (4, 3), (30, 0)):
        answer = store.search_groups(SearchSpec(query, limit=limit, offset=offset), "product_id")
        assert [hit.id for hit in answer] == list(best.values())[offset : offset + limit]


def test_few_groups_are_found_without_fetching_all_points() -> None:
    hits = [Hit(f"{n:04}", 1 - n / 5000, {"colour": "rare" if n == 4000 else f"usual {n % 3}"}) for n in range(4001)]
    asked = []

    def search(spec: SearchSpec) -> list[Hit]:
        asked.append(spec.limit)
        return [hit for hit in hits if not spec.filter or matches(spec.filter, hit.payload)][: spec.limit]

    colours: list[tuple[Value, int]] = [("usual 0", 1334), ("usual 1", 1333), ("usual 2", 1333), ("rare", 1)]
    found = ranking.groups(search, lambda key, filter, limit: colours[:limit], SearchSpec(unit(1), limit=10), "colour")
    assert [hit.id for hit in found] == ["0000", "0001", "0002", "4000"]
    assert sum(asked) < 100


def test_groups_that_only_a_deep_look_finds_are_those_of_a_full_sort() -> None:
    rng = np.random.default_rng(4)
    hits = [
        Hit(f"{n:04}", 1 - n / 5000, {"colour": f"usual {rng.integers(3)}", "size": int(rng.integers(2))})
        for n in range(1000)
    ]
    for n, colour in ((700, "rare"), (650, "seldom"), (800, "rare"), (900, "odd")):
        hits[n].payload["colour"] = colour  # type: ignore[index]
    sizes: list[FilterJSON | None] = [
        None,
        *({"must": [{"key": "size", "match": {"value": size}}]} for size in (0, 1)),
    ]

    def search(spec: SearchSpec) -> list[Hit]:
        passing = [hit for hit in hits if not spec.filter or matches(spec.filter, hit.payload)]
        return passing[spec.offset : spec.offset + spec.limit]

    def facet(key: str, filter: FilterJSON | None, limit: int) -> list[tuple[Value, int]]:
        passing = (hit.payload[key] for hit in search(SearchSpec(unit(1), filter, limit=1000)))
        return Counter(passing).most_common(limit)  # type: ignore[arg-type]

    for filter in sizes:
        best: dict[Any, Hit] = {}
        for hit in search(SearchSpec(unit(1), filter, limit=1000)):
            best.setdefault(hit.payload["colour"], hit)
        for limit, offset in ((2, 0), (5, 0), (6, 0), (10, 0), (10, 4), (2, 3), (10, 7)):
            found = ranking.groups(search, facet, SearchSpec(unit(1), filter, limit, offset), "colour")
            assert found == list(best.values())[offset : offset + limit]


def test_equal_counts_go_by_value() -> None:
    assert ranking.by_count([("b", 1), ("c", 2), ("a", 1)]) == [("c", 2), ("a", 1), ("b", 1)]


def test_groups_by_an_array_put_a_point_into_each_of_its_groups(store: Store) -> None:
    wanted = parse_where(["colour?"])
    best: dict[str, str] = {}
    for hit in store.search(SearchSpec(unit(1), limit=len(POINTS), filter=wanted)):
        colour = hit.payload["colour"]
        for name in colour if isinstance(colour, list) else [str(colour)]:
            best.setdefault(name, hit.id)
    groups = store.search_groups(SearchSpec(unit(1), limit=10, filter=wanted), "colour")
    assert [hit.id for hit in groups] == list(best.values())


def test_recommend_goes_towards_the_good_examples_and_away_from_the_bad(store: Store) -> None:
    good, bad = [POINTS[1], POINTS[2]], [POINTS[3]]
    query = 2 * np.mean([p.vector for p in good], axis=0) - bad[0].vector
    examples = {point.id for point in good + bad}
    truth = sorted((-float(p.vector @ query), p.id) for p in POINTS if p.id not in examples)[:8]
    hits = store.recommend([p.id for p in good], [p.id for p in bad], SearchSpec(unit(1), limit=8))
    assert [hit.id for hit in hits] == [id for _, id in truth]
    assert [hit.score for hit in hits] == pytest.approx(
        [-score / float(np.linalg.norm(query)) for score, _ in truth], abs=1e-5
    )
    every = store.recommend([p.id for p in good], [p.id for p in bad], SearchSpec(unit(1), limit=len(POINTS)))
    assert {hit.id for hit in every} == set(BY_ID) - examples
    reds = parse_where(["colour=red"])
    assert all(
        "red" in hit.payload["colour"] for hit in store.recommend([POINTS[1].id], [], SearchSpec(unit(1), reds))
    )


def test_recommend_names_an_example_that_is_not_there(store: Store) -> None:
    absent = str(uuid.uuid4())
    with pytest.raises(StoreError, match=absent):
        store.recommend([POINTS[0].id, absent], [], SearchSpec(unit(1)))
    with pytest.raises(StoreError, match="positive"):
        store.recommend([], [POINTS[0].id], SearchSpec(unit(1)))


def test_facets_count_every_value_of_every_array(store: Store) -> None:
    for key in ("colour", "hat", "stars", "source", "product_id"):
        for filter in (None, parse_where(["price<50"])):
            counts: dict[Any, int] = {}
            for point in POINTS:
                value = point.payload.get(key)
                if value is not None and (filter is None or holds(filter, point.id, point.payload)):
                    for each in value if isinstance(value, list) else [value]:
                        counts[each] = counts.get(each, 0) + 1
            expected = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            assert store.facet(key, filter) == expected
            assert [type(value) for value, _ in store.facet(key)] == [type(value) for value, _ in store.facet(key)]
            assert store.facet(key, filter, limit=2) == expected[:2]
            assert store.facet(key, filter, limit=0) == []


def test_scroll_pages_through_everything_once_in_id_order(store: Store) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        records, cursor = store.scroll(limit=7, cursor=cursor, vectors=True)
        assert len(records) <= 7
        for record in records:
            assert record.vector is not None
            assert record.vector.dtype == np.float32
            np.testing.assert_allclose(record.vector, BY_ID[record.id].vector, atol=1e-6)
            assert record.payload == BY_ID[record.id].payload
        seen += [record.id for record in records]
        if cursor is None:
            break
    assert seen == sorted(BY_ID)
    assert store.scroll(limit=1)[0][0].vector is None
    assert [(one.id, one.payload) for one in store.scroll(payload=False)[0]] == [(id, None) for id in sorted(BY_ID)]
    assert all(set(one.payload or {}) == {"item_id"} for one in store.scroll(payload=["item_id", "nothing"])[0])


def test_a_cursor_or_an_id_that_is_no_uuid_is_named(store: Store) -> None:
    for call in (lambda: store.scroll(cursor="abc"), lambda: store.retrieve(["abc"]), lambda: store.delete(["abc"])):
        with pytest.raises(StoreError, match="'abc' is no point id"):
            call()


def test_retrieve_keeps_the_order_and_skips_what_is_not_there(store: Store) -> None:
    ids = [POINTS[9].id, str(uuid.uuid4()), POINTS[2].id, POINTS[9].id]
    records = store.retrieve(ids, vectors=True)
    assert [record.id for record in records] == [POINTS[9].id, POINTS[2].id, POINTS[9].id]
    assert records[1].payload == POINTS[2].payload
    assert records[1].vector is not None
    assert store.retrieve([]) == []


def test_delete_says_how_many_there_were(store: Store) -> None:
    ids = [POINTS[0].id, POINTS[1].id, str(uuid.uuid4()), POINTS[0].id, POINTS[0].id.upper()]
    assert store.delete(ids) == 2
    assert store.delete(ids) == 0
    assert store.delete([]) == 0
    assert store.count() == len(POINTS) - 2


def test_set_payload_replaces_the_whole_payload_and_keeps_the_vector(store: Store) -> None:
    id = POINTS[4].id
    store.set_payload({id: {"item_id": "shop/004.jpg", "colour": "gold"}})
    (record,) = store.retrieve([id], vectors=True)
    assert record.payload == {"item_id": "shop/004.jpg", "colour": "gold"}
    np.testing.assert_allclose(record.vector, POINTS[4].vector, atol=1e-6)  # type: ignore[arg-type]
    assert found(store, parse_where(["colour=gold"])) == {"shop/004.jpg"}


def test_set_payload_of_a_point_that_is_not_there_changes_nothing(store: Store) -> None:
    absent = point_id("gone")
    payloads = {POINTS[4].id: {"item_id": "shop/004.jpg"}, absent: {"item_id": "gone"}}
    with pytest.raises(StoreError, match=absent):
        store.set_payload(payloads)
    assert store.retrieve([POINTS[4].id])[0].payload == POINTS[4].payload


def test_writing_the_same_points_again_changes_nothing(store: Store) -> None:
    before = store.scroll(limit=100)
    store.upsert(POINTS)
    assert store.scroll(limit=100) == before
    assert store.count() == len(POINTS)


def test_a_batch_with_one_bad_point_is_refused_whole(store: Store) -> None:
    good = [Point(point_id(f"new/{n}"), unit(1), {"item_id": f"new/{n}"}) for n in range(3)]
    nan = np.full(DIMENSION, np.nan, np.float32)
    bad: list[tuple[Point, str]] = [
        (Point(point_id("bad"), unit(1)[:7], {"item_id": "bad"}), r"item 'bad'.*shape \(7,\)"),
        (Point(point_id("bad"), nan, {"item_id": "bad"}), "item 'bad'.*not finite"),
        (Point(point_id("bad"), 2 * unit(1), {"item_id": "bad"}), "length 2.0000"),
        (Point(point_id("bad"), unit(1).astype(np.float64), {"item_id": "bad"}), "float64, not float32"),  # type: ignore[arg-type]
        (Point("bad", unit(1), {"item_id": "bad"}), "no UUID"),
        (Point(point_id("other"), unit(1), {"item_id": "bad"}), "not the one of item_id 'bad'"),
    ]
    for point, message in bad:
        with pytest.raises(StoreError, match=message):
            store.upsert([good[0], point, *good[1:]])
    assert store.count() == len(POINTS)


def test_a_query_of_the_wrong_shape_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match=r"\(7,\).*\(8,\)"):
        store.search(SearchSpec(unit(1)[:7]))
    with pytest.raises(StoreError, match="not finite"):
        store.search(SearchSpec(np.full(DIMENSION, np.inf, np.float32)))
    with pytest.raises(StoreError, match="offset"):
        store.search(SearchSpec(unit(1), offset=-1))


def test_the_collection_remembers_what_it_was_made_with(opener: Opener) -> None:
    with opener() as store:
        assert not store.exists()
        store.create(CollectionSpec(DIMENSION, PASSPORT, FIELDS))
        assert store.exists()
        store.upsert(POINTS[:3])
    with opener() as store:
        store.create(CollectionSpec(DIMENSION + 1, {"other": 1}, {}))
        spec = store.spec()
        assert spec.dimension == DIMENSION
        assert spec.passport == PASSPORT
        assert spec.fields.items() >= FIELDS.items()
        assert spec.fields["product_id"] == "keyword"
        assert store.count() == 3


def test_a_missing_collection_says_so_and_what_there_is(opener: Opener) -> None:
    with opener() as store:
        calls: list[Callable[[], object]] = [store.spec, store.count, store.health, store.flush]
        calls += [lambda: store.search(SearchSpec(unit(1))), lambda: store.upsert(POINTS), lambda: store.retrieve([])]
        for call in calls:
            with pytest.raises(StoreMissing, match=r"no collection 'test-\w+'.*engine ingest"):
                call()


def test_every_ledger_that_was_at_work_is_remembered(opener: Opener, store: Store) -> None:
    for id in ("one", "other"):
        store.add_ledger(id)
    assert store.spec().ledgers == ["one", "other"]
    store.close()
    with opener() as again:
        assert again.spec().ledgers == ["one", "other"]


def test_fields_can_be_added_later_and_integers_become_floats_but_no_kind_is_lost(
    opener: Opener, store: Store
) -> None:
    store.add_fields({"brand": "keyword", "colour": "keyword"})
    store.upsert([Point(point_id("b"), unit(1), {"item_id": "b", "brand": "Acme"})])
    assert found(store, parse_where(["brand=Acme"])) == {"b"}
    assert store.facet("brand") == [("Acme", 1)]
    assert store.spec().fields["brand"] == "keyword"
    store.add_fields({"colour": "text", "brand": "integer"})
    assert (store.spec().fields["colour"], store.spec().fields["brand"]) == ("keyword", "keyword"), "said in words"
    with pytest.raises(StoreError, match=r"'colour' is keyword and cannot become bool: .* another collection"):
        store.add_fields({"colour": "bool"})
    with pytest.raises(StoreError, match=r"'hat' is bool and cannot become keyword: .* another collection"):
        store.add_fields({"hat": "keyword"})
    with pytest.raises(StoreError, match="'width' is integer and cannot become float"):
        store.add_fields({"width": "float"})
    with pytest.raises(StoreError, match="snake_case"):
        store.add_fields({"Bad Name": "keyword"})
    store.add_fields({"weight": "float"})
    store.add_fields({"weight": "integer"})
    assert store.spec().fields["weight"] == "float", "whole numbers are numbers"
    store.upsert([Point(point_id("w"), unit(1), {"item_id": "w", "weight": 3})])
    assert found(store, parse_where(["weight>2.5"])) == {"w"}
    store.add_fields({"worn": "integer"})
    store.upsert([Point(point_id("w"), unit(1), {"item_id": "w", "worn": 3})])
    store.add_fields({"worn": "float"})
    store.upsert([Point(point_id("v"), unit(1), {"item_id": "v", "worn": 2.5})])
    assert found(store, parse_where(["worn>2.4"])) == {"v", "w"}
    assert found(store, parse_where(["worn=3"])) == {"w"}
    store.close()
    with opener() as again:
        assert again.spec().fields["brand"] == "keyword"


def test_optimize_and_flush_leave_every_answer_as_it_was(store: Store) -> None:
    before = store.search(SearchSpec(unit(1, 2), limit=60, exact=True))
    store.optimize()
    store.flush()
    after = store.search(SearchSpec(unit(1, 2), limit=60))
    assert [hit.id for hit in after] == [hit.id for hit in before]
    health = store.health()
    assert health.points == len(POINTS)
    assert health.version
    assert health.backend.startswith("qdrant")


def test_open_store_takes_a_path_for_a_folder_and_a_url_for_a_server(tmp_path: Path) -> None:
    assert isinstance(open_store(str(tmp_path), "fashion"), EdgeStore)
    store = open_store("http://127.0.0.1:1", "fashion")
    assert store.location == "http://127.0.0.1:1"
    store.close()


PATCH_DIMENSION, PATCHES = 4, 3


def patched(opener: Opener) -> tuple[Store, list[Point]]:
    rng = np.random.default_rng(11)
    points = []
    for point in POINTS[:30]:
        patches = rng.normal(size=(PATCHES, PATCH_DIMENSION)).astype(np.float32)
        patches /= np.linalg.norm(patches, axis=1, keepdims=True)
        points.append(Point(point.id, point.vector, point.payload, patches))
    store = opener()
    store.create(CollectionSpec(DIMENSION, PASSPORT, FIELDS, PATCH_DIMENSION))
    store.upsert(points)
    return store, points


def test_patches_come_back_only_when_asked_for(opener: Opener) -> None:
    store, points = patched(opener)
    with store:
        ids = [point.id for point in points[:3]]
        assert store.spec().patches == PATCH_DIMENSION
        assert all(record.patches is None for record in store.retrieve(ids, vectors=True))
        for record, point in zip(store.retrieve(ids, vectors=True, patches=True), points, strict=False):
            assert record.vector is not None and record.patches is not None
            np.testing.assert_allclose(record.patches, point.patches, atol=2e-3)
    with opener() as again:
        assert again.spec().patches == PATCH_DIMENSION


def test_max_sim_of_the_first_hits_equals_a_slow_sum_over_words(opener: Opener) -> None:
    store, points = patched(opener)
    with store:
        words = np.eye(PATCH_DIMENSION, dtype=np.float32)[:3]
        spec = SearchSpec(POINTS[4].vector, {"must": [{"key": "source", "match": {"value": "table"}}]}, limit=7)
        found = store.max_sim(spec, words)
        assert set(found) == {hit.id for hit in store.search(spec)}
        for point in points:
            if point.id in found:
                assert point.patches is not None
                slow = sum(max(float(word @ patch) for patch in point.patches) for word in words)
                assert found[point.id] == pytest.approx(slow, abs=5e-3)


def test_patches_that_do_not_fit_the_collection_are_refused(opener: Opener) -> None:
    store, points = patched(opener)
    with store:
        for patches in (None, np.ones((2, 3), np.float32), np.full((2, PATCH_DIMENSION), np.nan, np.float32)):
            with pytest.raises(StoreError, match="patches"):
                store.upsert([Point(points[0].id, points[0].vector, points[0].payload, patches)])
        with pytest.raises(StoreError, match="words have the shape"):
            store.max_sim(SearchSpec(points[0].vector), np.ones((2, 9), np.float32))


def test_a_collection_without_patches_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="no patches"):
        store.max_sim(SearchSpec(POINTS[0].vector), np.ones((2, 4), np.float32))
