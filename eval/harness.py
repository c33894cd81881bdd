"""The examination: held-out captions through the real search, marked by `eval.metrics`, as one record.

It is given callables instead of models and stores, so that any encoder and any search can be examined:
``embed_texts`` maps n texts to float32 (n, d) of unit rows, ``search_index`` is the store's own approximate search.
Quality is measured by exact search over the vectors as they lie in the store; how far the index agrees with that is
another measurement with another name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import UsageError
from engine.records import Item
from eval.attributes import attribute_precision, breakdown
from eval.bounds import RESAMPLES
from eval.captions import Query, ask, count_cut, evened, product_of
from eval.exact import TIE, Exact, Vectors, exact_search
from eval.examination import Case, Examination, Figure, Section
from eval.figures import Bootstrap, figure, hit_curve, rank_figures
from eval.metrics import NEVER, Ranks, best_and_worst, hit_at, ranks_from_lists

EmbedTexts = Callable[[list[str]], Vectors]
SearchIndex = Callable[[Vectors, int], list[list[str]]]
Columns = list[npt.NDArray[np.int64]]

SMALL_GALLERY = 32
_CASES = 12
_RUN_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Gallery:
    """The candidates as they lie in the store: item ids, and their vectors as float32 (g, d) of unit rows."""

    ids: Sequence[str]
    vectors: Vectors


def examine(
    items: Iterable[Item],
    gallery: Gallery,
    embed_texts: EmbedTexts,
    search_index: SearchIndex | None = None,
    *,
    catalogue: Iterable[Item] | None = None,
    count_tokens: Callable[[str], int] | None = None,
    token_limit: int = 77,
    seed: int = 42,
    resamples: int = RESAMPLES,
) -> Examination:
    """Ask every caption of the held-out ``items`` of the gallery, and every photograph of theirs of the captions.

    ``catalogue`` are the items that the gallery may hold beyond ``items``, for products, captions and attributes.
    ``search_index(vectors (b, d), limit)`` returns item ids; without it the index is not examined.

    Raises: UsageError when nothing can be asked, or ids and vectors do not fit each other.
    """
    items = list(items)
    known = {item.id: item for item in [*(catalogue or ()), *items]}
    queries = ask(items, known.values())
    index = _check(gallery, queries)
    which, kept = _distinct([query.text for query in queries])
    vectors = _unit(embed_texts([queries[row].text for row in kept]), "texts")[which]

    strict = [np.array([index.get(query.item_id, -1)], dtype=np.int64) for query in queries]
    product = [_columns(query.product, query.item_id, index) for query in queries]
    equal = [_columns(query.equal_caption, query.item_id, index) for query in queries]
    found = exact_search(vectors, gallery.vectors, (strict, product, equal), top=_RUN_DEPTH)
    twins = np.array(
        [np.count_nonzero(row >= 0) if own[0] >= 0 else 0 for row, own in zip(equal, strict, strict=True)]
    )
    bootstrap = Bootstrap(seed, resamples, _groups([product_of(known[query.item_id]) for query in queries]))
    by_strict, by_product, by_equal = found.ranks
    first = by_strict.first
    targets = [known[query.item_id] for query in queries]
    best, worst = _cases(queries, by_strict, found, gallery, seed)
    return Examination(
        gallery=len(gallery.ids),
        items=len(items),
        items_without_caption=sum(not any(caption.strip() for caption in item.captions) for item in items),
        items_not_in_gallery=sum(item.id not in index for item in items),
        queries=len(queries),
        captions_cut=count_cut((q.text for q in queries), count_tokens, token_limit) if count_tokens else None,
        token_limit=token_limit if count_tokens else None,
        seed=seed,
        resamples=resamples,
        sections=(
            Section("text to image", "strict", rank_figures(by_strict, bootstrap, twins)),
            Section("text to image", "product", rank_figures(by_product, bootstrap)),
            Section("text to image", "equal caption", rank_figures(by_equal, bootstrap)),
            *_image_to_text(queries, known, index, gallery, vectors, Bootstrap(seed, resamples)),
        ),
        small_galleries=_small_galleries(vectors, gallery, strict, queries, bootstrap),
        index=_examine_index(search_index, vectors, found, strict, gallery, index, bootstrap),
        precision=attribute_precision(targets, found.top[:, :10], gallery.ids, known, bootstrap),
        groups=breakdown(targets, hit_at(by_product, 10), by_product, bootstrap),
        curve=hit_curve(by_strict, bootstrap),
        best=best,
        worst=worst,
        first_ranks=tuple(None if rank == NEVER else int(rank) for rank in first),
        asked=queries,
        run={q.id: tuple(gallery.ids[c] for c in row) for q, row in zip(queries, found.top, strict=True)},
    )


def _image_to_text(
    queries: Sequence[Query],
    known: dict[str, Item],
    index: dict[str, int],
    gallery: Gallery,
    vectors: Vectors,
    bootstrap: Bootstrap,
) -> tuple[Section, ...]:
    """Ask each photograph for its captions among the distinct captions: one that occurs twice is one candidate."""
    which, kept = _distinct([evened(query.text) for query in queries])
    own: dict[str, list[int]] = {}
    of_product: dict[str, list[int]] = {}
    for query, column in zip(queries, which, strict=True):
        own.setdefault(query.item_id, []).append(int(column))
        of_product.setdefault(product_of(known[query.item_id]), []).append(int(column))
    views = (
        [np.array(columns) for columns in own.values()],
        [np.array(of_product[product_of(known[item_id])]) for item_id in own],
    )
    rows = _rows(gallery, [np.array([index.get(item_id, -1)]) for item_id in own])
    ranks = exact_search(rows, vectors[kept], views, top=1).ranks
    grouped = Bootstrap(bootstrap.seed, bootstrap.resamples, _groups([product_of(known[i]) for i in own]))
    absent = np.array([item_id not in index for item_id in own])
    strict, product = (rank_figures(_lost(one, absent), grouped) for one in ranks)
    return Section("image to text", "strict", strict), Section("image to text", "product", product)


def _small_galleries(
    vectors: Vectors, gallery: Gallery, strict: Columns, queries: Sequence[Query], bootstrap: Bootstrap
) -> tuple[Section, ...]:
    """Rank within random disjoint galleries of 32 pairs, as papers do that evaluate within a batch.

    Photographs that the whole gallery lacks are left out with their captions, unlike elsewhere: a pair of which half
    is missing is neither a question nor a rival. Such figures say little: chance alone reaches hit@10 = 0.31. They are
    there to compare with such papers, no more.
    """
    there = [(row, query) for row, query in enumerate(queries) if strict[row][0] >= 0]
    first_of_item = {query.item_id: row for row, query in reversed(there)}
    rows = np.array(sorted(first_of_item.values()), dtype=np.int64)
    rng = np.random.default_rng(bootstrap.seed)
    whole = len(rows) // SMALL_GALLERY * SMALL_GALLERY
    if not whole:
        return ()
    rows = rng.permutation(rows)[:whole]
    texts = vectors[rows].reshape(-1, SMALL_GALLERY, vectors.shape[1])
    images = _rows(gallery, [strict[row] for row in rows]).reshape(texts.shape)
    groups = None if bootstrap.groups is None else bootstrap.groups[rows]
    sections = []
    for direction, asked, candidates in (("text to image", texts, images), ("image to text", images, texts)):
        scores = asked @ candidates.transpose(0, 2, 1)
        own = np.diagonal(scores, axis1=1, axis2=2)[:, :, None]
        ranks = np.count_nonzero(scores >= own - np.float32(TIE), axis=2).reshape(-1)
        joined = ranks_from_lists([np.array([rank]) for rank in ranks], SMALL_GALLERY)
        figures = rank_figures(joined, Bootstrap(bootstrap.seed, bootstrap.resamples, groups))
        sections.append(Section(direction, "strict", figures))  # type: ignore[arg-type]
    return tuple(sections)


def _examine_index(
    search_index: SearchIndex | None,
    vectors: Vectors,
    found: Exact,
    strict: Columns,
    gallery: Gallery,
    index: dict[str, int],
    bootstrap: Bootstrap,
    batch: int = 256,
) -> tuple[Figure, ...]:
    """Measure the store's approximate search: its agreement with exact search, and hit@10 through it.

    A returned item agrees when its cosine reaches that of the exact tenth (as in ann-benchmarks), so that equal
    photographs may stand for each other.
    """
    if search_index is None:
        return ()
    wanted = min(10, len(gallery.ids))
    agreement, hits = np.zeros(len(vectors)), np.zeros(len(vectors))
    for start in range(0, len(vectors), batch):
        answers = search_index(vectors[start : start + batch], wanted)
        if len(answers) != len(vectors[start : start + batch]):
            raise UsageError(f"the index answered {len(answers)} of {len(vectors[start : start + batch])} queries")
        for query, ids in enumerate(answers, start=start):
            columns = list(dict.fromkeys(index[item] for item in ids[:wanted] if item in index))
            reached = gallery.vectors[columns] @ vectors[query] >= found.scores[query, wanted - 1] - TIE
            agreement[query] = np.count_nonzero(reached) / wanted
            hits[query] = strict[query][0] in columns
    size = len(gallery.ids)
    return (
        figure("index agreement@10", "agreement", agreement, size, bootstrap, chance=wanted / size, ceiling=1.0),
        figure("hit@10 through the index", "index hit", hits, size, bootstrap, chance=wanted / size),
    )


def _cases(
    queries: Sequence[Query], ranks: Ranks, found: Exact, gallery: Gallery, seed: int
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Return the best and the worst queries to look at."""

    def case(row: int) -> Case:
        hits = tuple(gallery.ids[column] for column in found.top[row, :5])
        first = int(ranks.first[row])
        return Case(
            queries[row],
            None if first == NEVER else first,
            hits,
            tuple(float(score) for score in found.scores[row, :5]),
        )

    best, worst = best_and_worst(ranks, _CASES, seed)
    return tuple(map(case, best)), tuple(map(case, worst))


