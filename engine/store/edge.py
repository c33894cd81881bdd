"""The embedded store: Qdrant's own engine inside this process, one folder, nothing to start.

Qdrant Edge is strict in places and silent in others; what this module adds to it is the checking: one owner per
collection, batches that are written whole or not at all, room on the disk, a count that must not shrink by itself,
unknown fields that are errors. Every call holds Python's global lock for as long as it takes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from engine.errors import StoreError
from engine.filters import check_filter
from engine.records import FieldKind, FilterJSON, Hit, Point, Record, Value, Vector
from engine.store import edge_files as files
from engine.store import ranking
from engine.store.edge_convert import edge_config, edge_filter, field_index, needs_graph, search_params
from engine.store.edge_owner import ShardOwner
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME, CollectionSpec, Health, SearchSpec
from engine.store.requests import check_countable, check_groupable, check_query, check_words
from engine.store.schema import (
    check_fields,
    check_name,
    check_payload,
    check_points,
    checked_id,
    vector_and_patches,
    vector_names,
)

BATCH = 500
QUERY_BATCH = 64
"""Edge lets no other thread run during a call: 64 searches take some 50 ms, which a server survives."""


class EdgeStore:
    """One collection in a folder of its own, opened at the first use and owned until `close`.

    ``wait_s``: how long to wait for another owner to let go. ``min_free_bytes``: the room that writes must leave on
    the disk. ``generation``: another one than CURRENT names, to build it unseen (`engine.store.promote`).
    """

    def __init__(
        self,
        folder: Path,
        collection: str,
        *,
        wait_s: float = 0,
        min_free_bytes: int = files.MIN_FREE_BYTES,
        generation: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.collection = check_name(collection)
        self.location = str(self.folder)
        self._owner = ShardOwner(self.folder, self.collection, wait_s, min_free_bytes, generation)

    # --- the collection

    def exists(self) -> bool:
        """Say whether the collection has been created; does not open it."""
        return self._owner.exists()

    def create(self, spec: CollectionSpec) -> None:
        """Create the collection with all its payload indexes, before any point; an existing one is left as it is."""
        self._owner.create(spec)

    def spec(self) -> CollectionSpec:
        """Return what the collection was made with; reads one small file and takes no lock."""
        return self._owner.spec()

    def add_fields(self, fields: Mapping[str, FieldKind]) -> None:
        """Index further payload fields; those that exist with the same kind are left alone."""
        before = self.spec().fields
        new = check_fields(fields, before)
        if new:
            with self._owner.writing(0) as shard:
                for name, kind in new.items():
                    if name in before:
                        shard.update(qe.UpdateOperation.delete_field_index(name))
                    shard.update(qe.UpdateOperation.create_field_index(name, field_index(kind)))
                self._owner.set_spec(replace(self.spec(), fields={**before, **new}))

    def add_ledger(self, id: str) -> None:
        """Write into the passport that an ingest with this ledger writes to the collection too."""
        with self._owner.writing(0):
            self._owner.set_spec(self.spec().with_ledger(id))

    # --- writing

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, all or none: the whole batch is checked before the first is written."""
        check_points(points, self.spec())
        with self._owner.writing(len(points) * (4 * self.spec().dimension + 4096)) as shard:
            for start in range(0, len(points), BATCH):
                batch = [_point(point) for point in points[start : start + BATCH]]
                shard.update(qe.UpdateOperation.upsert_points(batch))

    def set_payload(self, payloads: Mapping[str, Mapping[str, Value]]) -> None:
        """Replace the whole payload of each point id; the vectors stay."""
        for id, payload in payloads.items():
            check_payload(id, payload, self.spec().fields)
        known = {record.id for record in self._retrieve(list(payloads), payload=False)}
        if absent := [id for id in payloads if id not in known]:
            raise StoreError(f"no point {absent[0]} in {self.collection!r}: nothing was changed")
        with self._owner.writing(4096 * len(payloads)) as shard:
            for id, payload in payloads.items():
                shard.update(qe.UpdateOperation.overwrite_payload([id], dict(payload)))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete points by id; return how many existed."""
        with self._owner.writing(0) as shard:
            there: list[int | uuid.UUID | str] = [record.id for record in self._retrieve(ids, payload=False)]
            if there:
                # The promise in collection.json goes down before the points do.
                self._owner.promise(self.count() - len(there), at_most=True)
                shard.update(qe.UpdateOperation.delete_points(there))
        return len(there)

    # --- reading

    def search(self, spec: SearchSpec) -> list[Hit]:
        """Return hits, best first, equal scores by id."""
        return self.search_batch([spec])[0]

    def search_batch(self, specs: Sequence[SearchSpec]) -> list[list[Hit]]:
        """Run several searches in one call."""
        checked = [self._checked(spec) for spec in specs]
        found: list[list[Hit]] = []
        for start in range(0, len(checked), QUERY_BATCH):
            batch = checked[start : start + QUERY_BATCH]
            firsts = self._query([(spec, ranking.wanted(spec.offset, spec.limit)) for spec in batch])
            for spec, first in zip(batch, firsts, strict=True):
                found.append(ranking.page(partial(self._best, spec), spec.offset, spec.limit, first))
        return found

    def search_groups(self, spec: SearchSpec, group_by: str) -> list[Hit]:
        """Return the best hit for each value of the field ``group_by``, ``spec.limit`` of them."""
        check_groupable(group_by, self.spec().fields)
        return ranking.groups(self.search, self.facet, spec, group_by)

    def max_sim(self, spec: SearchSpec, words: Vector) -> dict[str, float]:
        """Return, by point id, the MaxSim of the hits of ``spec`` with ``words``, unit rows (l, t)."""
        check_words(words, self.spec().patches)
        checked, rows = self._checked(spec), np.ascontiguousarray(words, dtype=np.float32)
        first = _request(checked, checked.limit)
        request = qe.QueryRequest(
            limit=first.limit,
            prefetches=[qe.Prefetch(limit=first.limit, query=first.query, filter=first.filter, params=first.params)],
            query=qe.Query.Nearest(rows, using=PATCHES_NAME),  # type: ignore[arg-type]
            with_payload=False,
            with_vector=False,
        )
        with self._owner.reading() as shard:
            return {str(hit.id): float(hit.score) for hit in shard.query(request)}

    def recommend(self, positive: Sequence[str], negative: Sequence[str], spec: SearchSpec) -> list[Hit]:
        """Search from stored points (average strategy); ``spec.vector`` is ignored; the examples are left out."""
        return self.search(ranking.recommendation(self.retrieve, positive, negative, spec))

    def facet(self, key: str, filter: FilterJSON | None = None, limit: int = 50) -> list[tuple[Value, int]]:
        """Count the values of a field, most frequent first, equal counts by value."""
        check_countable(key, self.spec().fields)
        request = qe.FacetRequest(key, limit=max(limit, 1), exact=True, filter=self._filter(filter))
        with self._owner.reading() as shard:
            counts = [(hit.value, hit.count) for hit in shard.facet(request)]
        return ranking.by_count(counts)[: max(limit, 0)]

    def scroll(
        self,
        filter: FilterJSON | None = None,
        limit: int = 256,
        cursor: str | None = None,
        *,
        vectors: bool = False,
        payload: bool | Sequence[str] = True,
    ) -> tuple[list[Record], str | None]:
        """Page through points in id order; the second value is the next page's cursor, None at the end."""
        request = qe.ScrollRequest(
            offset=None if cursor is None else checked_id(cursor),
            limit=max(limit, 1),
            filter=self._filter(filter),
            with_payload=payload if isinstance(payload, bool) else list(payload),
            with_vector=[VECTOR_NAME] if vectors else False,
        )
        with self._owner.reading() as shard:
            found, following = shard.scroll(request)
        return [_record(each) for each in found], None if following is None else str(following)

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False, patches: bool = False) -> list[Record]:
        """Return the points that exist, in the order of ``ids``."""
        names = vector_names(self.spec(), vectors=vectors, patches=patches)
        found = {record.id: record for record in self._retrieve(ids, names=names)}
        return [found[key] for key in map(checked_id, ids) if key in found]

    def count(self, filter: FilterJSON | None = None) -> int:
        """Count points exactly."""
        request = qe.CountRequest(exact=True, filter=self._filter(filter))
        with self._owner.reading() as shard:
            return int(shard.count(request))

    # --- keeping

    def optimize(self) -> None:
        """Make searching fast, by codes or by a graph, and drop what was deleted; no other thread runs meanwhile."""
        with self._owner.writing(2 * files.disk_bytes(self._owner.opened_path())) as shard:
            if needs_graph(self.count(), self.spec().dimension) and not files.has_graph(self._owner.path):
                shard = self._owner.reconfigure(edge_config(self.spec().dimension, self.spec().patches, graph=True))
            shard.optimize()
            self.flush()  # the old segments stay on the disk until then

    def flush(self) -> None:
        """Make all writes durable, and promise their number to the next opening."""
        self._owner.flush()

    def health(self) -> Health:
        """Report what the store holds and where."""
        from importlib.metadata import version  # here: a hundredth of a second that no query needs

        with self._owner.reading() as shard:
            return Health(
                backend="qdrant-edge",
                location=str(self._owner.path),
                points=self.count(),
                indexed=int(shard.info().indexed_vectors_count),
                disk_bytes=files.disk_bytes(self._owner.path),
                version=version("qdrant-edge-py"),
            )

    def announce(self, url: str, instance: str) -> None:
        """Leave word for others that the collection can be asked at ``url`` (`engine.store.open.served_at`).

        ``instance``: what the server there calls itself, in its answer to `/healthz`.
        """
        self._owner.announce(url, instance)

    def close(self) -> None:
        """Flush and let go of the folder; the store opens again when it is used again."""
        self._owner.close()

    def __enter__(self) -> EdgeStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- requests and answers

    def _checked(self, spec: SearchSpec) -> SearchSpec:
        check_query(spec, self.spec().dimension)
        return replace(spec, filter=check_filter(spec.filter, self.spec().fields)) if spec.filter else spec

    def _filter(self, filter: FilterJSON | None) -> qe.Filter | None:
        return edge_filter(check_filter(filter, self.spec().fields)) if filter else None

    def _best(self, spec: SearchSpec, limit: int) -> list[Hit]:
        return self._query([(spec, limit)])[0]

    def _query(self, wanted: Sequence[tuple[SearchSpec, int]]) -> list[list[Hit]]:
        requests = [_request(spec, limit) for spec, limit in wanted]
        with self._owner.reading() as shard:
            answers = shard.query_batch(qe.QueryBatchRequest(requests)) if requests else []
        return [[Hit(str(hit.id), hit.score, hit.payload or {}) for hit in answer] for answer in answers]

    def _retrieve(self, ids: Sequence[str], *, payload: bool = True, names: Sequence[str] = ()) -> list[Record]:
        keys: list[int | uuid.UUID | str] = [*dict.fromkeys(map(checked_id, ids))]
        with self._owner.reading() as shard:
            return [_record(each) for each in shard.retrieve(keys, payload, list(names) or False)]


def _point(point: Point) -> qe.Point:
    row: Any = point.vector
    buffer: Any = memoryview(row)  # the engine reads a buffer three times as fast as an array
    patches: Any = {} if point.patches is None else {PATCHES_NAME: point.patches}
    return qe.Point(point.id, {VECTOR_NAME: buffer, **patches}, dict(point.payload))


def _request(spec: SearchSpec, limit: int) -> qe.QueryRequest:
    vector: Any = np.ascontiguousarray(spec.vector, dtype=np.float32)
    return qe.QueryRequest(
        limit=limit,
        query=qe.Query.Nearest(vector, using=VECTOR_NAME),
        filter=edge_filter(spec.filter),
        score_threshold=spec.min_score,
        params=search_params(spec.exact),
        with_payload=True,
        with_vector=False,
    )


def _record(found: Any) -> Record:  # noqa: ANN401 - qdrant_edge has no types
    return Record(str(found.id), found.payload, *vector_and_patches(found.vector))
