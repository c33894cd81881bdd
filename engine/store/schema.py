"""The collection's public contract in code: its fields, its version, and the check that every point passes.

The same contract is written for people in docs/collection.md and for machines in engine/collection.schema.json.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from engine.errors import FieldConflict, StoreError, UsageError
from engine.records import FieldKind, Point, Value, Vector, is_text, point_id
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME, CollectionSpec

SCHEMA_VERSION = 1
"""Raised when one of the fields below is renamed or changes its kind; a new field leaves it alone."""

CORE_FIELDS: Mapping[str, FieldKind] = {
    "product_id": "keyword",
    "captions": "text",
    "duplicate_of": "keyword",
    "near_duplicate_of": "keyword",
}
"""The fields that every collection has an index for, and can therefore filter by."""

STORED_FIELDS: Mapping[str, FieldKind] = {
    "item_id": "keyword",
    "uri": "keyword",
    "source": "keyword",
    "sha256": "keyword",
    "width": "integer",
    "height": "integer",
    "perceptual_hash": "keyword",
}
"""Fields that are given back but not indexed: each index costs every opening 5 to 20 ms, and a query opens once.

An item is found by its point id, which is made of its item id.
"""

RESERVED_FIELDS: Mapping[str, FieldKind] = {**CORE_FIELDS, **STORED_FIELDS, "title": "text"}
"""Names whose kind is part of the contract, wherever they come from."""

UNIT_TOLERANCE = 1e-3

WORDS, NUMBERS = frozenset({"keyword", "text"}), frozenset({"integer", "float"})
"""Kinds of which one takes what the other has."""
_KINDS: tuple[FieldKind, ...] = get_args(FieldKind)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_FIELD_NAME = re.compile(r"[a-z0-9_]{1,100}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?)?")


def check_points(points: Sequence[Point], spec: CollectionSpec) -> None:
    """Let a batch pass only when every one of its points may be written.

    Qdrant Edge stores the first half of a batch whose second half it refuses, and takes NaN for a number: hence
    everything is checked here, before anything is written.

    Raises:
        StoreError: names the item at fault and what is wrong with it.
    """
    for point in points:
        _check_shape(point.vector, spec.dimension, point)
        _check_patches(point.patches, spec.patches, point)
        check_payload(point.id, point.payload, spec.fields)
    _check_lengths(points)


def check_payload(id: str, payload: Mapping[str, Value], fields: Mapping[str, FieldKind]) -> None:
    """Let a payload pass only when it is flat, typed, free of nulls, and belongs to the point ``id``.

    Raises:
        StoreError: names the item and the field at fault.
    """
    item_id = payload.get("item_id")
    if type(item_id) is not str or point_id(item_id) != id:
        proper = "is not the one of" if _is_uuid(id) else "is no UUID; take engine.records.point_id() of"
        raise StoreError(f"{_item(id, payload)}: the point id {id} {proper} item_id {item_id!r}")
    for field, value in payload.items():
        if not _is_field_name(field):
            raise StoreError(f"{_item(id, payload)}: the field name {field!r} is not in snake_case")
        kind = fields.get(field) or RESERVED_FIELDS.get(field)
        if type(value) is str and (kind is None or kind in WORDS) and value.isascii():
            continue  # by far the most, and nothing can be wrong with them
        if fault := _fault(value, kind):
            raise StoreError(f"{_item(id, payload)}: the field {field!r} is {fault}")


def with_core_fields(spec: CollectionSpec) -> CollectionSpec:
    """Return the spec with the core fields among its fields.

    Raises:
        StoreError: a dimension, a field name or a kind that cannot be.
    """
    if type(spec.dimension) is not int or spec.dimension < 1:
        raise StoreError(f"a collection needs a dimension of at least 1, not {spec.dimension!r}")
    check_fields(spec.fields, CORE_FIELDS)
    return CollectionSpec(spec.dimension, dict(spec.passport), {**CORE_FIELDS, **spec.fields}, spec.patches)


def check_fields(new: Mapping[str, FieldKind], existing: Mapping[str, FieldKind]) -> dict[str, FieldKind]:
    """Return those of the new fields that do not exist yet, and integers that must become floats.

    A field of words takes numbers, which are then said in words (`ingest.commit`).

    Raises:
        StoreError: a name that is not snake_case, an unknown kind.
        FieldConflict: a kind that the field cannot take or become.
    """
    for name, kind in new.items():
        if not _FIELD_NAME.fullmatch(name):
            raise StoreError(f"the field name {name!r} is not in snake_case, or longer than 100 signs")
        if kind not in _KINDS:
            raise StoreError(f"the field {name!r} cannot be {kind!r}; the kinds are {', '.join(_KINDS)}")
        known = existing.get(name) or RESERVED_FIELDS.get(name)
        takes = (known in WORDS and kind in WORDS | NUMBERS) or {known, kind} <= NUMBERS
        if known not in (None, kind) and (name in RESERVED_FIELDS or not takes):
            raise FieldConflict(
                f"the field {name!r} is {known} and cannot become {kind}: "
                "mend its values or rename it in the source, or choose another collection"
            )
    return {
        name: kind
        for name, kind in new.items()
        if name not in existing or (existing[name], kind) == ("integer", "float")
    }


def checked_id(id: str) -> str:
    """Return a point id in its one spelling.

    Raises:
        StoreError: it is no UUID.
    """
    try:
        return str(uuid.UUID(id))
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(f"{id!r} is no point id; they are UUIDs") from error


def vector_names(spec: CollectionSpec, *, vectors: bool, patches: bool) -> list[str]:
    """Return the names of the vectors that are to come along with a point; patches only where there are any."""
    return [VECTOR_NAME] * vectors + [PATCHES_NAME] * (patches and bool(spec.patches))


def vector_and_patches(found: Mapping[str, Any] | None) -> tuple[Vector | None, Vector | None]:
    """Return a point's vector (d,) and patches (p, t) as float32, of what came along with it."""
    held = found or {}
    vector, patches = (
        np.asarray(held[name], dtype=np.float32) if name in held else None for name in (VECTOR_NAME, PATCHES_NAME)
    )
    return vector, patches


