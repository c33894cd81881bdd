"""`engine ingest`: bring a collection up to date with a folder, a table or an archive of photographs."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import (
    CaptionColumnOption,
    CollectionOption,
    DeviceOption,
    IdColumnOption,
    ImageColumnOption,
    ModelOption,
    ProductColumnOption,
    SourceOption,
    StoreOption,
    TitleColumnOption,
    filter_of,
    ledger_path,
    open_named_store,
    open_sources,
    place_of,
    settings_of,
)
from engine.cli.progress import progress_of_ingest
from engine.errors import FieldConflict, StoreError, UsageError

if TYPE_CHECKING:
    from engine.encoder import Encoder
    from engine.records import FieldKind
    from engine.settings import Settings
    from engine.store.protocol import Store
    from ingest.sources.source import Source
    from ingest.summary import Problem, Summary

MOST_FIELDS = 100
"""Of a collection: each has an index, which costs every opening some milliseconds."""


def ingest_command(
    path: Annotated[Path, typer.Argument(help="Folder, table (.csv .jsonl .parquet) or .tar of photographs.")],
    store: StoreOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    source: SourceOption = "auto",
    where: Annotated[
        list[str] | None,
        typer.Option("--where-ingested", help="Only items whose attributes in the source pass, as for query --where."),
    ] = None,
    image_column: ImageColumnOption = None,
    id_column: IdColumnOption = None,
    title_column: TitleColumnOption = None,
    caption_column: CaptionColumnOption = None,
    product_column: ProductColumnOption = None,
    id_prefix: Annotated[str, typer.Option(help="Put before every item id, to tell two sources apart.")] = "",
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Delete items that this source no longer has, or that --where-ingested leaves out."
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write what was not indexed, with reasons, as JSON Lines.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Embedding threads; default: one a core, and one more.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Embed photographs and store them with their metadata; running again only does what has changed.

    Exit code 3 if some files were quarantined (they are named), 130 after Ctrl-C (run again to go on).
    """
    columns = (id_column, image_column, title_column, caption_column, product_column)
    path = Path(os.path.abspath(path))  # noqa: PTH100 - the same folder, however it is spelt, gives the same uris
    (opened,) = open_sources([path], source, columns, id_prefix=id_prefix)
    settings = settings_of(store, collection, model, device)
    with open_named_store(settings) as named, _Report(report) as problems:
        started = time.perf_counter()
        summary = run_ingest(opened, named, settings, where=where, prune=prune, workers=workers, on_problem=problems)
        seconds = time.perf_counter() - started
    _print_summary(summary, seconds, settings, problems.shown, as_json=json_output)
    if summary.stopped:
        raise typer.Exit(130)
    if summary.quarantined:
        raise typer.Exit(3)


def run_ingest(
    source: Source,
    store: Store,
    settings: Settings,
    *,
    where: list[str] | None = None,
    prune: bool = False,
    workers: int | None = None,
    on_problem: Any = lambda problem: None,  # noqa: ANN401
) -> Summary:
    """Prepare the collection for ``source`` and ingest it, with a progress bar and a clean stop on Ctrl-C."""
    from engine.checkpoint import find_checkpoint
    from engine.encoder import load_encoder
    from engine.filters import check_filter
    from engine.passport import check_fingerprint, check_golden_images
    from ingest.ledger import Ledger
    from ingest.worker import ingest

    checkpoint = find_checkpoint(settings.model)
    wanted = filter_of(where, None)
    every = source.fields()
    wanted = check_filter(wanted, every) if wanted else None
    fields = _indexed(every, store.spec().fields if store.exists() else {})
    loaded: list[Encoder] = []

    def encoder() -> Encoder:
        if loaded:
            return loaded.pop()  # and keep none: the ingest lets go of it as soon as it can
        encoder = load_encoder(checkpoint, settings.device)
        check_golden_images(store.spec().passport, encoder)
        return encoder

    if store.exists():
        check_fingerprint(store.spec().passport, checkpoint)
        _add_fields(store, fields, source)
    else:
        loaded.append(load_encoder(checkpoint, settings.device))
        _create(store, loaded[0], fields)
    ledger = Ledger(ledger_path(settings), store.spec().passport["collection_id"])
    try:
        with _stop_on_ctrl_c() as stop, progress_of_ingest() as on_progress:
            return ingest(
                source,
                store,
                ledger,
                encoder,
                workers=workers or 1 + (os.cpu_count() or 1),  # one for when another waits for Python's lock
                where=wanted,
                prune=prune,
                stop=stop,
                on_problem=on_problem,
                on_progress=on_progress,
            )
    finally:
        ledger.close()


