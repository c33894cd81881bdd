"""Whether a payload passes a filter, without a store: for choosing what to ingest and what to examine."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any

from engine.filter_values import moment_of
from engine.records import FilterJSON, Payload, point_id

_TESTS = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}


def matches(filter: FilterJSON, payload: Payload) -> bool:
    """Say whether ``payload`` passes ``filter``, by Qdrant's rules, for a filter that `engine.filters` has checked."""
    must, should, must_not = (_listed(filter.get(name)) for name in ("must", "should", "must_not"))
    least: Any = filter.get("min_should")
    return (
        all(_passes(condition, payload) for condition in must)
        and (not should or any(_passes(condition, payload) for condition in should))
        and not any(_passes(condition, payload) for condition in must_not)
        and (not least or sum(_passes(each, payload) for each in least["conditions"]) >= least["min_count"])
    )


def _passes(condition: Mapping[str, Any], payload: Payload) -> bool:
    match condition:
        case {"key": key, "match": test}:
            return any(_matched(test, value) for value in _listed(payload.get(key)))
        case {"key": key, "range": bounds}:
            return any(_within(bounds, value) for value in _listed(payload.get(key)))
        case {"key": key, "values_count": bounds}:
            return _within(bounds, len(_listed(payload.get(key))))
        case {"is_empty": {"key": key}}:
            return payload.get(key) in (None, [])
        case {"has_id": ids}:
            return "item_id" in payload and point_id(str(payload["item_id"])) in ids
        case {"is_null": _} | {"nested": _}:  # payloads are flat and hold no nulls
            return False
    return matches(condition, payload)


def _listed(values: Any) -> list[Any]:  # noqa: ANN401
    if values is None:
        return []
    return values if isinstance(values, list) else [values]


def _matched(test: Mapping[str, Any], value: Any) -> bool:  # noqa: ANN401
    ((how, wanted),) = test.items()
    match how:
        case "value":
            return _same(wanted, value)
        case "any":
            return any(_same(each, value) for each in wanted)
        case "except":
            return not any(_same(each, value) for each in wanted)
    there, words = _words(str(value)), _words(wanted)
    if how == "text":
        return set(words) <= set(there)
    if how == "text_any":
        return bool(set(words) & set(there))
    return any(there[at : at + len(words)] == words for at in range(len(there) - len(words) + 1))  # a phrase


def _same(wanted: Any, value: Any) -> bool:  # noqa: ANN401
    return type(wanted) is type(value) and bool(wanted == value)  # Python takes True for 1, and 1 for 1.0


def _within(bounds: Mapping[str, Any], value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return False
    for name, bound in bounds.items():
        left, right = (moment_of(value), moment_of(bound)) if isinstance(bound, str) else (value, bound)
        if left is None or right is None or isinstance(left, str) or not _TESTS[name](left, right):
            return False
    return True


def _words(text: str) -> list[str]:
    """Split as Qdrant's word tokenizer does: at whatever is no letter and no digit."""
    return re.findall(r"[^\W_]+", text.lower())
