"""Commands about a collection itself: facets, status, show, delete, export, config."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import (
    CollectionOption,
    FilterOption,
    StoreOption,
    WhereOption,
    filter_of,
    ledger_path,
    open_named_store,
    settings_of,
)
from engine.errors import UsageError
from engine.replacing import replacing

if TYPE_CHECKING:
    from engine.records import Record

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def facets_command(
    fields: Annotated[list[str] | None, typer.Argument(help="Which fields; default: all that can be counted.")] = None,
    store: StoreOption = None,
    collection: CollectionOption = None,
    where: WhereOption = None,
    filter: FilterOption = None,
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=1_000_000, help="How many values of each.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Count the values of each field: what one can filter by."""
    from engine.store.requests import facet_fields

    wanted = filter_of(where, filter)
    with open_named_store(settings_of(store, collection)) as opened:
        names = fields or facet_fields(opened.spec().fields)
        counts = {name: opened.facet(name, wanted, limit + 1) for name in names}
    more = {name for name, found in counts.items() if len(found) > limit}
    counts = {name: found[:limit] for name, found in counts.items()}
    if not counts:
        print("no field to count: what was ingested has no attributes", file=sys.stderr)
    if as_json:
        print(json.dumps({name: [{"value": v, "count": n} for v, n in found] for name, found in counts.items()}))
        return
    for name, found in counts.items():
        values = ", ".join(f"{str(v).lower() if isinstance(v, bool) else v} {n}" for v, n in found)
        print(f"{name}: {values or 'none'}{' and others (-k shows more)' if name in more else ''}")


def status_command(
    store: StoreOption = None, collection: CollectionOption = None, as_json: JsonOption = False
) -> None:
    """Say what the collection holds, which checkpoint made it, and how the store is."""
    settings = settings_of(store, collection)
    with open_named_store(settings) as opened:
        spec, health = opened.spec(), opened.health()
    about = {
        "collection": None if settings.url else settings.collection,
        "store": f"{health.backend} {health.version} at {health.location}",
        "through": opened.location if opened.location != health.location and "://" in opened.location else None,
        "points": health.points,
        "points_indexed": health.indexed,
        "disk_mb": None if health.disk_bytes is None else round(health.disk_bytes / 1e6, 1),
        "checkpoint": spec.passport.get("checkpoint"),
        "fingerprint": str(spec.passport.get("fingerprint"))[:16],
        "dimension": spec.dimension,
        "fields": dict(spec.fields),
    }
    if as_json:
        print(json.dumps(about))
        return
    about["fields"] = ", ".join(f"{name} ({kind})" for name, kind in spec.fields.items())
    for name, value in about.items():
        if value is not None:
            print(f"{name.replace('_', ' ')}: {value}")


