"""The text format of TREC: runs and right answers that trec_eval, ir_measures and ranx read and write.

    qrels   query 0 item relevance
    run     query Q0 item rank score tag

Columns are parted by white space, so white space and % inside an id are written as in URLs (%20), and read back; so is
a byte order mark, which readers take off the beginning of a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from engine.errors import UsageError

Qrels = Mapping[str, Mapping[str, float]]
Run = Mapping[str, Sequence[str]]


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write ``{query: {item id: relevance}}``; relevances become whole numbers, as the format wants.

    They are rounded, but what is above 0 stays above 0: it is a right answer.
    """
    lines = (
        f"{_quoted(query)} 0 {_quoted(item)} {max(round(relevance), int(relevance > 0))}\n"
        for query, answers in qrels.items()
        for item, relevance in answers.items()
    )
    path.write_text("".join(lines), encoding="utf-8")


def write_run(path: Path, run: Run, tag: str = "engine") -> None:
    """Write ``{query: [item id, best first]}``.

    The scores are made from the ranks and all differ: trec_eval orders by score alone, and equal scores by id.
    """
    lines = (
        f"{_quoted(query)} Q0 {_quoted(item)} {rank} {len(found) - rank + 1} {_quoted(tag)}\n"
        for query, found in run.items()
        for rank, item in enumerate(found, start=1)
    )
    path.write_text("".join(lines), encoding="utf-8")


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Read right answers. Raises: UsageError naming file and line when a line is not of that form."""
    qrels: dict[str, dict[str, float]] = {}
    for number, (query, _, item, relevance) in _lines(path, 4):
        qrels.setdefault(query, {})[item] = _number(path, number, relevance)
    return qrels


def read_run(path: Path) -> dict[str, list[str]]:
    """Read a run, items ordered by score as trec_eval does, equal scores by the rank column.

    Raises: UsageError naming file and line when a line is not of that form.
    """
    scored: dict[str, list[tuple[float, float, str]]] = {}
    for number, (query, _, item, rank, score, _) in _lines(path, 6):
        row = (-_number(path, number, score), _number(path, number, rank), item)
        scored.setdefault(query, []).append(row)
    return {query: [item for _, _, item in sorted(rows)] for query, rows in scored.items()}


def _lines(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give an existing file") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            # Only blanks part columns: what str.split takes for white space beyond them is kept inside ids.
            parts = [unquote(part) for part in re.split(r"[ \t\r]+", line.strip(" \t\r"))]
            if len(parts) != columns:
                raise UsageError(f"{path}, line {number}: {len(parts)} columns instead of {columns}: {line.strip()!r}")
            yield number, parts


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{path}, line {line}: {text!r} is no number")
    return value


def _quoted(name: str) -> str:
    return re.sub(r"[\s%\ufeff]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)
