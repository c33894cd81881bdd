"""One filter language for the command line, our API, Qdrant Edge and Qdrant itself: Qdrant's REST JSON.

``parse_where`` turns sugar such as ``price<50`` into it, ``load_filter`` reads it as the user wrote it, and
``check_filter`` holds either against the fields of a collection, because Qdrant answers a misspelt field with an
empty result instead of an error. Neither the sugar nor the check imports `qdrant_client`, which takes a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import FilterError
from engine.filter_values import (
    DAY,
    END_OF_DAY,
    Condition,
    count,
    equal_bool,
    equal_datetime,
    equal_float,
    instant,
    integer,
    keyword,
    moment_of,
    number_of,
    real,
    uuid_of,
)
from engine.records import FieldKind, FilterJSON

CLAUSES = ("must", "should", "must_not")
BOUNDS = ("gt", "gte", "lt", "lte")
MAX_DEPTH = 32

SUGAR = "colour=red  colour=red,blue  colour!=red  price<50  10<=price<50  hat=true  title~denim  brand?  !brand?"

_FIELD = r"(?=[\d.\-]*[A-Za-z_])[\w.\-\[\]]+"
_PRESENT = re.compile(rf"(!?)\s*({_FIELD})\s*\?")
_BETWEEN = re.compile(rf"([^=!~<>]+?)\s*(<=|<|>=|>)\s*({_FIELD})\s*(<=|<|>=|>)\s*(.+)", re.DOTALL)
_COMPARE = re.compile(rf"({_FIELD})\s*(!=|!~|<=|>=|==|=|<|>|~)\s*(.*)", re.DOTALL)
_VALUE = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]*?)\s*(?:,|$)""", re.DOTALL)
_BOUND_OF = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def parse_where(clauses: Sequence[str]) -> FilterJSON | None:
    """Turn the sugar of ``--where`` into one filter; every clause must hold. None: no clause at all.

    Values stay strings until `check_filter` knows the kinds of the fields.

    Raises:
        FilterError: a clause that cannot be read.
    """
    filter: dict[str, list[Condition]] = {"must": [], "must_not": []}
    for clause in clauses:
        condition, negated = _clause(clause.strip())
        filter["must_not" if negated else "must"].append(condition)
    return {name: conditions for name, conditions in filter.items() if conditions} or None


def joined(*filters: FilterJSON | None) -> FilterJSON | None:
    """Return the filter by which all of ``filters`` must hold that say anything; None: none of them does."""
    said = [one for one in filters if one]
    return said[0] if len(said) == 1 else {"must": said} if said else None


def without(filter: FilterJSON | None, ids: Sequence[str]) -> FilterJSON | None:
    """Return the filter with these point ids left out."""
    return joined(filter, {"must_not": [{"has_id": list(ids)}]})


def load_filter(text: str) -> FilterJSON:
    """Read a filter that the user wrote as Qdrant's REST JSON.

    Raises:
        FilterError: no JSON, or no filter of Qdrant's.
    """
    from pydantic import ValidationError
    from qdrant_client.models import Filter

    try:
        filter = json.loads(text)
        Filter.model_validate(filter)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FilterError(f"not a filter of Qdrant's: {where or text.strip()[:80]}: {first['msg']}") from error
    except ValueError as error:  # also a number of thousands of digits
        raise FilterError(f"the filter is no JSON: {error}; Qdrant's form is {{'must': [...]}}") from error
    except RecursionError as error:
        raise FilterError("the filter is nested too deeply") from error
    return dict(filter)


def check_filter(filter: FilterJSON, fields: Mapping[str, FieldKind]) -> FilterJSON:
    """Return the filter in one canonical form, its values of the kinds that the collection's fields have.

    Every condition becomes a list member with exactly one test. Equality on a float or a datetime, which Qdrant
    lacks, becomes a range; ``any`` over booleans, which it lacks too, a ``should``. Checking twice is harmless.

    Raises:
        FilterError: an unknown field (the message lists those there are), a value that does not suit the field's
            kind, or something that is no filter.
    """
    return _checked(filter, fields, "", 0)


# --- the sugar


