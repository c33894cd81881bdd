"""Tables in Parquet: nested columns joined, and every value as Python knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import SourceError
from ingest.sources.kinds import flatten


def parquet_columns(path: Path) -> list[str]:
    """Return the names of a file's columns, those in structs joined with ``_``. Raises: SourceError."""
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
    return columns


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[object]]]:
    """Yield each row's number and its cells in the order of ``columns``, as Python knows them. Raises: SourceError."""
    number = 0
    with _parquet_file(path) as file:
        for batch in file.iter_batches(batch_size=4096):
            names = batch.schema.names
            values = [_values(column, name, path) for name, column in zip(names, batch, strict=True)]
            for cells in zip(*values, strict=True):
                number += 1
                flat = flatten(dict(zip(names, cells, strict=True)))
                yield number, [flat.get(name) for name in columns]


def _values(column: Any, name: str, path: Path) -> list[object]:  # noqa: ANN401 - pyarrow may be missing
    """Return a column's values; times that Python does not know, as those of the year 10,000, as texts."""
    import pyarrow

    try:
        readable = column.cast(_readable(column.type), safe=False)
        values: list[object] = readable.to_pylist()
    except OverflowError:
        values = [_value(one, name, path) for one in readable]
    except (pyarrow.ArrowInvalid, UnicodeDecodeError):
        raise SourceError(
            f"column {name!r} of {path} holds bytes that are no text: leave it out; "
            "photographs must be unpacked into files first"
        ) from None
    return values


def _value(scalar: Any, name: str, path: Path) -> object:  # noqa: ANN401
    import pyarrow

    try:
        value: object = scalar.as_py()
    except OverflowError:
        try:
            value = scalar.cast(pyarrow.string()).as_py()
        except pyarrow.ArrowException:
            value = ""
        if not str(value)[:1].isdigit():
            raise SourceError(f"column {name!r} of {path} has a time that no calendar has: mend it there") from None
    return value


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
    if types.is_map(kind):
        return pyarrow.map_(_readable(kind.key_type), _readable(kind.item_type))
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_readable(field.type)) for field in kind])
    return kind


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise SourceError(f"{path} needs an extra: pip install '.[parquet]' in this program's source folder") from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise SourceError(f"{path} is no readable Parquet file: {' '.join(str(error).split())[:200]}") from error
