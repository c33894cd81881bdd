"""The report of an examination: JSON for programs, Markdown for a repository, one HTML page for people."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.examination import DEFINITIONS, RELEVANCES, Examination, Figure, Group, TruthExamination
from eval.page import Thumbnail, to_html
from eval.tables import facts_of, number, tables, worst_groups

_NOT_IN_JSON = ("run", "first_ranks", "asked")


def write_report(
    folder: Path,
    examination: Examination | None = None,
    truth: TruthExamination | None = None,
    *,
    title: str = "Examination",
    about: Mapping[str, str] | None = None,
    thumbnail: Thumbnail | None = None,
) -> tuple[Path, Path, Path]:
    """Write report.json, report.md and report.html into ``folder`` and return their paths.

    ``about`` are the facts that belong beside every number: commit, checkpoint, data set, split, command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / "report.json", folder / "report.md", folder / "report.html")
    facts = dict(about or {})
    texts = (
        to_json(examination, truth, title=title, about=facts),
        to_markdown(examination, truth, title=title, about=facts),
        to_html(examination, truth, title=title, about=facts, thumbnail=thumbnail),
    )
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return paths


def to_json(
    examination: Examination | None, truth: TruthExamination | None, *, title: str, about: Mapping[str, str]
) -> str:
    """Return the report as strict JSON; a number that is none, or has no bound, is null."""
    report = {
        "title": title,
        "about": dict(about),
        "definitions": {**DEFINITIONS, **{f"relevance: {name}": text for name, text in RELEVANCES.items()}},
        "examination": _plain(examination),
        "ground_truth": _plain(truth),
    }
    return json.dumps(report, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def to_markdown(
    examination: Examination | None, truth: TruthExamination | None, *, title: str, about: Mapping[str, str]
) -> str:
    """Return the report as Markdown: every table of the page, without its plots and pictures."""
    lines = [f"# {title}", ""]
    lines += [f"- {name}: {text}" for name, text in about.items()] + ([""] if about else [])
    if examination:
        lines += [*(f"- {line}" for line in facts_of(examination)), ""]
    for heading, note, figures in tables(examination, truth):
        lines += [f"## {heading}", "", note, "", *_markdown_table(figures), ""]
    if examination and examination.groups:
        lines += ["## Where it goes badly", "", "The groups with the lowest hit@10 by product:", ""]
        lines += _markdown_table([_named(group) for group in worst_groups(examination.groups)])
        lines += [""]
    lines += ["## Definitions", "", *(f"- **{name}**: {text}." for name, text in DEFINITIONS.items()), ""]
    lines += [f"- relevance **{name}**: {text}." for name, text in RELEVANCES.items()]
    return "\n".join(lines) + "\n"


def _named(group: Group) -> Figure:
    return dataclasses.replace(group.figure, name=f"{group.field} = {group.value}")


def _markdown_table(figures: Sequence[Figure]) -> list[str]:
    lines = [
        "| figure | value | 95 % interval | chance | ceiling | queries | gallery | definition |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for f in figures:
        name = f.name.replace("|", "\\|").replace("\n", " ")
        value, low, high, chance, ceiling = (number(x, f.name) for x in (f.value, f.low, f.high, f.chance, f.ceiling))
        cells = (name, value, f"{low} to {high}", chance, ceiling, f"{f.queries:,}", f"{f.gallery:,}", f.definition)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _plain(record: object) -> object:
    """Turn records into what JSON knows, leaving out the long rankings, which have a format of their own (TREC)."""
    if dataclasses.is_dataclass(record):
        names = [f.name for f in dataclasses.fields(record) if f.name not in _NOT_IN_JSON]
        return {name: _plain(getattr(record, name)) for name in names}
    if isinstance(record, tuple | list):
        return [_plain(one) for one in record]
    if isinstance(record, float):
        return record if math.isfinite(record) else None
    return record
