"""The filter language: what the sugar means, and what is refused before Qdrant could answer it with nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import FilterError
from engine.filters import check_filter, joined, load_filter, parse_where, without
from engine.records import FieldKind

FIELDS: dict[str, FieldKind] = {
    "colour": "keyword",
    "price": "float",
    "year": "integer",
    "hat": "bool",
    "title": "text",
    "created": "datetime",
}


def only(text: str) -> Any:
    filter = parse_where([text])
    assert filter is not None
    return filter


@pytest.mark.parametrize(
    ("clause", "condition"),
    [
        ("colour=red", {"key": "colour", "match": {"value": "red"}}),
        ("colour==red", {"key": "colour", "match": {"value": "red"}}),
        ("  colour = red ", {"key": "colour", "match": {"value": "red"}}),
        ("colour=red,blue", {"key": "colour", "match": {"any": ["red", "blue"]}}),
        ("colour=red, 'light, blue'", {"key": "colour", "match": {"any": ["red", "light, blue"]}}),
        ('colour="red"', {"key": "colour", "match": {"value": "red"}}),
        (r'colour="a \"b\" \\ c"', {"key": "colour", "match": {"value": r'a "b" \ c'}}),
        ("brand=levi's", {"key": "brand", "match": {"value": "levi's"}}),
        ("brand='levi\\'s'", {"key": "brand", "match": {"value": "levi's"}}),
        ("note=''", {"key": "note", "match": {"value": ""}}),
        ("note=a=b<c", {"key": "note", "match": {"value": "a=b<c"}}),
        ("note=größe", {"key": "note", "match": {"value": "größe"}}),
        ("hat=true", {"key": "hat", "match": {"value": "true"}}),
        ("price<50", {"key": "price", "range": {"lt": 50}}),
        ("price<=50.5", {"key": "price", "range": {"lte": 50.5}}),
        ("price>-1e3", {"key": "price", "range": {"gt": -1000.0}}),
        ("price >= 10", {"key": "price", "range": {"gte": 10}}),
        ("10<=price<50", {"key": "price", "range": {"gte": 10, "lt": 50}}),
        ("50 >= price > 10", {"key": "price", "range": {"lte": 50, "gt": 10}}),
        ("1e1<=3d_price<2e1", {"key": "3d_price", "range": {"gte": 10.0, "lt": 20.0}}),
        ("3d=yes", {"key": "3d", "match": {"value": "yes"}}),
        ("note=a<b<c", {"key": "note", "match": {"value": "a<b<c"}}),
        ("created>=2024-01-01", {"key": "created", "range": {"gte": "2024-01-01"}}),
        ("created>2024-01-01", {"key": "created", "range": {"gt": "2024-01-01T23:59:59.999999"}}),
        ("created<=2024-01-31", {"key": "created", "range": {"lte": "2024-01-31T23:59:59.999999"}}),
        ("created<=2024-01-31T00:00:00", {"key": "created", "range": {"lte": "2024-01-31T00:00:00"}}),
        (
            "2024-01-01T00:00:00Z<=created<2024-02-01",
            {"key": "created", "range": {"gte": "2024-01-01T00:00:00Z", "lt": "2024-02-01"}},
        ),
        ("title~denim", {"key": "title", "match": {"text": "denim"}}),
        ("title~'long sleeve'", {"key": "title", "match": {"text": "long sleeve"}}),
        ("!brand?", {"is_empty": {"key": "brand"}}),
    ],
)
def test_the_sugar_means_what_it_says(clause: str, condition: dict[str, Any]) -> None:
    assert parse_where([clause]) == {"must": [condition]}


@pytest.mark.parametrize(
    ("clause", "condition"),
    [
        ("colour!=red", {"key": "colour", "match": {"value": "red"}}),
        ("colour != red,blue", {"key": "colour", "match": {"any": ["red", "blue"]}}),
        ("title!~denim", {"key": "title", "match": {"text": "denim"}}),
        ("brand?", {"is_empty": {"key": "brand"}}),
    ],
)
def test_a_negative_clause_is_a_must_not_and_two_negations_cancel(clause: str, condition: dict[str, Any]) -> None:
    assert parse_where([clause]) == {"must_not": [condition]}


def test_no_clause_is_no_filter() -> None:
    assert parse_where([]) is None


@pytest.mark.parametrize(
    "clause",
    [
        "",
        "red",
        "=red",
        "colour=",
        "colour=red,",
        "colour=,red",
        "price<cheap",
        "price<nan",
        "price<inf",
        "price<1,2",
        "10<price>50",
        "price<",
        "1<=price",
        "a b=c",
        "?",
        "!colour",
        "colour='red",
        "colour=='",
        "10<=50",
    ],
)
def test_a_clause_that_cannot_be_meant_is_named(clause: str) -> None:
    with pytest.raises(FilterError) as error:
        parse_where([clause])
    assert repr(clause.strip()) in str(error.value)


@pytest.mark.parametrize(
    ("clause", "checked"),
    [
        ("year=2020", {"must": [{"key": "year", "match": {"value": 2020}}]}),
        ("year=2020,2021", {"must": [{"key": "year", "match": {"any": [2020, 2021]}}]}),
        ("colour=2020", {"must": [{"key": "colour", "match": {"value": "2020"}}]}),
        ("colour=true", {"must": [{"key": "colour", "match": {"value": "true"}}]}),
        ("hat=True", {"must": [{"key": "hat", "match": {"value": True}}]}),
        ("hat=no", {"must": [{"key": "hat", "match": {"value": False}}]}),
        ("price=10", {"must": [{"key": "price", "range": {"gte": 10, "lte": 10}}]}),
        (
            "created=2024-02-28",
            {
                "must": [
                    {"key": "created", "range": {"gte": "2024-02-28T00:00:00Z", "lte": "2024-02-28T23:59:59.999999Z"}}
                ]
            },
        ),
        ("created<2024-01-01T01:00:00+02:00", {"must": [{"key": "created", "range": {"lt": "2023-12-31T23:00:00Z"}}]}),
    ],
)
def test_the_kind_of_the_field_decides_what_a_value_is(clause: str, checked: dict[str, Any]) -> None:
    assert check_filter(only(clause), FIELDS) == checked


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (
            only("color=red"),
            "no field 'color'; did you mean 'colour'[?] It has: colour, created, hat, price, title, year",
        ),
        (only("zzz?"), "no field 'zzz'; it has: "),
        (only("price=cheap"), "'cheap' is no number, which 'price' needs"),
        (only("year=2020.5"), "'2020.5' is no whole number"),
        (only("year=99999999999999999999"), "no whole number"),
        (only("hat=maybe"), "'maybe' is neither true nor false"),
        (only("created=soon"), "'soon' is no date, which 'created' needs; write 2024-01-31"),
        (only("created<2024"), "2024 is no date"),
        (only("colour<5"), "'colour' is a keyword field, which has no order"),
        (only("title=denim"), "search its words with title~word"),
        (only("colour~red"), "'colour' is a keyword field and has no words to search; try colour=red"),
        ({"must": [{"key": "colour", "match": {"value": 3}}]}, "'colour' is a keyword field: 3 should be a text"),
        ({"must": [{"key": "year", "match": {"value": True}}]}, "True is no whole number"),
        ({"must": [{"key": "price", "range": {"lt": True}}]}, "True is no number"),
        ({"must": [{"key": "price", "range": {}}]}, "cannot read range"),
        ({"must": [{"key": "price", "range": {"lt": None}}]}, "cannot read range"),
        ({"must": [{"key": "hat", "range": {"lt": 1}}]}, "'hat' is a bool field, which has no order"),
        ({"must": [{"key": "title", "match": {"text": " "}}]}, "' ' is no text to search in 'title'"),
        ({"must": [{"key": "price", "range": {"below": 5}}]}, "cannot read range"),
        ({"must": [{"key": "price", "range": {"lt": float("nan")}}]}, "nan is no number"),
        ({"must": [{"key": "price", "range": {"lt": 10**400}}]}, "is no number"),
        ({"must": [{"key": "colour", "values_count": {"gte": -1}}]}, "-1 is no number of values"),
        ({"min_should": {"conditions": [], "min_count": -1}}, "-1 is no number of values"),
        ({"must": [{"key": "colour", "match": {"value": "\ud800"}}]}, "no valid Unicode"),
        ({"must": [{"key": "title", "match": {"phrase": "\ud800"}}]}, "no valid Unicode"),
        ({"must": [{"key": "price"}]}, "needs exactly one test"),
        ({"must": [{"key": "price", "range": {"lt": 5}, "match": {"value": 3}}]}, "needs exactly one test"),
        ({"must": [{"key": "colour", "match": {"value": "a", "any": ["b"]}}]}, "exactly one of value"),
        ({"must": [{"key": "colour", "match": {"any": "red"}}]}, "needs a list"),
        ({"must": [{"key": "colour", "match": {"fuzzy": "red"}}]}, "cannot 'fuzzy'"),
        ({"must": [{"key": "colour", "geo_radius": {"radius": 1}}]}, "cannot read geo_radius"),
        ({"must": [{"key": ["colour"], "match": {"value": "a"}}]}, "a field name is a text"),
        ({"must": [{"has_id": ["abc"]}]}, "'abc' is no point id"),
        ({"must": [{"has_id": [7]}]}, "7 is no point id"),
        ({"must": ["colour=red"]}, "a condition is an object"),
        ({"must": [{"colour": "red"}]}, "cannot read the condition"),
        (
            {"must": [{"nested": {"key": "offers", "filter": {"must": [{"key": "price", "range": {"lt": 5}}]}}}]},
            "offers",
        ),
        ({"mustt": []}, "'mustt' is no part of a filter"),
        ({"min_should": {"conditions": []}}, "'min_should' is no part"),
        ({"title": "denim"}, "'title' is no part of a filter"),
        ([], "a filter is an object"),
        ("colour=red", "a filter is an object"),
    ],
)
def test_what_would_find_nothing_or_mean_something_else_is_refused(filter: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        check_filter(filter, FIELDS)


def test_the_ends_of_the_calendar_are_dates_like_others() -> None:
    for day in ("0001-01-01", "9999-12-31"):
        check_filter(only(f"created={day}"), FIELDS)
    with pytest.raises(FilterError, match="is no date"):
        check_filter(only("created=0001-01-01T00:00:00+02:00"), FIELDS)


def test_a_nested_filter_is_checked_against_the_fields_inside() -> None:
    filter = {"must": [{"nested": {"key": "offers", "filter": {"must": [{"key": "price", "range": {"lt": 5}}]}}}]}
    assert check_filter(filter, {"offers[].price": "float"}) == filter
    named = {"must": [{"nested": {**filter["must"][0]["nested"], "key": "offers[]"}}]}
    assert check_filter(named, {"offers[].price": "float"}) == named
    for fields in ({"price": "float"}, {"offers.price": "float"}):
        with pytest.raises(FilterError, match=r"no field 'offers\[\].price'"):
            check_filter(filter, fields)  # type: ignore[arg-type]


RED = {"key": "colour", "match": {"value": "red"}}


@pytest.mark.parametrize(
    ("written", "checked"),
    [
        ({"must": RED, "should": None, "must_not": None}, {"must": [RED]}),
        ({"must": [{**RED, "range": None}]}, {"must": [RED]}),
        ({"must": [{**RED, "key": "colour[]"}]}, {"must": [{**RED, "key": "colour[]"}]}),
        (
            {"must": [{"key": "price", "range": {"lt": 5, "gte": None}}]},
            {"must": [{"key": "price", "range": {"lt": 5}}]},
        ),
        ({"must": [{"key": "hat", "is_empty": True}]}, {"must": [{"is_empty": {"key": "hat"}}]}),
        ({"must": [{"key": "hat", "is_empty": False}]}, {"must": [{"must_not": [{"is_empty": {"key": "hat"}}]}]}),
        ({"must": [{"key": "hat", "match": {"any": []}}]}, {"must": [{"has_id": []}]}),
        (
            {"must": [{"key": "hat", "match": {"except": [True]}}]},
            {"must": [{"must_not": [{"is_empty": {"key": "hat"}}, {"key": "hat", "match": {"value": True}}]}]},
        ),
        (
            {"must": {"has_id": "6E2F9D1C-6A7A-5D0E-9C53-0C1F8F3B7A11"}},
            {"must": [{"has_id": ["6e2f9d1c-6a7a-5d0e-9c53-0c1f8f3b7a11"]}]},
        ),
    ],
)
def test_what_can_be_written_in_several_ways_has_one_canonical_form(written: Any, checked: Any) -> None:
    assert check_filter(written, FIELDS) == checked


def test_filters_are_joined_so_that_all_that_say_anything_must_hold() -> None:
    women: dict[str, Any] = {"should": [{"key": "gender", "match": {"value": "women"}}]}
    assert joined(None, {}) is joined() is None
    assert joined(None, women, {}) == women
    assert joined(women, {"must": [RED]}) == {"must": [women, {"must": [RED]}]}
    assert without(women, ["a"]) == {"must": [women, {"must_not": [{"has_id": ["a"]}]}]}


def test_a_filter_nested_without_end_is_refused() -> None:
    filter: dict[str, Any] = {"must": [{"key": "colour", "match": {"value": "red"}}]}
    for _ in range(20):
        filter = {"must": [filter]}
    assert check_filter(filter, FIELDS) == filter
    for _ in range(1000):
        filter = {"must": [filter]}
    with pytest.raises(FilterError, match="nested"):
        check_filter(filter, FIELDS)
    inside: dict[str, Any] = {}
    for _ in range(1000):
        inside = {"must": [{"nested": {"key": "offers", "filter": inside}}]}
    with pytest.raises(FilterError, match="nested"):
        check_filter(inside, FIELDS)
    with pytest.raises(FilterError):
        load_filter('{"must":' * 100_000 + "1" + "}" * 100_000)


def test_load_filter_takes_what_qdrant_takes_and_names_what_it_does_not() -> None:
    filter = {
        "must": {"key": "colour", "match": {"any": ["red"]}},
        "should": [{"is_empty": {"key": "title"}}, {"has_id": ["6e2f9d1c-6a7a-5d0e-9c53-0c1f8f3b7a11"]}],
        "min_should": {"conditions": [{"key": "year", "values_count": {"gte": 1}}], "min_count": 1},
    }
    assert load_filter(json.dumps(filter)) == filter
    assert check_filter(load_filter(json.dumps(filter)), FIELDS)["must"] == [filter["must"]]
    for text, message in [
        ("colour=red", "no JSON"),
        ("[]", "not a filter of Qdrant's"),
        ("3", "not a filter"),
        ('{"mustt": []}', "mustt"),
        ('{"must": [{"key": "colour", "match": {"anyy": ["red"]}}]}', "must"),
    ]:
        with pytest.raises(FilterError, match=message):
            load_filter(text)


values = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())
keys = st.sampled_from([*FIELDS, "other"])
anything = st.recursive(
    values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "must",
                    "should",
                    "must_not",
                    "min_should",
                    "key",
                    "match",
                    "value",
                    "any",
                    "except",
                    "range",
                    "gte",
                    "values_count",
                    "has_id",
                    "is_empty",
                    "is_null",
                    "nested",
                    "filter",
                    "conditions",
                    "min_count",
                    "text",
                ]
            ),
            st.one_of(inner, keys),
            max_size=3,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_whatever_is_handed_in_either_passes_or_is_a_filter_error(filter: Any) -> None:
    try:
        checked = check_filter(filter, FIELDS)
    except FilterError:
        return
    assert check_filter(checked, FIELDS) == checked


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_whatever_is_typed_either_parses_or_is_a_filter_error(text: str) -> None:
    try:
        parse_where([text, f"price<{text}", f"colour={text}"])
    except FilterError:
        return


def test_the_sugar_imports_neither_the_client_nor_pydantic() -> None:
    code = (
        "import sys\n"
        "from engine.filters import check_filter, parse_where\n"
        "check_filter(parse_where(['a=1', 'b<2']), {'a': 'keyword', 'b': 'float'})\n"
        "import engine.store.open\n"
        "store = engine.store.open.open_store('nowhere', 'fashion')\n"
        "store.exists()\n"
        "print([name for name in ('qdrant_client', 'pydantic', 'httpx', 'grpc', 'torch') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
