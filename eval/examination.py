"""What an examination found, as frozen records: the harness writes them, the report reads them.

Anything that is a ranking keeps ids, anything that is a number is a `Figure` with all that is needed to judge it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from eval.captions import Query

Direction = Literal["text to image", "image to text"]
Relevance = Literal["strict", "product", "equal caption"]

DEFINITIONS: Mapping[str, str] = {
    "hit": "share of the queries with at least one right answer among the first K (Success@K; the R@K of CLIP papers)",
    "set recall": "share of a query's right answers that are among the first K, averaged (Recall@K of BEIR and Marqo)",
    "reciprocal rank": "1 / rank of the first right answer, averaged over the queries (0 beyond @K, if given)",
    "rank": "median over the queries of the rank of the first right answer",
    "precision": "share of the first 10 hits that have the described photograph's value of the attribute",
    "agreement": "share of the exact first 10 that the approximate index returns; it judges the index only",
    "index hit": "hit@10 among what the approximate index returns, in the order of the store",
}
"""What each definition means; every figure names the one it follows."""

RELEVANCES: Mapping[str, str] = {
    "strict": "right is only the very photograph that the caption was written for",
    "product": "right is every photograph of the same product",
    "equal caption": "right is every photograph with the same caption, case and spacing aside",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with what is needed to judge it.

    ``low`` and ``high`` are the ends of its 95 % bootstrap interval, ``chance`` is what a random order would
    reach, ``ceiling`` the best that anyone could (None: unknown). ``definition`` is a key of DEFINITIONS.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float | None
    ceiling: float | None
    queries: int
    gallery: int
    definition: str


@dataclass(frozen=True, slots=True)
class Section:
    """All figures of one direction under one notion of relevance."""

    direction: Direction
    relevance: Relevance
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The queries whose item has one value of one field, e.g. ``view`` = ``side``, with their figure."""

    field: str
    value: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Curve:
    """hit@K over K, each with its interval and its chance level; all of the same length."""

    ks: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    chance: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One query to look at: the rank of its photograph (None: not in the gallery) and the first hits."""

    query: Query
    rank: int | None
    hits: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything one examination found. ``run`` has the first 100 item ids of each query, exact search."""

    gallery: int
    items: int
    items_without_caption: int
    items_not_in_gallery: int
    queries: int
    captions_cut: int | None
    token_limit: int | None
    seed: int
    resamples: int
    sections: tuple[Section, ...]
    small_galleries: tuple[Section, ...]
    index: tuple[Figure, ...]
    precision: tuple[Figure, ...]
    groups: tuple[Group, ...]
    curve: Curve
    best: tuple[Case, ...]
    worst: tuple[Case, ...]
    first_ranks: tuple[int | None, ...] = field(repr=False)
    asked: tuple[Query, ...] = field(repr=False)
    run: Mapping[str, tuple[str, ...]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TruthCase:
    """One query of a ground truth to look at: the first hits, and an answer that was wanted.

    ``rank``: of the first right one among the first 10, or None. ``right``: which of ``hits`` are.
    """

    text: str
    rank: int | None
    hits: tuple[str, ...]
    right: tuple[str, ...]
    wanted: str


@dataclass(frozen=True, slots=True)
class TruthExamination:
    """What a committed ground truth found: its figures, and how many of its right answers the gallery lacks."""

    gallery: int
    queries: int
    relevant: int
    relevant_missing: int
    queries_with_missing: int
    queries_without_answer: int
    figures: tuple[Figure, ...]
    best: tuple[TruthCase, ...] = field(repr=False)
    worst: tuple[TruthCase, ...] = field(repr=False)
    run: Mapping[str, tuple[str, ...]] = field(repr=False)