def _clause(text: str) -> tuple[Condition, bool]:
    """Return the condition of one clause, and whether it is negated."""
    if found := _PRESENT.fullmatch(text):
        absent, key = found.groups()
        return {"is_empty": {"key": key}}, not absent
    if found := _BETWEEN.fullmatch(text):
        low, left, key, right, high = found.groups()
        if left[0] == right[0]:
            bounds = _bound(_MIRRORED[left], low, text) | _bound(right, high, text)
            return {"key": key, "range": bounds}, False
    if found := _COMPARE.fullmatch(text):
        key, operator, rest = found.groups()
        if operator in _BOUND_OF:
            return {"key": key, "range": _bound(operator, rest, text)}, False
        values = _values(rest, text)
        if operator in ("~", "!~"):
            return {"key": key, "match": {"text": " ".join(values)}}, operator == "!~"
        match: Condition = {"value": values[0]} if len(values) == 1 else {"any": values}
        return {"key": key, "match": match}, operator == "!="
    raise FilterError(f"cannot read the filter {text!r}; write for example  {SUGAR}")


def _values(text: str, clause: str) -> list[str]:
    """Split ``red, 'light blue'`` at commas outside quotes."""
    values, position = [], 0
    while found := _VALUE.match(text, position):
        raw = found.group(1)
        if not raw:
            break
        quoted = len(raw) > 1 and raw[0] in "\"'" and raw[-1] == raw[0]
        if raw[0] in "\"'" and not quoted:
            raise FilterError(f"a quote is not closed in the filter {clause!r}")
        values.append(re.sub(r"\\(.)", r"\1", raw[1:-1], flags=re.DOTALL) if quoted else raw)
        position = found.end()
        if found.group(0)[-1:] != ",":
            return values
    raise FilterError(f"a value is missing in the filter {clause!r}; quote an empty one: {clause.rstrip()}''")


def _bound(operator: str, text: str, clause: str) -> dict[str, int | float | str]:
    """Read one end of a range, a number or a date: after a day is after its end, up to a day includes it."""
    values, bound = _values(text, clause), _BOUND_OF[operator]
    if len(values) == 1:
        number = number_of(values[0])
        if number is not None:
            return {bound: number}
        if moment_of(values[0]) is not None:
            whole_day = bound in ("gt", "lte") and DAY.fullmatch(values[0])
            return {bound: f"{values[0]}{END_OF_DAY}" if whole_day else values[0]}
    raise FilterError(f"{text.strip()!r} in the filter {clause!r} is neither a number nor a date like 2024-01-31")


# --- the check


def _checked(filter: object, fields: Mapping[str, FieldKind], prefix: str, depth: int) -> Condition:
    if not isinstance(filter, Mapping):
        raise FilterError(f"a filter is an object with must, should or must_not, not {filter!r}")
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested more than {MAX_DEPTH} deep")

    def conditions(value: object) -> list[Condition]:
        members = value if isinstance(value, list | tuple) else [value]
        return [_condition(member, fields, prefix, depth) for member in members]

    checked: Condition = {}
    for name, value in filter.items():
        if value is None:
            continue
        if name in CLAUSES:
            checked[name] = conditions(value)
        elif name == "min_should" and isinstance(value, Mapping) and set(value) == {"conditions", "min_count"}:
            checked[name] = {
                "conditions": conditions(value["conditions"]),
                "min_count": count(value["min_count"], "min_count"),
            }
        else:
            raise FilterError(f"{name!r} is no part of a filter; it has must, should, must_not and min_should")
    return checked


def _condition(condition: object, fields: Mapping[str, FieldKind], prefix: str, depth: int) -> Condition:
    if not isinstance(condition, Mapping):
        raise FilterError(f"a condition is an object, not {condition!r}")
    names = {name for name, value in condition.items() if value is not None}
    if names & {*CLAUSES, "min_should"} or not names:
        return _checked(condition, fields, prefix, depth + 1)
    if names == {"has_id"}:
        ids = condition["has_id"]
        return {"has_id": [uuid_of(id) for id in (ids if isinstance(ids, list | tuple) else [ids])]}
    for name in ("is_empty", "is_null"):
        if names == {name} and isinstance(condition[name], Mapping) and set(condition[name]) == {"key"}:
            key = condition[name]["key"]
            _kind(prefix, key, fields)
            return {name: {"key": key}}
    if names == {"nested"} and isinstance(condition["nested"], Mapping):
        nested = condition["nested"]
        if set(nested) == {"key", "filter"} and isinstance(nested["key"], str):
            inside = f"{prefix}{nested['key'].removesuffix('[]')}[]."
            return {"nested": {"key": nested["key"], "filter": _checked(nested["filter"], fields, inside, depth + 1)}}
    if "key" in names:
        return _field_condition(condition, names - {"key"}, fields, prefix)
    raise FilterError(f"cannot read the condition {dict(condition)!r}")


