"""Choosing without a store agrees with Qdrant's own engine, condition by condition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.filters import check_filter, parse_where
from engine.match import matches
from engine.records import FieldKind, Payload, Point, point_id
from engine.store.edge import EdgeStore
from engine.store.protocol import CollectionSpec
from engine.store.schema import CORE_FIELDS

FIELDS: dict[str, FieldKind] = {
    "colour": "keyword",
    "tags": "keyword",
    "price": "float",
    "stock": "integer",
    "hat": "bool",
    "title": "text",
    "seen": "datetime",
}
PAYLOADS: list[Payload] = [
    {"colour": "red", "price": 10.0, "stock": 5, "hat": True, "title": "Long Denim-Jacket", "seen": "2024-01-31"},
    {"colour": "Red", "price": 10, "stock": 0, "hat": False, "title": "denim", "seen": "2024-01-31T23:59:59Z"},
    {"colour": "light blue", "tags": ["summer", "linen"], "price": 49.99, "seen": "2024-02-01T00:00:00Z"},
    {"tags": ["linen"], "stock": 50, "title": "jacket, long; DENIM_BLUE", "seen": "2024-01-31T22:00:00-03:00"},
    {"tags": [], "price": -1.5, "stock": -3, "title": "Rød kjole 2024"},
    {"colour": "", "hat": True, "title": "long long jacket"},
    {},
]
WHERE = [
    *("colour=red", "colour!=red", "colour=red,'light blue'", "colour?", "!colour?", "colour=''"),
    *("tags=linen", "tags=linen,wool", "tags!=linen", "tags?", "!tags?"),
    *("price<10", "price<=10", "price>=10", "price=10", "price=10,49.99", "9.5<price<50", "price!=10", "price?"),
    *("stock<5.5", "stock>4.5", "stock=5", "stock!=5", "stock=0,50", "-5<stock<=0"),
    *("hat=true", "hat=false", "hat!=true", "hat=true,false", "!hat?"),
    *("title~denim", "title~'denim jacket'", "title!~denim", "title~rød", "title~long", "title~blue", "title~2024"),
    *("seen=2024-01-31", "seen<2024-02-01", "seen>=2024-02-01", "2024-01-31<=seen<2024-02-01", "seen!=2024-01-31"),
]
JSON: list[dict[str, Any]] = [
    {"must": {"key": "colour", "match": {"value": "red"}}},
    {"should": [{"key": "colour", "match": {"value": "red"}}, {"key": "stock", "range": {"gt": 10}}]},
    {"must_not": [{"is_empty": {"key": "tags"}}, {"key": "hat", "match": {"value": True}}]},
    {"must": [{"should": [{"key": "hat", "match": {"value": True}}, {"is_empty": {"key": "price"}}]}]},
    {"must": [{"key": "tags", "match": {"except": ["linen"]}}]},
    {"must": [{"key": "colour", "match": {"except": ["red", "Red"]}}]},
    {"must": [{"key": "colour", "match": {"any": []}}]},
    {"must": [{"key": "price", "match": {"any": []}}]},
    {"must": [{"key": "tags", "values_count": {"gte": 2}}]},
    {"must": [{"key": "colour", "values_count": {"lt": 1}}]},
    {"must": [{"key": "title", "match": {"phrase": "long jacket"}}]},
    {"must": [{"key": "title", "match": {"text_any": "kjole denim"}}]},
    {"must": [{"has_id": [point_id("0"), point_id("6")]}]},
    {
        "min_should": {
            "conditions": [{"key": "hat", "match": {"value": True}}, {"is_empty": {"key": "tags"}}],
            "min_count": 2,
        }
    },
    {"must": [{"is_null": {"key": "colour"}}]},
    {},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStore]:
    vector = np.array([1, 0], dtype=np.float32)
    with EdgeStore(Path(tmp_path_factory.mktemp("match")), "fashion") as store:
        store.create(CollectionSpec(2, {}, {**CORE_FIELDS, **FIELDS}))
        store.upsert([Point(point_id(str(n)), vector, {**p, "item_id": str(n)}) for n, p in enumerate(PAYLOADS)])
        yield store


@pytest.mark.parametrize("filter", [*([where] for where in WHERE), *JSON], ids=str)
def test_a_payload_passes_exactly_when_the_engine_says_so(store: EdgeStore, filter: Any) -> None:
    raw = parse_where(filter) if isinstance(filter, list) else filter
    assert raw is not None
    checked = check_filter(raw, {**CORE_FIELDS, **FIELDS})
    records, _ = store.scroll(filter=checked or None, limit=100)
    expected = sorted(str((record.payload or {})["item_id"]) for record in records)
    assert [str(n) for n, p in enumerate(PAYLOADS) if matches(checked, {**p, "item_id": str(n)})] == expected


@pytest.mark.parametrize(
    ("where", "payload"),
    [
        ("stock=1", {"stock": True}),
        ("stock=1", {"stock": 1.0}),
        ("hat=true", {"hat": 1}),
        ("stock<5", {"stock": True}),
        ("stock<5", {"stock": "4"}),
        ("seen<2024-02-01", {"seen": 2023}),
        ("seen<2024-02-01", {"seen": "long ago"}),
    ],
)
def test_what_a_source_says_in_another_kind_than_the_field_has_does_not_pass(where: str, payload: Payload) -> None:
    """The engine holds no such payload, so it cannot be asked."""
    raw = parse_where([where])
    assert raw is not None
    assert not matches(check_filter(raw, FIELDS), payload)


def test_a_payload_without_an_id_has_no_point_id() -> None:
    assert not matches({"must": [{"has_id": [point_id("0")]}]}, {"colour": "red"})
