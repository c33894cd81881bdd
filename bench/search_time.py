"""How long the search itself takes inside a process, with and without filters, and how well it agrees with exact."""

from __future__ import annotations

import shutil
import time
from statistics import mean, quantiles
from typing import Any

import numpy as np
from measure import Bench, Row, main
from photographs import described, indexed

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.encoder import load_encoder
from engine.records import Vector
from engine.settings import Settings
from engine.store.open import open_store
from engine.store.protocol import SearchSpec, Store
from engine.store.schema import CORE_FIELDS

P50_MS = 2.0
AGREEMENT = 0.99
TITLES = 200
LIMIT = 10
SHARES = (0.5, 0.1, 0.02, 0.002)
"""Of the collection, that the filters should about let through."""

Filter = dict[str, Any] | None


def measure(bench: Bench) -> list[Row]:
    """Return the rows for the store as it was ingested, and after `optimize`."""
    copy = bench.work / "store-to-optimize"
    shutil.copytree(indexed(bench), copy, dirs_exist_ok=True)  # optimize changes it, and others measure it too
    rows = []
    with open_store(str(copy), Settings.collection) as store:
        vectors = _title_vectors(store)
        filters = _filters(store)
        rows += _rows(store, vectors, filters, "as ingested", described(bench))
        started = time.perf_counter()
        store.optimize()
        took = f"after optimize ({time.perf_counter() - started:.0f} s)"
        rows += _rows(store, vectors, filters, took, described(bench))
    shutil.rmtree(copy)
    return rows


def _rows(store: Store, vectors: Vector, filters: dict[str, Filter], state: str, data: str) -> list[Row]:
    found = {name: _run(store, vectors, filter) for name, filter in filters.items()}
    bare = found.pop("")
    worst = max(found, key=lambda name: found[name]["p50_ms"])
    least = min(found, key=lambda name: found[name]["agreement"])
    agreement = min(bare["agreement"], found[least]["agreement"])
    health = store.health()
    how = (
        f"inside the process, {len(vectors)} queries (embeddings of titles or captions), k={LIMIT}, dimension "
        f"{vectors.shape[1]}, {health.indexed} of {health.points} points indexed; {data}"
    )
    return [
        Row(
            f"search, no filter, {state}",
            f"p50 {bare['p50_ms']:.2f} ms, p95 {bare['p95_ms']:.2f} ms",
            "-",
            None,
            how,
            bare,
        ),
        Row(
            f"search, indexed filter, {state}",
            f"p50 {found[worst]['p50_ms']:.2f} ms, p95 {found[worst]['p95_ms']:.2f} ms",
            f"p50 <= {P50_MS:g} ms",
            found[worst]["p50_ms"] <= P50_MS,
            f"as above; the slowest of {len(found)} filters: {worst}",
            found,
        ),
        Row(
            f"agreement with exact search, {state}",
            f"{agreement:.4f} (no filter {bare['agreement']:.4f})",
            f">= {AGREEMENT}",
            agreement >= AGREEMENT,
            f"share of the {LIMIT} best that are as near as exact search's, the worst filter ({least})",
            {"no filter": bare["agreement"]} | {name: one["agreement"] for name, one in found.items()},
        ),
    ]


def _run(store: Store, vectors: Vector, filter: Filter) -> dict[str, float]:
    """Time one search after the other, then ask the same of exact search."""
    specs = [SearchSpec(vector, filter, LIMIT) for vector in vectors]
    for spec in specs[:5]:
        store.search(spec)
    milliseconds, shares = [], []
    for spec in specs:
        started = time.perf_counter()
        hits = store.search(spec)
        milliseconds.append(1000 * (time.perf_counter() - started))
        exact = store.search(SearchSpec(spec.vector, filter, LIMIT, exact=True))
        last = exact[-1].score - 1e-6 if exact else 0.0  # equal scores may come in any order
        shares.append(sum(hit.score >= last for hit in hits) / len(exact) if exact else 1.0)
    cuts = quantiles(milliseconds, n=20)
    return {"p50_ms": cuts[9], "p95_ms": cuts[18], "agreement": mean(shares)}


def _title_vectors(store: Store) -> Vector:
    """Return the embeddings, shape (n, d), of the titles, else captions, of items spread over the collection."""
    records, cursor = store.scroll(limit=1000)
    while cursor is not None:
        more, cursor = store.scroll(limit=1000, cursor=cursor)
        records += more
    payloads = [record.payload or {} for record in records]
    texts = [str(one.get("title") or (one.get("captions") or [""])[0]) for one in payloads]  # type: ignore[index]
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, min(TITLES, len(texts))).astype(int)]
    return load_encoder(find_checkpoint(DEFAULT_MODEL)).encode_texts(chosen)


def _filters(store: Store) -> dict[str, Filter]:
    """Return filters by a name that says how much they let through: none, single values, two fields at once."""
    total = store.count()
    counts = {
        (field, str(value)): number / total
        for field, kind in store.spec().fields.items()
        if kind == "keyword" and field not in CORE_FIELDS
        for value, number in store.facet(field, limit=100)
    }
    chosen: dict[str, Filter] = {"": None}
    conditions = []
    for share in SHARES:
        field, value = min(counts, key=lambda key: abs(np.log(counts[key] / share)))
        conditions.append({"key": field, "match": {"value": value}})
        chosen[f"{field}={value} ({counts[field, value]:.2%})"] = {"must": [conditions[-1]]}
    both = {"must": conditions[:2]}
    chosen[f"both of the first ({store.count(both) / total:.2%})"] = both
    return chosen


if __name__ == "__main__":
    main(measure)
