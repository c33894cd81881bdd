"""The nouns of a store as JSON and back, for a store that is reached through `engine serve`.

Vectors are base64 of little-endian float32. A mapping whose keys could be mistaken for ours is written as pairs.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.records import Hit, Point, Record
from engine.store.protocol import CollectionSpec, Health, SearchSpec

VERSION = "2"
"""Changes when either side would no longer understand the other."""
HEADER = "x-engine-store"
"""Names the version. A web page can send a header of this kind nowhere without being allowed to (CORS)."""
READING = frozenset(
    [
        "exists",
        "spec",
        "search",
        "search_batch",
        "search_groups",
        "max_sim",
        "recommend",
        "facet",
        "scroll",
        "retrieve",
        "count",
        "health",
    ]
)
WRITING = frozenset(["create", "add_fields", "add_ledger", "upsert", "set_payload", "delete", "optimize", "flush"])
"""What may be asked of a store; the names are those of `engine.store.protocol.Store`."""
_NOUNS = {noun.__name__: noun for noun in (CollectionSpec, SearchSpec, Health, Point, Record, Hit)}
_NOUN, _ARRAY, _PAIRS = "$noun", "$float32", "$pairs"


def pack(value: object) -> Any:  # noqa: ANN401
    """Return a value that `json.dumps` takes. Raises: TypeError."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.ndarray):
        numbers = np.ascontiguousarray(value, dtype="<f4")
        return {_ARRAY: base64.b64encode(numbers.tobytes()).decode(), "shape": list(numbers.shape)}
    if type(value).__name__ in _NOUNS and dataclasses.is_dataclass(value):
        parts = {field.name: pack(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {_NOUN: type(value).__name__, **parts}
    if isinstance(value, Mapping):
        if any(str(key).startswith("$") for key in value):
            return {_PAIRS: [[key, pack(part)] for key, part in value.items()]}
        return {key: pack(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [pack(part) for part in value]
    raise TypeError(f"{type(value).__name__} is not of a store")


def unpack(value: Any) -> Any:  # noqa: ANN401
    """Return what `pack` was given; tuples come back as lists. Raises: ValueError, TypeError, KeyError."""
    if isinstance(value, list):
        return [unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        numbers = np.frombuffer(base64.b64decode(value[_ARRAY], validate=True), dtype="<f4")
        return numbers.reshape(value["shape"]).astype(np.float32)
    if _PAIRS in value:
        return {str(key): unpack(part) for key, part in value[_PAIRS]}
    if _NOUN in value:
        return _NOUNS[value[_NOUN]](**{key: unpack(part) for key, part in value.items() if key != _NOUN})
    return {key: unpack(part) for key, part in value.items()}
