"""What the report says, apart from how it is written: its tables, its facts and how a number looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eval.bounds import MEDIAN_RESAMPLES
from eval.examination import DEFINITIONS, RELEVANCES, Examination, Figure, Group, TruthExamination

_WORST_GROUPS = 5


def tables(examination: Examination | None, truth: TruthExamination | None) -> list[tuple[str, str, Sequence[Figure]]]:
    """Return heading, note and figures of every table of the report, in reading order."""
    made: list[tuple[str, str, Sequence[Figure]]] = []
    if truth:
        note = (
            f"{truth.queries:,} queries with {truth.relevant:,} right answers; {truth.relevant_missing:,} of these "
            f"are not in the gallery, which touches {truth.queries_with_missing:,} queries; these stay and count. "
            f"{truth.queries_without_answer:,} queries found no right answer among the first 10."
        )
        made.append(("Ground truth", note, truth.figures))
    if examination:
        for section in examination.sections:
            heading = f"{_sentence(section.direction)}, {section.relevance}"
            made.append((heading, f"{_sentence(RELEVANCES[section.relevance])}. Exact search.", section.figures))
        if examination.index:
            note = "How the store's approximate search compares with exact search over the same vectors."
            made.append(("The index", note, examination.index))
        if examination.precision:
            note = _sentence(DEFINITIONS["precision"]) + ". Chance is the share of the gallery with that value."
            made.append(("Attributes of the first 10 hits", note, examination.precision))
        for section in examination.small_galleries:
            note = (
                "NOT comparable with the tables above: the mean over random galleries of 32 pairs, as in papers that "
                "evaluate within a batch. Chance alone reaches hit@10 = 0.31."
            )
            made.append((f"Galleries of 32 only, {section.direction}", note, section.figures))
    return made


def facts_of(examination: Examination) -> list[str]:
    """Return what was asked of what, in plain sentences."""
    e = examination
    facts = [
        f"{e.queries:,} queries (captions of {e.items - e.items_without_caption:,} examined items) over a gallery of "
        f"{e.gallery:,} photographs.",
        f"{e.items_without_caption:,} examined items have no caption; {e.items_not_in_gallery:,} are not in the "
        "gallery and count as never found.",
    ]
    if e.captions_cut is not None:
        share = e.captions_cut / max(1, e.queries)
        facts.append(
            f"{e.captions_cut:,} captions ({share:.1%}) have more than {e.token_limit} tokens: "
            "the model never saw their end."
        )
    return [
        *facts,
        f"Intervals: 95 %, bootstrap over products, {e.resamples:,} resamples, "
        f"at most {MEDIAN_RESAMPLES} for the median, seed {e.seed}. Ties count against us.",
    ]


def worst_groups(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with the lowest figure."""
    return sorted(groups, key=lambda group: group.figure.value)[:_WORST_GROUPS]


def number(value: float | None, name: str = "") -> str:
    """Write a figure: ranks with one decimal, shares with four; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never"
    return f"{value:,.1f}" if name == "median rank" else f"{value:.4f}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
