"""What may be asked of a collection: searches, counts and groups that its fields and vectors allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.errors import FilterError, StoreError
from engine.filters import check_filter
from engine.records import FieldKind, Vector
from engine.store.protocol import SearchSpec
from engine.store.schema import CORE_FIELDS


def check_query(spec: SearchSpec, dimension: int) -> None:
    """Let a search pass only when its vector fits the collection.

    Raises:
        StoreError: a wrong shape or a vector that is not finite.
    """
    if np.shape(spec.vector) != (dimension,):
        raise StoreError(f"the query has the shape {np.shape(spec.vector)}, the collection needs ({dimension},)")
    if not np.isfinite(spec.vector).all():
        raise StoreError("the query's vector is not finite")
    if spec.offset < 0:
        raise StoreError(f"the offset of a search cannot be {spec.offset}")


def check_words(words: Vector, dimension: int) -> None:
    """Let a late interaction pass only when its words fit the collection's patches.

    Raises:
        StoreError: a wrong shape, or a collection without patches.
    """
    if not dimension:
        raise StoreError("the collection has no patches to look at: ingest anew with a checkpoint that makes them")
    if np.ndim(words) != 2 or len(words) == 0 or np.shape(words)[1] != dimension:
        raise StoreError(f"the words have the shape {np.shape(words)}, the collection needs (l, {dimension})")


def check_countable(key: str, fields: Mapping[str, FieldKind]) -> None:
    """Let a facet pass only on a field whose values Qdrant can count. Raises: FilterError."""
    check_filter({"must": [{"is_empty": {"key": key}}]}, fields)
    if fields[key] not in ("keyword", "integer", "bool"):
        raise FilterError(
            f"the values of {key!r} cannot be counted: it is {fields[key]}, not keyword, integer or bool"
        )


def facet_fields(fields: Mapping[str, FieldKind]) -> list[str]:
    """Return what is counted where no field is named: keyword and bool fields that the source brought along."""
    return [name for name, kind in fields.items() if kind in ("keyword", "bool") and name not in CORE_FIELDS]


def check_groupable(key: str, fields: Mapping[str, FieldKind]) -> None:
    """Let a grouping pass only on a field that Qdrant can group by. Raises: FilterError."""
    check_filter({"must": [{"is_empty": {"key": key}}]}, fields)
    if fields[key] not in ("keyword", "integer"):
        raise FilterError(f"hits cannot be grouped by {key!r}: it is {fields[key]}, not keyword or integer")
