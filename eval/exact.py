"""Exact search: every query against every gallery item, in chunks, ranks and best hits from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import UsageError
from eval.metrics import CHUNK_FLOATS, Ranks, Relevant, Scores, ranks_from_lists, ranks_of_views

Vectors = npt.NDArray[np.float32]

TIE = 1e-6
"""Cosines closer than this are a tie: equal photographs come out of a float32 product that far apart."""


@dataclass(frozen=True, slots=True)
class Exact:
    """What exact search found: ranks under each notion of relevance, and the best columns of each query.

    ``top`` is int64 (q, k), gallery columns from the best on; ``scores`` float32 (q, k), their cosines.
    """

    ranks: tuple[Ranks, ...]
    top: npt.NDArray[np.int64]
    scores: Scores


def exact_search(queries: Vectors, gallery: Vectors, views: Sequence[Relevant] = (), top: int = 10) -> Exact:
    """Search ``gallery`` float32 (g, d) for each of ``queries`` float32 (q, d), both of unit rows, by cosine.

    ``views`` are notions of relevance as `eval.metrics.ranks_of_relevant` takes them. Needs about 130 MB beyond its
    arguments, whatever their size. Equal cosines come in gallery order in ``top``, but against us in ``ranks``.

    Raises: UsageError when the dimensions differ.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise UsageError(f"queries of shape {queries.shape} cannot be compared with a gallery of {gallery.shape}")
    rows = max(1, CHUNK_FLOATS // max(1, len(gallery)))
    parts: list[list[Ranks]] = [[] for _ in views]
    columns, cosines = [], []
    for start in range(0, len(queries), rows):
        scores = queries[start : start + rows] @ gallery.T
        chunk_views = [view[start : start + rows] for view in views]
        for out, ranks in zip(parts, ranks_of_views(scores, chunk_views, TIE), strict=True):
            out.append(ranks)
        best = _best(scores, top)
        columns.append(best)
        cosines.append(np.take_along_axis(scores, best, axis=1))
    k = min(top, len(gallery))
    return Exact(
        tuple(_join(part, len(gallery)) for part in parts),
        np.concatenate([*columns, np.empty((0, k), dtype=np.int64)]),
        np.concatenate([*cosines, np.empty((0, k), dtype=np.float32)]),
    )


def ranks_of_vectors(queries: Vectors, gallery: Vectors, relevant: Relevant) -> Ranks:
    """Rank the relevant rows of ``gallery`` (g, d) for each of ``queries`` (q, d), as a trainer's validation does."""
    return exact_search(queries, gallery, (relevant,), top=1).ranks[0]


def _best(scores: Scores, top: int) -> npt.NDArray[np.int64]:
    """Return the columns of the ``top`` highest scores of each row, best first, equal scores in column order."""
    width = scores.shape[1]
    if top < width:
        candidates = np.sort(np.argpartition(scores, width - top, axis=1)[:, width - top :], axis=1)
        last = np.take_along_axis(scores, candidates, axis=1).min(axis=1, keepdims=True)
        for row in np.flatnonzero(np.count_nonzero(scores >= last, axis=1) > top):  # which of several equals come in?
            candidates[row] = np.sort(np.argsort(-scores[row], kind="stable")[:top])
    else:
        candidates = np.broadcast_to(np.arange(width), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, candidates, axis=1), axis=1, kind="stable")
    return np.take_along_axis(candidates, order, axis=1)


def _join(parts: Sequence[Ranks], gallery: int) -> Ranks:
    return ranks_from_lists([part.of(query) for part in parts for query in range(len(part))], gallery)
