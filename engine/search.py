"""QUERY: words, photographs and stored items --embed--> one vector --nearest, filtered--> hits. Read this first."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from engine.encoder import Encoder, encode_image
from engine.errors import UsageError
from engine.filters import without
from engine.records import FilterJSON, Hit, Record, Vector, point_id
from engine.rerank import DEPTH, Reranker, in_better_order
from engine.store.protocol import SearchSpec, Store

SHALLOW = 1_000
"""An offset beyond which it pays to ask first whether there is so much."""


@dataclass(frozen=True)
class Query:
    """What is asked for, in any mixture: ``text``, ``images`` (upright RGB), ``like`` and ``unlike`` (ids).

    Ids are item ids or point ids. Each part is the mean of its unit vectors, so that five items to avoid count no more
    than one; the query is the sum of the parts by weight, less those of ``unwanted`` and of ``unlike``; with nothing
    but these it finds what resembles them least. Without any part, it is browsing: the filter alone decides.
    """

    text: str = ""
    unwanted: Sequence[str] = ()
    images: Sequence[Image.Image] = ()
    like: Sequence[str] = ()
    unlike: Sequence[str] = ()
    text_weight: float = 1.0
    image_weight: float = 1.0
    like_weight: float = 1.0
    unwanted_weight: float = 0.5

    def __post_init__(self) -> None:
        """Leave out unwanted texts without a word: they have an embedding too, which nobody means."""
        object.__setattr__(self, "unwanted", tuple(text for text in self.unwanted if text.strip()))

    @property
    def is_words(self) -> bool:
        """Whether the query is a text and nothing else, so that its words may be looked for one by one."""
        others = self.unwanted or self.images or self.like or self.unlike
        return bool(self.text.strip()) and not others and self.text_weight > 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for but what a filter says."""
        return not (self.text.strip() or self.unwanted or self.images or self.like or self.unlike)


@dataclass(frozen=True)
class Page:
    """Which hits are wanted: the best ``limit`` after ``offset``, one per ``group_by`` value if given.

    ``rerank``: how the first hits are looked at more closely; None: as well as checkpoint and collection can.
    """

    filter: FilterJSON | None = None
    limit: int = 10
    offset: int = 0
    min_score: float | None = None
    exact: bool = False
    group_by: str | None = None
    rerank: Reranker | None = None


def search(store: Store, encoder: Encoder, query: Query, page: Page) -> list[Hit]:
    """Answer a query: embed what it is made of, search the store, best hits first.

    Raises:
        UsageError: a number that cannot be meant, or an item that the collection does not have.
        FilterError: the filter names a field that the collection does not have.
        StoreError: the store refused.
    """
    check_numbers(query, page)
    heads = encoder.checkpoint.token_heads
    reranker = page.rerank or (heads.best if heads else "none")
    possible = bool(heads and store.spec().patches and query.is_words and not page.group_by)
    if page.rerank not in (None, "none") and not (possible and heads and reranker in heads.weights):
        raise UsageError(
            f"re-ranking by {page.rerank!r} needs a query in words alone, hits that are not grouped, "
            "and a collection of a checkpoint that was trained for it: leave it out"
        )
    if page.offset > SHALLOW and page.offset >= store.count(page.filter):
        return []  # without fetching all that comes before
    if query.is_empty:
        return browse(store, page)
    examples = _examples(store, [*query.like, *query.unlike])
    stored = {name: record.vector for name, record in examples.items() if record.vector is not None}
    vector = embed_query(encoder, query, stored)
    spec = SearchSpec(vector, page.filter, page.limit, page.offset, page.exact, page.min_score)
    if examples:
        spec = replace(spec, filter=without(page.filter, [record.id for record in examples.values()]))
    if page.group_by:
        return store.search_groups(spec, page.group_by)
    if heads and possible and reranker != "none":
        return _reranked(store, encoder, query.text, spec, reranker, heads.weights[reranker])
    return store.search(spec)