def check_name(collection: str) -> str:
    """Return the collection's name when it can name a folder and a collection of a Qdrant server.

    Raises:
        UsageError: it cannot.
    """
    if _NAME.fullmatch(collection):
        return collection
    raise UsageError(f"{collection!r} cannot name a collection: use letters, digits, '_', '-' and '.'")


def _check_shape(vector: object, dimension: int, point: Point) -> None:
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
        name = _item(point.id, point.payload)
        raise StoreError(f"{name}: its vector is {getattr(vector, 'dtype', type(vector).__name__)}, not float32")
    if vector.shape != (dimension,):
        name = _item(point.id, point.payload)
        raise StoreError(f"{name}: its vector has the shape {vector.shape}, the collection ({dimension},)")


def _check_patches(patches: object, dimension: int, point: Point) -> None:
    if patches is None and not dimension:
        return
    fits = isinstance(patches, np.ndarray) and patches.dtype == np.float32 and patches.ndim == 2 and len(patches)
    if not (isinstance(patches, np.ndarray) and fits and patches.shape[1] == dimension):
        shape = getattr(patches, "shape", None)
        raise StoreError(
            f"{_item(point.id, point.payload)}: its patches have the shape {shape}, the collection (p, {dimension})"
        )
    if not np.isfinite(patches).all():
        raise StoreError(f"{_item(point.id, point.payload)}: its patches are not finite")


def _check_lengths(points: Sequence[Point]) -> None:
    if not points:
        return
    lengths = np.linalg.norm(np.stack([point.vector for point in points]), axis=1)
    for row in np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE)).tolist():
        name = _item(points[row].id, points[row].payload)
        if not np.isfinite(lengths[row]):
            raise StoreError(f"{name}: its vector is not finite")
        raise StoreError(f"{name}: its vector has the length {lengths[row]:.4f} instead of 1")


def _fault(value: object, kind: FieldKind | None) -> str | None:
    """Say what is wrong with a payload value; numpy's scalars, which pass for Python's own, are refused too."""
    if value is None:
        return "null; leave it out"
    if type(value) is list:
        faults = (_fault(each, "text") for each in value)
        if any(type(each) is not str for each in value) or not (kind is None or kind in WORDS):
            return f"a list that cannot be: {kind or 'payload'} fields hold lists of texts only as keyword or text"
        return next((fault for fault in faults if fault), None)
    if type(value) not in (str, int, float, bool):
        return f"{type(value).__name__}, which no payload may hold"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}; leave it out"
    if type(value) is int and not -(2**63) <= value < 2**63:
        return f"{value}, which has more than 64 bits"
    if isinstance(value, str) and not is_text(value):
        return f"{value!r}, which is no valid Unicode"
    suits: dict[FieldKind, bool] = {
        "keyword": type(value) is str,
        "text": type(value) is str,
        "integer": type(value) is int,
        "float": type(value) in (int, float),
        "bool": type(value) is bool,
        "datetime": isinstance(value, str) and _is_date(value),
    }
    return None if kind is None or suits[kind] else f"{value!r}, but should be {kind}"


@lru_cache(maxsize=1024)
def _is_field_name(field: object) -> bool:
    return type(field) is str and bool(_FIELD_NAME.fullmatch(field))


def _is_uuid(id: object) -> bool:
    try:
        return str(uuid.UUID(str(id))) == id
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _item(id: object, payload: Mapping[str, Value]) -> str:
    return f"item {payload.get('item_id', id)!r}"
