"""Order, pages and groups of hits: what both stores do alike, in plain Python.

Photographs with the same bytes have the same score. Qdrant leaves the order of equal scores open, so that pages
could overlap; here equal scores go by id, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from engine.errors import StoreError
from engine.filters import joined, without
from engine.records import FilterJSON, Hit, Record, Value, Vector
from engine.store.protocol import SearchSpec

TIE_MARGIN = 8

Fetch = Callable[[int], list[Hit]]
"""Asks the store for its best n hits; fewer come back when there are no more."""


def page(fetch: Fetch, offset: int, limit: int, first: list[Hit] | None = None) -> list[Hit]:
    """Return hits ``offset`` to ``offset + limit``, by descending score and then by id.

    Asks for a few more than needed, and for more again while a tie reaches past what came back. ``first`` is the
    answer to ``wanted(offset, limit)`` when it is at hand already.
    """
    if limit <= 0:
        return []
    end, size = offset + limit, wanted(offset, limit)
    hits = fetch(size) if first is None else first
    while len(hits) >= size and hits[end - 1].score == hits[-1].score:
        size *= 2
        hits = fetch(size)
    return in_order(hits)[offset:end]


def wanted(offset: int, limit: int) -> int:
    """Return how many hits `page` asks for at first."""
    return offset + limit + TIE_MARGIN


def in_order(hits: Sequence[Hit]) -> list[Hit]:
    """Sort hits, best first, equal scores by id."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def groups(
    search: Callable[[SearchSpec], list[Hit]],
    facet: Callable[[str, FilterJSON | None, int], list[tuple[Value, int]]],
    spec: SearchSpec,
    key: str,
) -> list[Hit]:
    """Return the best hit of ``spec.limit`` groups after ``spec.offset``, asking for more hits until there are enough.

    A point with several values belongs to several groups, one without the field to none.
    """
    if spec.limit <= 0:
        return []
    end, size = spec.offset + spec.limit, max(64, 4 * (spec.offset + spec.limit))
    counted: list[tuple[Value, int]] = []
    while True:
        hits = search(replace(spec, limit=size, offset=0))
        best: dict[Value, Hit] = {}
        for hit in hits:
            value = hit.payload.get(key)
            values: list[Value] = [*value] if isinstance(value, list) else [] if value is None else [value]
            for name in dict.fromkeys(values):
                best.setdefault(name, hit)
        if len(best) >= end or len(hits) < size:
            break
        if not counted:  # perhaps there are not so many groups: then each that is missing is asked for by itself
            counted = facet(key, spec.filter, end)
            if len(counted) < end:
                for name, _ in counted:
                    if name not in best:
                        only: FilterJSON = {"must": [{"key": key, "match": {"value": name}}]}
                        for hit in search(replace(spec, filter=joined(spec.filter, only), limit=1, offset=0)):
                            best[name] = hit
                return in_order(list(best.values()))[spec.offset : end]
        size *= 4
    return list(best.values())[spec.offset : end]


def recommendation(
    retrieve: Callable[..., list[Record]], positive: Sequence[str], negative: Sequence[str], spec: SearchSpec
) -> SearchSpec:
    """Return the search for what is like the positive points and unlike the negative ones, leaving all of them out.

    Raises:
        StoreError: no positive example, or an example that the store does not hold.
    """
    if not positive:
        raise StoreError("a recommendation needs at least one positive example")
    examples = list(dict.fromkeys([*positive, *negative]))
    vectors = {record.id: record.vector for record in retrieve(examples, vectors=True) if record.vector is not None}
    if absent := [id for id in examples if id not in vectors]:
        raise StoreError(f"no point {absent[0]} to recommend from")
    likes, dislikes = ([vectors[id] for id in ids] for ids in (positive, negative))
    return replace(spec, vector=average(likes, dislikes), filter=without(spec.filter, examples))


def by_count(counts: Sequence[tuple[Value, int]]) -> list[tuple[Value, int]]:
    """Sort the counts of a facet, most frequent first, equal counts by value."""
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def average(positive: Sequence[Vector], negative: Sequence[Vector]) -> Vector:
    """Return the query of Qdrant's ``average_vector`` recommendation: 2 * mean(positive) - mean(negative), (d,)."""
    centre = np.mean(positive, axis=0)
    query: Vector = np.asarray(2 * centre - np.mean(negative, axis=0) if negative else centre, dtype=np.float32)
    return query