def _reranked(store: Store, encoder: Encoder, text: str, spec: SearchSpec, reranker: str, weight: float) -> list[Hit]:
    """Search for at least the first `DEPTH` hits, put these in a better order, and return the page asked for."""
    last = spec.offset + spec.limit
    hits = store.search(replace(spec, offset=0, limit=max(last, DEPTH)))
    first = [hit.id for hit in hits[:DEPTH]]
    if not first:
        return []
    words = encoder.encode_words(text)
    if reranker == "cross":
        from engine.cross import cross_scores

        patches = {one.id: one.patches for one in store.retrieve(first, patches=True) if one.patches is not None}
        if not patches:  # deleted meanwhile
            return hits[spec.offset : last]
        found = cross_scores(encoder.checkpoint, words, np.stack(list(patches.values())))
        scores = dict(zip(patches, found.tolist(), strict=True))
    else:
        sums = store.max_sim(SearchSpec(spec.vector, {"must": [{"has_id": first}]}, limit=len(first)), words)
        scores = {id: total / len(words) for id, total in sums.items()}
    return in_better_order(hits, scores, weight)[spec.offset : last]


def browse(store: Store, page: Page) -> list[Hit]:
    """Return items that pass the filter, in the order of their point ids; the score is 0: nothing was compared.

    Raises:
        UsageError: the page asks for a least score or for groups, which only a comparison gives.
    """
    if page.min_score is not None or page.group_by:
        what = "grouping" if page.group_by else "a least score"
        raise UsageError(f"{what} needs something to look for: give words, a photograph or an item to resemble")
    records, _ = store.scroll(page.filter, page.offset + page.limit)
    return [Hit(record.id, 0.0, record.payload or {}) for record in records[page.offset :]]


def embed_query(encoder: Encoder, query: Query, stored: Mapping[str, Vector]) -> Vector:
    """Return the unit vector, shape (d,), of a query with at least one part; ``stored``: those of its examples."""
    wanted_text = [query.text] if query.text.strip() else []
    texts = (
        encoder.encode_texts([*wanted_text, *query.unwanted]) if wanted_text or query.unwanted else np.empty((0, 0))
    )
    parts = [
        (query.text_weight, texts[: len(wanted_text)]),
        (query.image_weight, [encode_image(encoder, image) for image in query.images]),
        (query.like_weight, [stored[item] for item in query.like]),
        (-query.unwanted_weight, texts[len(wanted_text) :]),
        (-query.unwanted_weight, [stored[item] for item in query.unlike]),
    ]
    total = np.sum([weight * np.mean(rows, axis=0) for weight, rows in parts if len(rows)], axis=0)
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise UsageError("the parts of the query cancel each other out: change a text or a weight")
    unit: Vector = (total / length).astype(np.float32)
    return unit


def check_numbers(query: Query, page: Page) -> None:
    """Raise UsageError for a number that cannot be meant."""
    for name in ("text_weight", "image_weight", "like_weight", "unwanted_weight"):
        if not math.isfinite(getattr(query, name)):
            raise UsageError(f"a weight of {getattr(query, name)} cannot be meant: give a number")
    if page.min_score is not None and not -1 <= page.min_score <= 1:
        raise UsageError(f"a least score of {page.min_score:g} cannot be meant: a cosine lies between -1 and 1")


def named_points(store: Store, names: Sequence[str], *, vectors: bool = False) -> dict[str, Record]:
    """Return the stored points of ``names``, each an item id or else a point id; those of no point are left out."""
    meant = {name: (point_id(name), *_as_point_id(name)) for name in names}
    ids = list(dict.fromkeys(id for candidates in meant.values() for id in candidates))
    records = {record.id: record for record in store.retrieve(ids, vectors=vectors)} if ids else {}
    found = {name: [records[id] for id in candidates if id in records] for name, candidates in meant.items()}
    return {name: points[0] for name, points in found.items() if points}


def _as_point_id(name: str) -> list[str]:
    try:
        return [str(uuid.UUID(name))]
    except ValueError:
        return []


def _examples(store: Store, names: Sequence[str]) -> dict[str, Record]:
    found = named_points(store, names, vectors=True)
    if unknown := [name for name in names if name not in found]:
        raise UsageError(f"the collection has no item {unknown[0]!r}: take the id of a hit")
    return found
