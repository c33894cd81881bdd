"""The rows of a table file, whatever its format: CSV, TSV, JSON Lines, or Parquet, which has a module of its own."""

from __future__ import annotations

import csv
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from engine.errors import SourceError
from ingest.sources.files import parse_json, why
from ingest.sources.kinds import flatten
from ingest.sources.parquet import parquet_columns, parquet_rows

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
Cells = list[object]
Row = tuple[int, Cells | str]
_SMALL_BYTES = 16_000_000
_LONGEST_LINES = 500
"""Of one CSV record: each that is none might else have to be read to the end of the file."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table file and the names of its columns.

    ``surplus``: the last column is unquoted text, and cells beyond it belong to it, with the commas between.
    ``small``: its rows may all be kept in memory.
    """

    path: Path
    columns: list[str]
    delimiter: str = ","
    surplus: bool = False
    small: bool = False

    @property
    def is_text(self) -> bool:
        """Say whether every cell is a string."""
        return self.path.suffix.lower() in (".csv", ".tsv")

    def rows(self) -> Iterator[Row]:
        """Yield each row's number (its line, in a text file) and its cells in the order of the columns.

        A row that cannot be read comes as the reason why instead. Raises: SourceError.
        """
        try:
            yield from _READERS[self.path.suffix.lower()](self)
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            raise _unreadable(self.path, error) from error


def open_table(path: Path) -> Table:
    """Read a table's column names. Raises: SourceError."""
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise SourceError(f"{path} is no table: give a file ending in {', '.join(TABLE_SUFFIXES)}")
    try:
        if suffix == ".parquet":
            columns = parquet_columns(path)
            _check_columns(path, columns)
            return Table(path, columns)
        if suffix in (".jsonl", ".ndjson"):
            return Table(path, _json_columns(path))
        return _csv_table(path)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: UnicodeDecodeError | csv.Error | OSError) -> SourceError:
    if isinstance(error, UnicodeDecodeError):
        return SourceError(f"{path} cannot be read as UTF-8 text: {error}; save it as UTF-8")
    if isinstance(error, csv.Error):  # a cell of 131,073 characters is the rest of a table behind an open quote
        return SourceError(f"{path} cannot be read as CSV: {error}; look for a quotation mark that is not closed")
    return SourceError(f"{path} cannot be read: {why(error)}")


def _csv_table(path: Path) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        small = os.fstat(file.fileno()).st_size <= _SMALL_BYTES
    if not header.strip():
        raise SourceError(f"{path} is empty: its first line must name the columns")
    delimiter = max(",\t;|", key=header.count)
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    _check_columns(path, columns)
    return Table(path, columns, delimiter, is_kaggle(columns), small)


def _check_columns(path: Path, columns: list[str]) -> None:
    if len(set(columns)) < len(columns):
        twice = sorted({name for name in columns if columns.count(name) > 1})
        raise SourceError(f"{path} names a column twice: {', '.join(map(repr, twice))}; rename one of them")


def is_kaggle(columns: list[str]) -> bool:
    """Say whether these are the columns of Kaggle's Fashion Product Images, whose titles hold unquoted commas."""
    needed = {"id", "masterCategory", "articleType", "productDisplayName"}
    return needed <= set(columns) and columns[-1] == "productDisplayName"


def _csv_rows(table: Table) -> Iterator[Row]:
    width = len(table.columns)
    with table.path.open(encoding="utf-8-sig", newline="") as file:
        next(file, None)
        for number, row in _csv_records(_Lines(file), table.delimiter):
            if isinstance(row, str):
                yield number, row
                continue
            # Kept cells are kept once: most columns have few different ones.
            cells: list[object] = [*map(intern, row)] if table.small else [*row]
            if len(row) == width:
                yield number, cells
            elif len(row) > width and table.surplus:
                yield number, [*row[: width - 1], table.delimiter.join(row[width - 1 :])]
            elif len(row) > width and any(row[width:]):
                yield number, f"{len(row)} cells in a table of {width} columns: quote what holds a comma"
            elif row:
                yield number, [*row[:width], *[""] * (width - len(row))]


class _Lines:
    """The lines of a file after its first; those of the record at hand are kept, to be read again."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file, self._again = file, deque[str]()
        self.number = 1
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self.taken.append(line)
        self.number += 1
        if len(self.taken) > _LONGEST_LINES:
            raise csv.Error(f"a record of more than {_LONGEST_LINES} lines")
        return line

    def give_back(self) -> None:
        """Let all lines of the record but its first be read again."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


def _csv_records(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the last line's number and the cells of each record, or why there are none.

    A quotation mark that is not closed swallows the rows behind it, up to the next one. Where a record of several
    lines is not as strict CSV has it, only its first line is given up.
    """
    blank = re.compile(rf'" +(?={re.escape(delimiter)}|\r?$)')
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.taken.clear()
        try:
            row = next(reader)
            if len(lines.taken) > 1:
                tidy = (blank.sub('"', line) for line in lines.taken)
                list(csv.reader(tidy, delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back()
            yield lines.number, f"no valid CSV: a quotation mark is not closed, or a cell too long ({error})"
            reader = csv.reader(lines, delimiter=delimiter)
        else:
            yield lines.number, row


def _json_columns(path: Path) -> list[str]:
    columns: dict[str, None] = {}
    for _, row in _json_objects(path):
        if isinstance(row, dict):
            columns.update(dict.fromkeys(row))
    if not columns:
        raise SourceError(f"{path} holds no JSON object: one a line is needed")
    return list(columns)


def _json_rows(table: Table) -> Iterator[Row]:
    for number, row in _json_objects(table.path):
        yield number, row if isinstance(row, str) else [row.get(name) for name in table.columns]


def _json_objects(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except (ValueError, RecursionError) as error:
                yield number, f"no valid JSON: {error}"
                continue
            yield number, flatten(row) if isinstance(row, dict) else "no JSON object"


_READERS: dict[str, Callable[[Table], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": lambda table: parquet_rows(table.path, table.columns),
}