def show_command(
    item: Annotated[str, typer.Argument(help="Item id, as query prints it.")],
    store: StoreOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that the collection knows about one item."""
    from engine.records import point_id

    with open_named_store(settings_of(store, collection)) as opened:
        records = opened.retrieve([point_id(item)])
    if not records:
        raise UsageError(f"the collection has no item {item!r}: take an id that `engine query` prints")
    payload = records[0].payload or {}
    if as_json:
        print(json.dumps({"id": item, "point_id": records[0].id, "payload": payload}, ensure_ascii=False))
        return
    print(f"point_id: {records[0].id}")
    for name, value in payload.items():
        print(f"{name}: {' | '.join(value) if isinstance(value, list) else value}")


def delete_command(
    items: Annotated[list[str] | None, typer.Argument(help="Item ids.")] = None,
    store: StoreOption = None,
    collection: CollectionOption = None,
    where: WhereOption = None,
    filter: FilterOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete items by id or by filter; the photographs themselves are never touched."""
    from engine.records import point_id
    from engine.store.protocol import all_records
    from ingest.ledger import Ledger

    settings = settings_of(store, collection)
    wanted = filter_of(where, filter)
    if bool(items) == bool(wanted):
        raise UsageError("say what to delete: item ids, or a --where filter, not both")
    with open_named_store(settings) as opened:
        records = (
            list(all_records(opened, wanted, payload=["item_id"]))
            if wanted
            else opened.retrieve([point_id(item) for item in items or []])
        )
        there = {record.id for record in records}
        for item in items or []:
            if point_id(item) not in there:
                print(f"the collection has no item {item!r}", file=sys.stderr)
        if records and not yes:
            typer.confirm(f"delete {len(records)} of {opened.count()} items from {settings.collection}?", abort=True)
        deleted = opened.delete([record.id for record in records])
        ledger = Ledger(ledger_path(settings), opened.spec().passport["collection_id"])
        ledger.remove(str((record.payload or {}).get("item_id")) for record in records)
        ledger.close()
    print(f"deleted {deleted}")


def export_command(
    file: Annotated[str, typer.Argument(help="Where to: .jsonl, .parquet, or - for stdout.")],
    store: StoreOption = None,
    collection: CollectionOption = None,
    where: WhereOption = None,
    filter: FilterOption = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="Write the embeddings too.")] = False,
) -> None:
    """Write items with their metadata, and their embeddings if wanted, to a file."""
    wanted = filter_of(where, filter)
    from engine.store.protocol import all_records

    with open_named_store(settings_of(store, collection)) as opened:
        rows = (_row(record) for record in all_records(opened, wanted, vectors=vectors))
        try:
            count = _write_whole(file, rows)
        except OSError as error:
            if file == "-":
                raise
            raise UsageError(
                f"{file} cannot be written ({os.strerror(error.errno or 0)}): give another name"
            ) from None
    print(f"exported {count}", file=sys.stderr)


def config_command(as_json: JsonOption = False) -> None:
    """Print every setting and where its value came from; secrets are masked."""
    import dataclasses

    from engine.settings import SECRETS, load_settings

    settings, origins = load_settings()
    values = dataclasses.asdict(settings)
    shown = {name: "***" if name in SECRETS and value else value for name, value in values.items()}
    if as_json:
        print(json.dumps({name: {"value": value, "from": origins[name]} for name, value in shown.items()}))
        return
    for name, value in shown.items():
        print(f"{name} = {json.dumps(value)}  # {origins[name]}")


def _row(record: Record) -> dict[str, Any]:
    ours = {"point_id", "vector"} if record.vector is not None else {"point_id"}
    payload = {f"payload_{name}" if name in ours else name: value for name, value in (record.payload or {}).items()}
    row: dict[str, Any] = {"point_id": record.id, **payload}
    if record.vector is not None:
        row["vector"] = [round(float(value), 7) for value in record.vector]
    return row


def _columns(rows: Iterator[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return every field that any row has as a column; None where a row lacks it."""
    columns: dict[str, list[Any]] = {"point_id": []}
    for count, row in enumerate(rows):
        columns |= {name: [None] * count for name in row if name not in columns}
        for name, values in columns.items():
            values.append(row.get(name))
    for name, values in columns.items():
        if any(isinstance(value, list) for value in values):  # a column of Parquet has one type
            columns[name] = [value if value is None or isinstance(value, list) else [value] for value in values]
    return columns


def _write_whole(file: str, rows: Iterator[dict[str, Any]]) -> int:
    """Write a file that is there in full or, if anything goes wrong, as it was before."""
    if file == "-":
        return _write_rows(file, rows)
    if not file.endswith((".jsonl", ".ndjson", ".parquet")):
        raise UsageError(f"{file}: give a name that ends in .jsonl or .parquet, or - for stdout")
    with replacing(Path(file)) as part:
        return _write_rows(str(part), rows)


def _write_rows(file: str, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    if file.endswith(".parquet"):
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise UsageError(
                "Parquet needs an extra: pip install '.[parquet]' in this program's source folder"
            ) from None
        columns = _columns(rows)
        pq.write_table(pa.table(columns), file)
        return len(columns["point_id"])
    out = sys.stdout if file == "-" else Path(file).open("w", encoding="utf-8")  # noqa: SIM115
    try:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    finally:
        if out is not sys.stdout:
            out.close()
    return count
