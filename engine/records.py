"""The nouns that the rooms pass to each other. Standard library and numpy only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Value = str | int | float | bool | list[str]
Payload = dict[str, Value]
FieldKind = Literal["keyword", "integer", "float", "bool", "text", "datetime"]
Vector = npt.NDArray[np.float32]
FilterJSON = Mapping[str, object]
"""A filter in Qdrant's REST JSON: ``{"must": [...], "should": [...], "must_not": [...]}``."""

NAMESPACE = uuid.UUID("6e2f9d1c-6a7a-5d0e-9c53-0c1f8f3b7a11")
"""Point ids are UUIDv5 of the item id in this namespace: public contract, never to change."""


def is_text(text: str) -> bool:
    """Say whether a text can be written as UTF-8: one half of a character, as JSON can name it, cannot."""
    return text.isascii() or text == text.encode(errors="replace").decode()


def shown(text: str) -> str:
    """Return a path that can be printed and stored: bytes that are no UTF-8 are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=1024)
def point_id(item_id: str) -> str:
    """Return the point id of an item: the UUIDv5 of its id, so that running again is always safe."""
    return str(uuid.uuid5(NAMESPACE, item_id))


@dataclass(frozen=True, slots=True)
class Item:
    """One catalogue entry: a photograph, and what its source knows about it.

    ``id`` is unique and stable within its source. ``uri`` says where the bytes are (a path, or
    ``archive.tar!member.jpg``). ``size_bytes`` and ``mtime_ns`` tell a changed file from an unchanged one without
    reading it.
    """

    id: str
    uri: str
    payload: Payload = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    size_bytes: int = -1
    mtime_ns: int = -1


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something in a source that is no item, with the reason why.

    ``excluded``: never meant to be a photograph, or excluded by the user. ``quarantined``: it should have been one.
    ``nameless``: nobody can say which one.
    """

    uri: str
    state: Literal["excluded", "quarantined"]
    reason: str
    nameless: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """What the store keeps of an item: a unit float32 vector of shape (d,) and the payload.

    ``patches``: unit float32 rows (p, t), one for each part of the photograph; None in a collection without them.
    """

    id: str
    vector: Vector
    payload: Payload
    patches: Vector | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A point as the store gives it back; the parts that were not asked for are None."""

    id: str
    payload: Payload | None = None
    vector: Vector | None = None
    patches: Vector | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A point that was found, with its score: the cosine of query and photograph, in [-1, 1].

    ``rerank_score``: the mean over the query's words of the cosine with the best part of the photograph; only of hits
    that were looked at more closely.
    """

    id: str
    score: float
    payload: Payload
    rerank_score: float | None = None

    @property
    def item_id(self) -> str:
        """The item id, as the source gave it."""
        return str(self.payload.get("item_id", self.id))
