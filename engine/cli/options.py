"""Options that several commands share, and the opening of what they name."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.encoder import Encoder
    from engine.records import FilterJSON
    from engine.rerank import Reranker
    from engine.settings import Settings
    from engine.store.protocol import Store
    from engine.store.remote import RemoteStore
    from ingest.sources.source import Source

StoreOption = Annotated[str | None, typer.Option("--store", help="Folder of an embedded store, or a Qdrant URL.")]
CollectionOption = Annotated[str | None, typer.Option("--collection", help="Name of the collection.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Checkpoint: bundled name, folder, or hub name.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where", help="Filter: colour=red,blue, colour!=red, '10<=price<50', title~denim, hat=true, brand?, !brand?."
    ),
]
FilterOption = Annotated[str | None, typer.Option("--filter", help="Filter as Qdrant's REST JSON.")]


SourceOption = Annotated[str, typer.Option("--source", help="auto, deepfashion, table, folder or tar.")]
ImageColumnOption = Annotated[str | None, typer.Option("--image-column", help="Table: column with the image file.")]
IdColumnOption = Annotated[str | None, typer.Option("--id-column", help="Table: column with the item id.")]
TitleColumnOption = Annotated[str | None, typer.Option("--title-column", help="Table: column with the title.")]
CaptionColumnOption = Annotated[str | None, typer.Option("--caption-column", help="Table: column with the caption.")]
ProductColumnOption = Annotated[
    str | None, typer.Option("--product-column", help="Table: column with the product id.")
]


@dataclass(frozen=True)
class Opened:
    """A store that exists, with the encoder that its passport asks for."""

    store: Store
    encoder: Encoder


def settings_of(
    store: str | None, collection: str | None, model: str | None = None, device: str | None = None
) -> Settings:
    """Return the settings under these flags; who names a store does not mean a server that has another open."""
    from engine.settings import load_settings

    flags = {"store": store, "collection": collection, "model": model, "device": device}
    settings = load_settings(flags)[0]
    if store:
        return dataclasses.replace(settings, url=None)
    if collection and settings.url:
        raise UsageError(f"the server at {settings.url} (ENGINE_URL) has one collection: leave out --collection")
    return settings


def open_sources(
    paths: Sequence[Path], kind: str, columns: Sequence[str | None], *, id_prefix: str = ""
) -> list[Source]:
    """Open photographs, all in the same way, and say what they are; ``columns``: the fields of `Columns`, in order."""
    from ingest.sources.detect import check_columns, open_source
    from ingest.sources.table import Columns

    named = Columns(*columns)
    sources = [open_source(path, kind, columns=named, id_prefix=id_prefix) for path in paths]
    check_columns(sources, named)
    for source in sources:
        print(f"source: {source.description}", file=sys.stderr)
    return sources


def open_served(settings: Settings) -> RemoteStore | None:
    """Return the store of a running `engine serve`: the one at ``url``, or that which has the embedded store open."""
    from engine.store.open import served_at

    url = settings.url or served_at(settings.store, settings.collection)
    if not url:
        return None
    from engine.store.remote import RemoteStore

    return RemoteStore(url, key=settings.server_key, timeout_s=settings.timeout_s)


def open_named_store(settings: Settings, *, retry_for_s: float | None = None) -> Store:
    """Open the store that the settings name, through whoever serves it; the collection may not exist yet.

    ``retry_for_s``: how long a Qdrant server that refuses is asked again.
    """
    from engine.store.open import open_store

    return open_served(settings) or open_store(
        settings.store,
        settings.collection,
        api_key=settings.api_key,
        prefer_grpc=settings.grpc,
        timeout_s=settings.timeout_s,
        retry_for_s=retry_for_s,
        wait_s=5,
    )


def open_with_encoder(settings: Settings, *, texts: bool = False, retry_for_s: float | None = None) -> Opened:
    """Open an existing collection as `open_named_store` does, and the encoder that made it in this process.

    ``texts``: see `load_encoder`.

    Raises:
        PassportError: the checkpoint at hand is another one.
        StoreMissing: there is no such collection yet.
    """
    from engine.checkpoint import find_checkpoint
    from engine.encoder import load_encoder
    from engine.passport import check_fingerprint

    store = open_named_store(settings, retry_for_s=retry_for_s)
    passport = store.spec().passport
    checkpoint = find_checkpoint(settings.model)
    check_fingerprint(passport, checkpoint)
    return Opened(store, load_encoder(checkpoint, settings.device, texts=texts))


def filter_of(where: list[str] | None, json_text: str | None) -> FilterJSON | None:
    """Join the two ways of giving a filter; every part must hold."""
    if not where and not json_text:
        return None
    from engine.filters import joined, load_filter, parse_where

    wanted = joined(parse_where(where or []), load_filter(json_text) if json_text else None)
    return wanted or {"must": []}  # which --filter '{}' says: that everything passes


def reranker_of(name: str | None) -> Reranker | None:
    """Return the re-ranker of a name. Raises: UsageError."""
    if name is None:
        return None
    from engine.rerank import Reranker

    if name not in get_args(Reranker):
        raise UsageError(f"--rerank {name!r}: choose {' or '.join(get_args(Reranker))}")
    return cast("Reranker", name)


def place_of(settings: Settings) -> str:
    """Return where a collection is, in words."""
    return settings.url or f"{settings.store} / {settings.collection}"


def ledger_path(settings: Settings) -> Path:
    """Return where the ledger of a collection lies: beside an embedded one, in the state folder for a server's."""
    if not settings.url and "://" not in settings.store:
        return Path(settings.store) / settings.collection / "ledger.sqlite"
    import hashlib
    from urllib.parse import urlsplit

    from engine.settings import state_folder

    parts = urlsplit(settings.url or settings.store)
    address = f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
    server = hashlib.sha256(address.encode()).hexdigest()[:12]
    return state_folder() / f"{server}-{settings.collection}.sqlite"