def _field_condition(
    condition: Mapping[str, Any], tests: set[str], fields: Mapping[str, FieldKind], prefix: str
) -> Condition:
    key = condition["key"]
    kind = _kind(prefix, key, fields)
    if len(tests) != 1:
        raise FilterError(f"the condition on {key!r} needs exactly one test, such as match or range")
    test = tests.pop()
    value = condition[test]
    if test in ("is_empty", "is_null") and isinstance(value, bool):
        plain = {test: {"key": key}}
        return plain if value else {"must_not": [plain]}
    bounds: Condition | None = None
    if isinstance(value, Mapping):
        if test == "match":
            return _match(key, kind, value)
        bounds = {name: bound for name, bound in value.items() if bound is not None}
        if not bounds or not set(bounds) <= set(BOUNDS):
            bounds = None
    if bounds and test == "range":
        if kind not in ("integer", "float", "datetime"):
            raise FilterError(f"{key!r} is a {kind} field, which has no order; try {key}=...")
        bound_of = instant if kind == "datetime" else real
        return {"key": key, "range": {name: bound_of(bound, key) for name, bound in bounds.items()}}
    if bounds and test == "values_count":
        return {"key": key, "values_count": {name: count(bound, key) for name, bound in bounds.items()}}
    raise FilterError(f"cannot read {test}: {value!r} on the field {key!r}")


def _match(key: str, kind: FieldKind, match: Mapping[str, Any]) -> Condition:
    if len(match) != 1:
        raise FilterError(f"match on {key!r} needs exactly one of value, any, except, text, text_any, phrase")
    (how, value), *_ = match.items()
    if how in ("text", "text_any", "phrase"):
        if kind != "text":
            raise FilterError(f"{key!r} is a {kind} field and has no words to search; try {key}={value}")
        if not isinstance(value, str) or not value.strip():
            raise FilterError(f"{value!r} is no text to search in {key!r}")
        return {"key": key, "match": {how: keyword(value, key)}}
    if how not in ("value", "any", "except"):
        raise FilterError(f"match on {key!r} cannot {how!r}; it has value, any, except, text, text_any, phrase")
    if kind == "text":
        raise FilterError(f"{key!r} is a text field: search its words with {key}~word")
    if how != "value" and not isinstance(value, list | tuple):
        raise FilterError(f"{how!r} on {key!r} needs a list of values, not {value!r}")
    values = list(value) if how != "value" else [value]
    if kind in ("keyword", "integer"):
        exact: Callable[[object, str], object] = keyword if kind == "keyword" else integer
        found = [exact(each, key) for each in values]
        return {"key": key, "match": {how: found[0] if how == "value" else found}}
    equal = {"bool": equal_bool, "float": equal_float, "datetime": equal_datetime}[kind]
    equals = [equal(each, key) for each in values]
    if how == "except":
        return {"must_not": [{"is_empty": {"key": key}}, *equals]}
    if len(equals) == 1:
        return equals[0]
    # An empty `should` would match everything; an empty `any` matches nothing.
    return {"should": equals} if equals else {"has_id": []}


def _kind(prefix: str, key: object, fields: Mapping[str, FieldKind]) -> FieldKind:
    if not isinstance(key, str):
        raise FilterError(f"a field name is a text, not {key!r}")
    name = f"{prefix}{key}".removesuffix("[]")
    if name in fields:
        return fields[name]
    import difflib

    close = difflib.get_close_matches(name, fields, n=1)
    hint = f"did you mean {close[0]!r}? It" if close else "it"
    raise FilterError(f"the collection has no field {name!r}; {hint} has: {', '.join(sorted(fields)) or 'none'}")
