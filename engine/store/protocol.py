"""What the rest of the code may ask of a store: the seam between Qdrant Edge and a Qdrant server.

Filters are Qdrant's REST JSON (`engine.filters` makes and checks them). Ids are UUID strings. Vectors are float32 of
shape (d,), of unit length, stored under the name ``image``; beside each may lie several smaller ones, ``patches``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from engine.records import FieldKind, FilterJSON, Hit, Point, Record, Value, Vector

VECTOR_NAME = "image"
PATCHES_NAME = "patches"
PAGE = 1000
"""Points that are asked for at once, where all are wanted."""


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection is made with, once: its dimension, its passport, and the fields that can be filtered.

    ``passport`` is the JSON-ready dictionary of `engine.passport`; the store keeps it and gives it back, no more.
    ``patches`` is the dimension of each row of a point's patches, 0 where points have none.
    """

    dimension: int
    passport: Mapping[str, Any]
    fields: Mapping[str, FieldKind] = field(default_factory=dict)
    patches: int = 0

    @property
    def ledgers(self) -> list[str]:
        """The ledgers of all ingests that have written to the collection."""
        return list(self.passport.get("ledgers", []))

    def with_ledger(self, id: str) -> CollectionSpec:
        """Return the spec with one more ledger."""
        return replace(self, passport={**self.passport, "ledgers": [*self.ledgers, id]})


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """One nearest-neighbour search: ``vector`` of shape (d,), the best ``limit`` hits after ``offset``."""

    vector: Vector
    filter: FilterJSON | None = None
    limit: int = 10
    offset: int = 0
    exact: bool = False
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How a store is: what it holds and what it stands on."""

    backend: str
    location: str
    points: int
    indexed: int
    disk_bytes: int | None
    version: str


class Store(Protocol):
    """One collection. Opened by `engine.store.open.open_store`; use it as a context manager, or close it.

    All methods raise children of `engine.errors.StoreError`.
    """

    location: str

    def exists(self) -> bool:
        """Say whether the collection has been created."""

    def create(self, spec: CollectionSpec) -> None:
        """Create the collection with all its payload indexes, before any point; an existing one is left as it is."""

    def spec(self) -> CollectionSpec:
        """Return what the collection was made with; fields that were added later included."""

    def add_fields(self, fields: Mapping[str, FieldKind]) -> None:
        """Index further payload fields; those that exist with the same kind are left alone.

        A field of integers becomes one of floats where a source has these; what is stored stays as it is.
        """

    def add_ledger(self, id: str) -> None:
        """Write into the passport that an ingest with this ledger writes to the collection too."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, all or none: checked for dimension, finite unit vectors and payload types beforehand."""

    def set_payload(self, payloads: Mapping[str, Mapping[str, Value]]) -> None:
        """Replace the whole payload of each point id; the vectors stay."""

    def delete(self, ids: Sequence[str]) -> int:
        """Delete points by id; return how many existed."""

    def search(self, spec: SearchSpec) -> list[Hit]:
        """Return hits, best first."""

    def search_batch(self, specs: Sequence[SearchSpec]) -> list[list[Hit]]:
        """Run several searches in one call."""

    def search_groups(self, spec: SearchSpec, group_by: str) -> list[Hit]:
        """Return the best hit for each value of the field ``group_by``, ``spec.limit`` of them."""

    def max_sim(self, spec: SearchSpec, words: Vector) -> dict[str, float]:
        """Return, by point id, the MaxSim of the hits of ``spec`` with ``words``, unit rows (l, t).

        That is the sum over the words of the cosine with the best of the point's patches (ColBERT's late interaction).
        Of ``spec`` count the vector, the filter and the limit.
        """

    def recommend(self, positive: Sequence[str], negative: Sequence[str], spec: SearchSpec) -> list[Hit]:
        """Search from stored points (average strategy); ``spec.vector`` is ignored; the examples are left out."""

    def facet(self, key: str, filter: FilterJSON | None = None, limit: int = 50) -> list[tuple[Value, int]]:
        """Count the values of a field, most frequent first."""

    def scroll(
        self,
        filter: FilterJSON | None = None,
        limit: int = 256,
        cursor: str | None = None,
        *,
        vectors: bool = False,
        payload: bool | Sequence[str] = True,
    ) -> tuple[list[Record], str | None]:
        """Page through points in id order; the second value is the next page's cursor, None at the end.

        ``payload``: all of it, none, or the fields of these names, which is several times faster.
        """

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False, patches: bool = False) -> list[Record]:
        """Return the points that exist, in the order of ``ids``."""

    def count(self, filter: FilterJSON | None = None) -> int:
        """Count points exactly."""

    def optimize(self) -> None:
        """Build what makes searching fast (Edge: the graph; a server does so by itself: wait until it is green)."""

    def flush(self) -> None:
        """Make all writes durable."""

    def health(self) -> Health:
        """Report what the store holds and where."""

    def close(self) -> None:
        """Flush and let go of the store."""

    def __enter__(self) -> Store: ...

    def __exit__(self, *exc: object) -> None: ...


def all_records(
    store: Store,
    filter: FilterJSON | None = None,
    *,
    vectors: bool = False,
    payload: bool | Sequence[str] = True,
) -> Iterator[Record]:
    """Yield every point that passes the filter, in the order of the point ids; see `Store.scroll`."""
    cursor: str | None = None
    while True:
        records, cursor = store.scroll(filter, PAGE, cursor, vectors=vectors, payload=payload)
        yield from records
        if cursor is None:
            return
