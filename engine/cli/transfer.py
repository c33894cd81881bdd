"""`engine push` and `engine pull`: a whole collection to another store or from it, without embedding again."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import CollectionOption, StoreOption, ledger_path, open_named_store, settings_of
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.settings import Settings

OtherArgument = Annotated[str, typer.Argument(help="A Qdrant URL, or the folder of an embedded store.")]
AsOption = Annotated[str | None, typer.Option("--as", help="The collection's name there; default: the same.")]


def push_command(
    target: OtherArgument,
    store: StoreOption = None,
    collection: CollectionOption = None,
    name: AsOption = None,
) -> None:
    """Copy the collection to another store: vectors, payloads and passport as they are, verified.

    Run again after a crash or a change, it writes only what is missing or differs; what was deleted here must be
    deleted there too. The key of a Qdrant server is QDRANT_API_KEY; from one server to another, that of the other is
    ENGINE_OTHER_API_KEY.
    """
    ours = settings_of(store, collection)
    _copy(ours, _other(ours, target, name))


def pull_command(
    source: OtherArgument,
    store: StoreOption = None,
    collection: CollectionOption = None,
    name: AsOption = None,
) -> None:
    """Copy a collection from another store into this one: the other way round."""
    ours = settings_of(store, collection)
    _copy(_other(ours, source, name), ours)


def _other(ours: Settings, place: str, name: str | None) -> Settings:
    """Return the settings of the other store; the key of a Qdrant server is for that server alone."""
    key = ours.other_api_key if ours.url or "://" in ours.store else ours.other_api_key or ours.api_key
    return dataclasses.replace(ours, url=None, store=place, collection=name or ours.collection, api_key=key)


def _copy(source: Settings, target: Settings) -> None:
    from engine.store.copy import copy_collection
    from ingest.ledger import copy_ledger

    if (source.url, source.store, source.collection) == (target.url, target.store, target.collection):
        raise UsageError(f"{source.store} / {source.collection} cannot be copied onto itself: name another store")
    terminal = sys.stderr.isatty()

    def tell(done: int, total: int) -> None:
        if terminal:
            print(f"\r{done} of {total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    with open_named_store(source) as one, open_named_store(target) as other:
        copied = copy_collection(one, other, tell)
        copy_ledger(ledger_path(source), ledger_path(target))
        print(
            f"{copied.written} written, {copied.present} there already, in {other.location}; "
            f"as many points as here, {copied.compared} of them compared"
        )
