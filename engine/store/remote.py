"""The store that a running `engine serve` has open, reached over HTTP: one embedded collection, many processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from engine import errors
from engine.errors import StoreError, StoreUnavailable, UsageError
from engine.records import FieldKind, FilterJSON, Hit, Point, Record, Value, Vector
from engine.store.protocol import CollectionSpec, Health, SearchSpec
from engine.store.schema import check_payload, check_points
from engine.store.server_calls import RETRY_FOR_S, Caller
from engine.store.wire import HEADER, VERSION, pack, unpack

Part = TypeVar("Part")
BATCH = 64
"""Points in one request: while they are written, the server answers nobody else."""
IDS_BATCH = 1000
OPTIMIZE_S = 3600.0
"""A graph over millions of points takes so long, and meanwhile an embedded store answers nobody."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Reached without the proxy that the environment names."""


class RemoteStore:
    """One collection, that of the server at ``url``; every method does what `engine.store.protocol.Store` says.

    ``key``: the server's, if it asks for one. ``timeout_s`` holds for each request, ``retry_for_s`` for all attempts
    of one together. A ``client`` of the caller's is used as it is and not closed.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30,
        retry_for_s: float = RETRY_FOR_S,
        client: httpx.Client | None = None,
    ) -> None:
        self.location = url.rstrip("/")
        self._caller = Caller(
            self.location,
            retry_for_s=retry_for_s,
            secret=key,
            name="engine serve",
            otherwise="unset ENGINE_URL",
            variable="ENGINE_SERVER_KEY",
        )
        self._mine = client is None
        try:
            local = httpx.URL(self.location).host in LOOPBACK
            self._client = client or httpx.Client(base_url=self.location, timeout=timeout_s, trust_env=not local)
        except httpx.InvalidURL as error:
            raise UsageError(f"ENGINE_URL {url!r} is no address ({error}): give http://HOST:PORT") from None
        self._headers = {HEADER: VERSION} | ({"X-API-Key": key} if key else {})
        self._known: CollectionSpec | None = None

    def post(self, path: str, body: object, *, patience_s: float | None = None) -> Any:  # noqa: ANN401
        """Return the JSON that the server answers to ``body``, trying again while that can help.

        ``patience_s``: seconds that this may take, instead of those of every request.

        Raises:
            EngineError: of the kind that the server met, or StoreUnavailable.
        """

        def call() -> Any:  # noqa: ANN401
            patience = {} if patience_s is None else {"timeout": httpx.Timeout(patience_s).as_dict()}
            response = self._client.post(path, json=body, headers=self._headers, extensions=patience)
            if response.is_success:
                return response.json()
            raise _failure(response)

        return self._caller(call)

    def _ask(self, operation: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        body = {"arguments": pack(arguments), "named": pack(named)}
        patience_s = OPTIMIZE_S if operation == "optimize" else None
        answer = self.post(f"/v1/store/{operation}", body, patience_s=patience_s)
        if not isinstance(answer, dict) or "result" not in answer:
            raise StoreUnavailable(f"{self.location} is no engine serve of this version: check ENGINE_URL")
        return unpack(answer["result"])

    # --- the collection

    def exists(self) -> bool:
        """See `Store`."""
        return bool(self._ask("exists"))

    def create(self, spec: CollectionSpec) -> None:
        """See `Store`."""
        self._ask("create", spec)

    def spec(self) -> CollectionSpec:
        """See `Store`."""
        known = self._known  # once: another thread may forget it meanwhile
        if known is None:
            known = self._known = self._ask("spec")
        return known

    def add_fields(self, fields: Mapping[str, FieldKind]) -> None:
        """See `Store`."""
        self._ask("add_fields", fields)
        self._known = None

    def add_ledger(self, id: str) -> None:
        """See `Store`."""
        self._ask("add_ledger", id)
        self._known = None

    # --- writing

    def upsert(self, points: Sequence[Point]) -> None:
        """See `Store`."""
        check_points(points, self.spec())
        for part in _parts(points, BATCH):
            self._ask("upsert", part)

    def set_payload(self, payloads: Mapping[str, Mapping[str, Value]]) -> None:
        """See `Store`."""
        for id, payload in payloads.items():
            check_payload(id, payload, self.spec().fields)
        for part in _parts(list(payloads.items()), BATCH):
            self._ask("set_payload", dict(part))

    def delete(self, ids: Sequence[str]) -> int:
        """See `Store`."""
        return sum(int(self._ask("delete", part)) for part in _parts(ids, IDS_BATCH))

    # --- searching

    def search(self, spec: SearchSpec) -> list[Hit]:
        """See `Store`."""
        return list(self._ask("search", spec))

    def search_batch(self, specs: Sequence[SearchSpec]) -> list[list[Hit]]:
        """See `Store`."""
        return [hits for part in _parts(specs, BATCH) for hits in self._ask("search_batch", part)]

    def search_groups(self, spec: SearchSpec, group_by: str) -> list[Hit]:
        """See `Store`."""
        return list(self._ask("search_groups", spec, group_by))

    def max_sim(self, spec: SearchSpec, words: Vector) -> dict[str, float]:
        """See `Store`."""
        return dict(self._ask("max_sim", spec, words))

    def recommend(self, positive: Sequence[str], negative: Sequence[str], spec: SearchSpec) -> list[Hit]:
        """See `Store`."""
        return list(self._ask("recommend", positive, negative, spec))

    # --- reading

    def facet(self, key: str, filter: FilterJSON | None = None, limit: int = 50) -> list[tuple[Value, int]]:
        """See `Store`."""
        return [(value, count) for value, count in self._ask("facet", key, filter, limit)]

    def scroll(
        self,
        filter: FilterJSON | None = None,
        limit: int = 256,
        cursor: str | None = None,
        *,
        vectors: bool = False,
        payload: bool | Sequence[str] = True,
    ) -> tuple[list[Record], str | None]:
        """See `Store`."""
        records, following = self._ask("scroll", filter, limit, cursor, vectors=vectors, payload=payload)
        return records, following

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False, patches: bool = False) -> list[Record]:
        """See `Store`."""
        return [
            record
            for part in _parts(ids, IDS_BATCH)
            for record in self._ask("retrieve", part, vectors=vectors, patches=patches)
        ]

    def count(self, filter: FilterJSON | None = None) -> int:
        """See `Store`."""
        return int(self._ask("count", filter))

    # --- the store itself

    def optimize(self) -> None:
        """See `Store`."""
        self._ask("optimize")

    def flush(self) -> None:
        """See `Store`."""
        self._ask("flush")

    def health(self) -> Health:
        """See `Store`."""
        health: Health = self._ask("health")
        return health

    def close(self) -> None:
        """Let go of the connection; the server keeps the store open."""
        if self._mine:
            self._client.close()

    def __enter__(self) -> RemoteStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _parts(whole: Sequence[Part], size: int) -> Iterator[Sequence[Part]]:
    """Yield ``whole`` in parts; of nothing, one part that is empty: the server is asked all the same."""
    for start in range(0, max(1, len(whole)), size):
        yield whole[start : start + size]


class _Refused(Exception):
    """An answer of the server that may be worth another try, as `Caller` reads it."""

    def __init__(self, response: httpx.Response, detail: str) -> None:
        super().__init__(detail)
        self.status_code = response.status_code
        wait = response.headers.get("retry-after", "")
        if response.status_code == 429 and wait.isdigit():
            self.retry_after_s = float(wait)


def _failure(response: httpx.Response) -> Exception:
    """Return the error that the server met, in its own kind where it says so."""
    if response.status_code in (502, 504):
        return _Refused(response, f"{response.url} answered {response.status_code}")  # a proxy before it
    try:
        problem = response.json()
        detail, kind = str(problem["detail"]), str(problem.get("kind", ""))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return StoreUnavailable(
            f"{response.url} is no engine serve (it answered {response.status_code}): check ENGINE_URL"
        )
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, errors.EngineError) and known is not StoreUnavailable:
        return known(detail)
    if response.status_code in (413, 422):
        return UsageError(f"the server does not take this: {detail}")
    return _Refused(response, detail) if response.status_code in (401, 429, 503) else StoreError(detail)