@contextmanager
def _stop_on_ctrl_c() -> Iterator[threading.Event]:
    """Ask for a clean stop at the first Ctrl-C; at the second end at once, which is as safe as any crash."""
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        if stop.is_set():
            show_cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
            os.write(2, show_cursor + b"engine: stopped at once\n")
            os._exit(130)
        stop.set()
        os.write(2, b"stopping after the photographs at hand; Ctrl-C once more stops at once\n")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _indexed(fields: Mapping[str, FieldKind], before: Mapping[str, FieldKind]) -> dict[str, FieldKind]:
    """Return the fields of a source that one can filter by: as many as a collection may have, the first of them."""
    from engine.store.schema import CORE_FIELDS

    room = MOST_FIELDS - len(before.keys() - fields.keys() - CORE_FIELDS.keys())
    ordered = sorted(fields, key=lambda name: name not in before)
    if left_out := ordered[max(0, room) :]:
        print(
            f"{len(fields)} fields: one can filter by {len(fields) - len(left_out)} of them, the others are only kept "
            f"({', '.join(left_out[:3])} ...)",
            file=sys.stderr,
        )
    return {name: fields[name] for name in ordered if name not in left_out}


def _add_fields(store: Store, fields: Mapping[str, FieldKind], source: Source) -> None:
    """Index what the source has; a value of another kind than its field had before is named with its file."""
    try:
        store.add_fields(fields)
    except FieldConflict as error:
        from engine.records import Item
        from ingest.sources.kinds import as_text, fits

        kinds = store.spec().fields
        for item in source.items():
            for name, value in item.payload.items() if isinstance(item, Item) else ():
                if name in kinds and not fits(as_text(value), "float" if kinds[name] == "integer" else kinds[name]):
                    raise StoreError(f"{error}; the first at odds is {name} = {value!r}, of {item.uri}") from error
        raise


def _create(store: Store, encoder: Encoder, fields: Any) -> None:  # noqa: ANN401
    from engine.passport import make_passport
    from engine.store.protocol import CollectionSpec
    from engine.store.schema import CORE_FIELDS

    heads = encoder.checkpoint.token_heads
    patches = heads.dimension if heads else 0
    passport, every = make_passport(encoder), {**CORE_FIELDS, **fields}
    store.create(CollectionSpec(encoder.checkpoint.dimension, passport, every, patches))


class _Report:
    """Takes problems: all of them into a file if one is wanted, the first few quarantined ones for the screen."""

    SHOWN = 20

    def __init__(self, path: Path | None) -> None:
        try:
            self._file: Any = path.open("w", encoding="utf-8", errors="backslashreplace") if path else None
        except OSError as error:
            raise UsageError(f"--report {path} cannot be written: {error.strerror or error}") from None
        self.shown: list[Problem] = []

    def __call__(self, problem: Problem) -> None:
        if self._file:
            entry = {"uri": problem.uri, "state": problem.state, "reason": problem.reason}
            self._file.write(json.dumps(entry) + "\n")
        if problem.state == "quarantined" and len(self.shown) < self.SHOWN:
            self.shown.append(problem)

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file:
            self._file.close()


def _print_summary(
    summary: Summary, seconds: float, settings: Settings, shown: list[Problem], *, as_json: bool
) -> None:
    for problem in shown:
        print(f"quarantined: {problem.uri}: {problem.reason}", file=sys.stderr)
    if summary.quarantined > len(shown):
        print(f"... and {summary.quarantined - len(shown)} more: --report FILE lists all", file=sys.stderr)
    if as_json:
        import dataclasses

        print(json.dumps({**dataclasses.asdict(summary), "seconds": round(seconds, 2)}))
        return
    sums = " + ".join(f"{count} {state}" for state, count in summary.states.items())
    print(f"{summary.found} found = {sums}")
    notes = {
        "of the indexed, only the metadata changed": summary.metadata,
        "of the indexed, renamed (vector reused)": summary.reused,
        "of the indexed, nearly identical to another": summary.near_duplicates,
        "ingested before, but gone from the source or left out now (--prune deletes them)": summary.missing,
        "no longer in the source, deleted": summary.pruned,
    }
    for note, count in notes.items():
        if count:
            print(f"  {count} {note}")
    worked = summary.indexed + summary.duplicate
    rate = f"{worked / max(seconds, 1e-9):.0f} photographs/s, " if worked else ""
    print(f"{seconds:.1f} s, {rate}into {place_of(settings)}")
    if summary.stopped:
        print("stopped: run the same command again to go on")