def _check(gallery: Gallery, queries: Sequence[Query]) -> dict[str, int]:
    if not queries:
        raise UsageError("the held-out part has no captions to ask; choose another part, or a source with captions")
    if not len(gallery.ids):
        raise UsageError("the gallery is empty; ingest the photographs before examining them")
    if len(gallery.ids) != len(gallery.vectors):
        raise UsageError(f"the gallery has {len(gallery.ids)} ids but {len(gallery.vectors)} vectors")
    index = {item: column for column, item in enumerate(gallery.ids)}
    if len(index) != len(gallery.ids):
        twice = next(item for column, item in enumerate(gallery.ids) if index[item] != column)
        raise UsageError(f"the gallery holds {twice!r} twice; give each item once")
    _unit(gallery.vectors, "gallery")
    return index


def _unit(vectors: Vectors, name: str) -> Vectors:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-2))
    if len(wrong):
        raise UsageError(
            f"row {wrong[0]} of the {name} has the length {lengths[wrong[0]]:.4g}; embeddings must be unit"
        )
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _columns(wanted: Sequence[str], own: str, index: dict[str, int]) -> npt.NDArray[np.int64]:
    """Return the gallery columns of the right answers; the photograph asked for counts even if lacking (-1)."""
    return np.array([index.get(item, -1) for item in wanted if item in index or item == own], dtype=np.int64)


def _rows(gallery: Gallery, strict: Columns) -> Vectors:
    """Return each query's own vector, float32 (q, d); zeros where the gallery lacks it: they tie with everything."""
    columns = np.array([row[0] for row in strict])
    return np.where((columns >= 0)[:, None], gallery.vectors[columns], np.float32(0))


def _lost(ranks: Ranks, absent: npt.NDArray[np.bool_]) -> Ranks:
    """Give the queries that could not be asked, bool (q,), ranks that were never found."""
    values = np.where(np.repeat(absent, ranks.relevant), NEVER, ranks.values)
    return Ranks(values, ranks.offsets, ranks.gallery)


def _groups(names: Sequence[str]) -> npt.NDArray[np.int64]:
    return _distinct(names)[0]


def _distinct(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Return which distinct text each text is, int64 (n,), and the row where each distinct text stands first."""
    numbers: dict[str, int] = {}
    which = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    return which, np.unique(which, return_index=True)[1].tolist()
