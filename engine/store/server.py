"""The store on a Qdrant server: one collection, written and searched through the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from qdrant_client import QdrantClient, models

from engine.errors import FilterError, StoreError, StoreMissing
from engine.filters import check_filter
from engine.records import FieldKind, FilterJSON, Hit, Point, Record, Value, Vector
from engine.store import ranking
from engine.store.protocol import VECTOR_NAME, CollectionSpec, Health, SearchSpec
from engine.store.requests import check_countable, check_groupable, check_query, check_words
from engine.store.schema import check_name, check_payload, check_points, checked_id, vector_names
from engine.store.server_calls import RETRY_FOR_S, Caller
from engine.store.server_collection import ServerCollection, connect, without_password
from engine.store.server_convert import to_hits, to_max_sim, to_point, to_query, to_record

BATCH = 256
NUMBERS = 1_000_000
"""Of a request's vectors and patches: some 12 MB of JSON, where Qdrant takes 32."""
IDS_BATCH = 1000
KNOWN_S = 2.0
"""After so long it is asked again what the collection was made with: another may have taken its place."""
Answer = TypeVar("Answer")


class ServerStore:
    """One collection of a Qdrant server, reached by its alias.

    ``timeout_s`` holds for each call, ``retry_for_s`` for all attempts of one together. A ``client`` of the caller's
    (``QdrantClient(":memory:")``, say) is used as it is and not closed.
    """

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        timeout_s: float = 30,
        retry_for_s: float = RETRY_FOR_S,
        client: QdrantClient | None = None,
    ) -> None:
        self.collection = check_name(collection)
        self.location = without_password(url)
        self._call = Caller(self.location, retry_for_s=retry_for_s, secret=api_key)
        self._timeout = max(1, round(timeout_s))
        self._mine = client is None
        self._client = client or connect(url, api_key, prefer_grpc, self._timeout)
        self._home = ServerCollection(self.collection, self.location, self._client, self._call, self._timeout)
        self._known: CollectionSpec | None = None
        self._read_at = 0.0
        self._written_to: object = None

    # --- the collection

    def exists(self) -> bool:
        """Say whether the alias, or a collection of its name, is there."""
        return self._home.exists()

    def create(self, spec: CollectionSpec) -> None:
        """Create the collection with all its payload indexes, before any point; an existing one is left as it is."""
        self._home.create(spec)

    def spec(self) -> CollectionSpec:
        """Return what the collection was made with, out of its metadata."""
        known = self._known  # once: another thread may forget it meanwhile
        if known is None or time.monotonic() - self._read_at > KNOWN_S:
            known = self._known = self._home.spec()
            self._read_at = time.monotonic()
        return known

    def add_fields(self, fields: Mapping[str, FieldKind]) -> None:
        """Index further payload fields; those that exist with the same kind are left alone."""
        self._known = self._home.add_fields(fields)

    def add_ledger(self, id: str) -> None:
        """Write into the passport that an ingest with this ledger writes to the collection too."""
        self._known = self._home.add_ledger(id)

    def take_over(self, successor: str) -> None:
        """Let the alias mean what ``successor`` means, in one call, and delete what it meant; nothing is copied.

        Raises:
            StoreMissing: there is no ``successor``.
            StoreError: one of the two is no alias.
        """
        self._home.take_over(check_name(successor))
        self._known = None

    # --- writing

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points: the whole batch is checked before the first is sent; sending again is harmless."""
        spec = self._spec_to_write_by()
        check_points(points, spec)
        each = spec.dimension + max((point.patches.size for point in points if point.patches is not None), default=0)
        for batch in _batches(points, max(1, min(BATCH, NUMBERS // each))):
            structs = [to_point(point) for point in batch]
            self._on(partial(self._client.upsert, points=structs, wait=True))

    def set_payload(self, payloads: Mapping[str, Mapping[str, Value]]) -> None:
        """Replace the whole payload of each point id; the vectors stay."""
        fields = self._spec_to_write_by().fields
        for id, payload in payloads.items():
            check_payload(id, payload, fields)
        there = {record.id for record in self._retrieve(list(payloads), payload=False)}
        if absent := [id for id in payloads if id not in there]:
            raise StoreError(f"no point {absent[0]} in {self.collection!r}: nothing was changed")
        for batch in _batches(list(payloads.items()), BATCH):
            operations = [
                models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload=dict(new), points=[id]))
                for id, new in batch
            ]
            self._on(partial(self._client.batch_update_points, update_operations=operations, wait=True))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete points by id; return how many existed."""
        self._spec_to_write_by()
        there = [record.id for record in self._retrieve(ids, payload=False)]
        for batch in _batches(there, IDS_BATCH):
            selected = models.PointIdsList(points=list(batch))
            self._on(partial(self._client.delete, points_selector=selected, wait=True))
        return len(there)

    def _spec_to_write_by(self) -> CollectionSpec:
        """Return the spec; raises StoreError where it is no longer that of the collection written to before."""
        spec = self.spec()
        made = spec.passport.get("collection_id")
        if self._written_to not in (None, made):
            raise StoreError(f"another collection has taken the place of {self.collection!r} meanwhile: begin again")
        self._written_to = made
        return spec

    # --- reading

    def search(self, spec: SearchSpec) -> list[Hit]:
        """Return hits, best first, equal scores by id."""
        return self.search_batch([spec])[0]

    def search_batch(self, specs: Sequence[SearchSpec]) -> list[list[Hit]]:
        """Run several searches in one call."""
        checked = [self._checked(spec) for spec in specs]
        found: list[list[Hit]] = []
        for batch in _batches(checked, 64):
            firsts = self._query([(spec, ranking.wanted(spec.offset, spec.limit)) for spec in batch])
            for spec, first in zip(batch, firsts, strict=True):
                found.append(ranking.page(partial(self._best, spec), spec.offset, spec.limit, first))
        return found

    def search_groups(self, spec: SearchSpec, group_by: str) -> list[Hit]:
        """Return the best hit for each value of the field ``group_by``, ``spec.limit`` of them."""
        self._fresh(lambda: check_groupable(group_by, self.spec().fields))
        return ranking.groups(self.search, self.facet, spec, group_by)

    def max_sim(self, spec: SearchSpec, words: Vector) -> dict[str, float]:
        """Return, by point id, the MaxSim of the hits of ``spec`` with ``words``, unit rows (l, t)."""
        check_words(words, self.spec().patches)
        request = to_max_sim(self._checked(spec), words, with_params=not self._home.local)
        (answer,) = self._on(partial(self._client.query_batch_points, requests=[request]))
        return {str(hit.id): hit.score for hit in answer.points}

    def recommend(self, positive: Sequence[str], negative: Sequence[str], spec: SearchSpec) -> list[Hit]:
        """Search from stored points (average strategy); ``spec.vector`` is ignored; the examples are left out."""
        return self.search(ranking.recommendation(self.retrieve, positive, negative, spec))

    def facet(self, key: str, filter: FilterJSON | None = None, limit: int = 50) -> list[tuple[Value, int]]:
        """Count the values of a field, most frequent first, equal counts by value."""
        self._fresh(lambda: check_countable(key, self.spec().fields))
        narrowed = self._filter(filter)
        answer = self._on(partial(self._client.facet, key=key, facet_filter=narrowed, limit=max(limit, 1), exact=True))
        return ranking.by_count([(hit.value, hit.count) for hit in answer.hits])[: max(limit, 0)]

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
        found, following = self._on(
            partial(
                self._client.scroll,
                scroll_filter=self._filter(filter),
                limit=max(limit, 1),
                offset=None if cursor is None else checked_id(cursor),
                with_payload=payload if isinstance(payload, bool) else list(payload),
                with_vectors=[VECTOR_NAME] if vectors else False,
            )
        )
        return [to_record(each) for each in found], None if following is None else str(following)

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False, patches: bool = False) -> list[Record]:
        """Return the points that exist, in the order of ``ids``."""
        names = vector_names(self.spec(), vectors=vectors, patches=patches)
        found = {record.id: record for record in self._retrieve(ids, names=names)}
        return [found[key] for key in map(checked_id, ids) if key in found]

    def count(self, filter: FilterJSON | None = None) -> int:
        """Count points exactly."""
        answer = self._on(partial(self._client.count, count_filter=self._filter(filter), exact=True))
        return int(answer.count)

    # --- keeping

    def optimize(self) -> None:
        """Wait until the server, which builds its graphs by itself, has done so.

        Raises:
            StoreUnavailable: it did not within the hour.
        """
        self._home.wait_until_green()

    def flush(self) -> None:
        """Ask whether the collection is still there; every write waited for the server's word."""
        self._home.info()

    def health(self) -> Health:
        """Report what the store holds and where."""
        info = self._home.info()
        return Health(
            backend="qdrant-server",
            location=self.location,
            points=self.count(),
            indexed=info.indexed_vectors_count or 0,
            disk_bytes=None,
            version=self._call(self._client.info).version,
        )

    def close(self) -> None:
        """Let go of the connection."""
        if self._mine:
            self._client.close()

    def __enter__(self) -> ServerStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- requests and answers

    def _on(self, function: Callable[..., Answer]) -> Answer:
        """Call the client for this collection; say which there are when it is not one of them."""
        try:
            return self._call(partial(function, collection_name=self.collection, timeout=self._timeout))
        except StoreMissing as error:
            raise self._home.missing() from error

    def _fresh(self, check: Callable[[], Answer]) -> Answer:
        """Check against the fields; when that fails, again with those another process may have added meanwhile."""
        try:
            return check()
        except FilterError:
            self._known = None
            return check()

    def _checked(self, spec: SearchSpec) -> SearchSpec:
        check_query(spec, self.spec().dimension)
        if not spec.filter:
            return spec
        written = spec.filter
        return replace(spec, filter=self._fresh(lambda: check_filter(written, self.spec().fields)))

    def _filter(self, filter: FilterJSON | None) -> models.Filter | None:
        if not filter:
            return None
        return models.Filter.model_validate(self._fresh(lambda: check_filter(filter, self.spec().fields)))

    def _best(self, spec: SearchSpec, limit: int) -> list[Hit]:
        return self._query([(spec, limit)])[0]

    def _query(self, wanted: Sequence[tuple[SearchSpec, int]]) -> list[list[Hit]]:
        requests = [to_query(spec, limit, with_params=not self._home.local) for spec, limit in wanted]
        answers = self._on(partial(self._client.query_batch_points, requests=requests)) if requests else []
        return [to_hits(answer) for answer in answers]

    def _retrieve(self, ids: Sequence[str], *, payload: bool = True, names: Sequence[str] = ()) -> list[Record]:
        found: list[Record] = []
        for batch in _batches([*dict.fromkeys(map(checked_id, ids))], IDS_BATCH):
            vectors = list(names) or False
            records = self._on(
                partial(self._client.retrieve, ids=list(batch), with_payload=payload, with_vectors=vectors)
            )
            found += [to_record(each) for each in records]
        return found


def _batches(members: Sequence[Answer], size: int) -> list[Sequence[Answer]]:
    return [members[start : start + size] for start in range(0, len(members), size)]
