"""The rows of a table file, whatever its format: CSV, TSV, JSON Lines, Parquet."""

from __future__ import annotations

import csv
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from engine.errors import SourceError
from ingest.sources.files import parse_json, why
from ingest.sources.kinds import flatten

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
Cells = list[object]
Row = tuple[int, Cells | str]
_SMALL_BYTES = 16_000_000


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
            return Table(path, _parquet_columns(path))
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
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.taken.clear()
        try:
            row = next(reader)
            if len(lines.taken) > 1:
                list(csv.reader(lines.taken, delimiter=delimiter, strict=True))
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


def _parquet_columns(path: Path) -> list[str]:
    columns: list[str] = []

    def add(fields: Iterable[Any], prefix: str) -> None:
        for field in fields:
            inner = list(field.type) if hasattr(field.type, "get_field_index") else []  # a struct
            if any(part.name == "bytes" for part in inner):
                raise SourceError(
                    f"column {field.name!r} of {path} holds the photographs themselves: unpack them first"
                )
            if inner:
                add(inner, f"{prefix}{field.name}_")
            else:
                columns.append(f"{prefix}{field.name}")

    with _parquet_file(path) as file:
        add(file.schema_arrow, "")
    _check_columns(path, columns)
    return columns


def _parquet_rows(table: Table) -> Iterator[Row]:
    number = 0
    with _parquet_file(table.path) as file:
        for batch in file.iter_batches(batch_size=4096):
            names = batch.schema.names
            columns = [_values(column, name, table.path) for name, column in zip(names, batch, strict=True)]
            for cells in zip(*columns, strict=True):
                number += 1
                flat = flatten(dict(zip(names, cells, strict=True)))
                yield number, [flat.get(name) for name in table.columns]


def _values(column: Any, name: str, path: Path) -> list[object]:  # noqa: ANN401 - pyarrow may be missing
    """Return a column's values; times that Python does not know, as those of the year 10,000, as texts."""
    import pyarrow

    try:
        values: list[object] = column.cast(_readable(column.type), safe=False).to_pylist()
    except OverflowError:
        try:
            values = column.cast(pyarrow.string()).to_pylist()
        except pyarrow.ArrowException:
            raise SourceError(f"column {name!r} of {path} has times beyond the year 9999: make them texts") from None
    except (pyarrow.ArrowInvalid, UnicodeDecodeError):
        raise SourceError(
            f"column {name!r} of {path} holds bytes that are no text: leave it out; "
            "photographs must be unpacked into files first"
        ) from None
    return values


def _readable(kind: Any) -> Any:  # noqa: ANN401
    """Return the nearest type that Python can read: bytes as text, and microseconds, as finer times need pandas."""
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(kind) and kind.unit == "ns":
        return pyarrow.timestamp("us", kind.tz)
    if types.is_time64(kind):
        return pyarrow.time64("us")
    if types.is_duration(kind) and kind.unit == "ns":
        return pyarrow.duration("us")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pyarrow.string()
    if types.is_list(kind) or types.is_large_list(kind):
        return pyarrow.list_(_readable(kind.value_type))
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_readable(field.type)) for field in kind])
    return kind


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise SourceError(f"{path} needs an extra: pip install 'fashion-search-engine[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise SourceError(f"{path} is no readable Parquet file: {' '.join(str(error).split())[:200]}") from error


_READERS: dict[str, Callable[[Table], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}
