"""Whole collections, without embedding again: `engine push` and `pull` copy, `promote` lets one succeed another."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import CollectionOption, StoreOption, ledger_path, open_named_store, settings_of
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.settings import Settings

OtherArgument = Annotated[str, typer.Argument(help="A Qdrant URL, or the folder of an embedded store.")]


def push_command(
    target: OtherArgument,
    store: StoreOption = None,
    collection: CollectionOption = None,
    name: Annotated[str | None, typer.Option("--as", help="The collection's name there; default: the same.")] = None,
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
    name: Annotated[
        str | None, typer.Option("--as", help="The collection's name there, if it is another than --collection here.")
    ] = None,
) -> None:
    """Copy a collection from another store into this one: the other way round."""
    ours = settings_of(store, collection)
    _copy(_other(ours, source, name), ours)


def promote_command(
    successor: Annotated[str, typer.Argument(help="The collection that takes the place of the other.")],
    store: StoreOption = None,
    collection: CollectionOption = None,
) -> None:
    """Let one collection take the place and the name of another, in one step: to change the checkpoint, say.

    Ingest with the new checkpoint into a --collection of another name, examine that, then promote it: who reads the
    public name reads the new one from one moment to the next. The old one is deleted; `engine push --as` keeps a copy.
    """
    from engine.store.open import SERVER_URL
    from engine.store.promote import promote_embedded
    from ingest.ledger import copy_ledger

    ours = settings_of(store, collection)
    if ours.url:
        raise UsageError(
            f"the server at {ours.url} (ENGINE_URL) has one collection: name the store itself with --store"
        )
    theirs = dataclasses.replace(ours, collection=successor)
    if successor == ours.collection:
        raise UsageError(f"{successor} cannot take its own place: name another collection")
    with open_named_store(theirs) as opened:
        id = opened.spec().passport["collection_id"]
    if SERVER_URL.match(ours.store):
        from engine.store.server import ServerStore

        with ServerStore(
            ours.store, ours.collection, api_key=ours.api_key, prefer_grpc=ours.grpc, timeout_s=ours.timeout_s
        ) as server:
            server.take_over(successor)
    else:
        promote_embedded(Path(ours.store), successor, ours.collection, _tell)
    ledger = ledger_path(theirs)
    copy_ledger(ledger, ledger_path(ours), id)
    ledger.unlink(missing_ok=True)
    with suppress(OSError):  # where somebody keeps more than the ledger, that stays
        ledger.parent.rmdir()
    with open_named_store(ours) as opened:
        points, passport = opened.count(), opened.spec().passport
    print(f"{ours.collection} is now what {successor} was: {points} photographs, seen by {passport.get('checkpoint')}")


def _other(ours: Settings, place: str, name: str | None) -> Settings:
    """Return the settings of the other store; the key of a Qdrant server is for that server alone."""
    key = ours.other_api_key if ours.url or "://" in ours.store else ours.other_api_key or ours.api_key
    return dataclasses.replace(ours, url=None, store=place, collection=name or ours.collection, api_key=key)


def _copy(source: Settings, target: Settings) -> None:
    from engine.store.copy import copy_collection
    from ingest.ledger import copy_ledger

    if (source.url, source.store, source.collection) == (target.url, target.store, target.collection):
        raise UsageError(f"{source.store} / {source.collection} cannot be copied onto itself: name another store")
    with open_named_store(source) as one, open_named_store(target) as other:
        copied = copy_collection(one, other, _tell)
        copy_ledger(ledger_path(source), ledger_path(target), other.spec().passport["collection_id"])
        print(
            f"{copied.written} written, {copied.present} there already, in {other.location}; "
            f"as many points as here, {copied.compared} of them compared"
        )


def _tell(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="" if done < total else "\n", file=sys.stderr, flush=True)
