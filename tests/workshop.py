"""A small shop of photographs on a real Edge store, for the tests of ingest: change its files, run, look."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from engine.encoder import Encoder
from engine.passport import make_passport
from engine.records import FilterJSON, Item, Payload, Record, Rejected, Vector
from engine.store.edge import EdgeStore
from engine.store.protocol import CollectionSpec
from engine.store.schema import CORE_FIELDS
from ingest.ledger import Ledger
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from ingest.summary import Problem, Summary
from ingest.worker import ingest

BLOCK = 1 << 16


def copy_store(source: Path, target: Path) -> Path:
    """A store's folder again with its holes: of 324 MB that a store of 48 drawings spans, it fills far fewer."""
    return Path(shutil.copytree(source, target, copy_function=_copy_with_holes))


def _copy_with_holes(source: str, target: str) -> None:
    zeros = bytes(BLOCK)
    with Path(source).open("rb") as reading, Path(target).open("wb") as writing:
        while block := reading.read(BLOCK):
            if block == zeros[: len(block)]:
                writing.seek(len(block), os.SEEK_CUR)
            else:
                writing.write(block)
        writing.truncate()


def killed(*_: object) -> NoReturn:
    """Stand in for a step in which the process is killed."""
    raise KeyboardInterrupt


class CountingEncoder:
    """The real encoder, and how many photographs it was given."""

    parallel = True

    def __init__(self, encoder: Encoder) -> None:
        self.real = encoder
        self.checkpoint = encoder.checkpoint
        self.photographs = 0

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        return self.real.encode_texts(texts)

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        self.photographs += len(pixels)
        return self.real.encode_pixels(pixels)

    def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
        self.photographs += len(pixels)
        return self.real.encode_photographs(pixels)

    def encode_words(self, text: str) -> Vector:
        return self.real.encode_words(text)

    def count_tokens(self, text: str) -> int:
        return self.real.count_tokens(text)


class Shop:
    """A folder of photographs, a store, and what became of the last run."""

    def __init__(self, home: Path, encoder: Encoder) -> None:
        self.photos = home / "photos"
        self.photos.mkdir(parents=True, exist_ok=True)
        self.store_folder = home / "store"
        self.encoder = encoder
        self.problems: list[Problem] = []
        self.embedded = 0
        self.loaded = 0

    def ingest(
        self,
        path: Path | None = None,
        *,
        source: Source | None = None,
        prune: bool = False,
        where: FilterJSON | None = None,
        stop: threading.Event | None = None,
        on_progress: Callable[[Summary, int], None] = lambda summary, total: None,
        id_prefix: str = "",
        workers: int = 1,
        foreign: int = 0,
    ) -> Summary:
        """Ingest a source and check what must be so after every run that was not stopped.

        ``foreign``: so many points are of no entry in the ledger.
        """
        source = source or open_source(path or self.photos, id_prefix=id_prefix)
        counting = CountingEncoder(self.encoder)
        self.problems, self.loaded = [], 0

        def load() -> Encoder:
            self.loaded += 1
            return counting

        with EdgeStore(self.store_folder, "fashion") as store:
            if store.exists():
                store.add_fields(source.fields())
            else:
                fields = {**CORE_FIELDS, **source.fields()}
                heads = self.encoder.checkpoint.token_heads
                patches = heads.dimension if heads else 0
                passport = make_passport(self.encoder)
                store.create(CollectionSpec(self.encoder.checkpoint.dimension, passport, fields, patches))
            ledger = self.ledger(store)
            try:
                summary = ingest(
                    *(source, store, ledger, load),
                    workers=workers,
                    prune=prune,
                    where=where,
                    stop=stop,
                    on_problem=self.problems.append,
                    on_progress=on_progress,
                )
                promised = sum(entry.state != "quarantined" for entry in ledger.entries())
                count = store.count()
            finally:
                ledger.close()
        assert sum(summary.states.values()) == summary.found
        assert len(self.problems) == summary.quarantined + summary.excluded
        assert count == promised + foreign
        self.embedded = counting.photographs
        return summary

    def ledger(self, store: EdgeStore) -> Ledger:
        return Ledger(self.store_folder / "fashion" / "ledger.sqlite", store.spec().passport["collection_id"])

    def points(self) -> dict[str, Record]:
        """Return everything in the store by item id, and check that twins make sense."""
        with EdgeStore(self.store_folder, "fashion") as store:
            records, rest = store.scroll(limit=100_000, vectors=True)
        assert rest is None
        return {str((record.payload or {})["item_id"]): record for record in records}

    def payloads(self) -> dict[str, Payload]:
        return {item_id: record.payload or {} for item_id, record in self.points().items()}


Captions = tuple[str, ...]


class Retold:
    """The photographs of another source, their captions said otherwise."""

    def __init__(self, source: Source, otherwise: Callable[[Captions], Captions]) -> None:
        self._otherwise = otherwise
        self.kind, self.root, self.description = source.kind, source.root, source.description
        self.fields, self.read, self._items = source.fields, source.read, source.items

    def items(self) -> Iterator[Item | Rejected]:
        for item in self._items():
            if isinstance(item, Item):
                yield replace(item, captions=self._otherwise(item.captions))


def loud(captions: Captions) -> Captions:
    """Return the captions in capitals: to a tokenizer they are the same."""
    return tuple(caption.upper() for caption in captions)


def paint(path: Path, seed: int, *, colour: tuple[int, int, int] | None = None, size: int = 96, **save: Any) -> None:
    """Save a picture of blocks that no other seed resembles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    if colour is not None:
        blocks = np.where(blocks[..., :1] > 127, np.array(colour), 245).astype(np.uint8)
    image = Image.fromarray(blocks).resize((size * 5 // 6, size), Image.Resampling.BICUBIC)
    image.save(path, **save)


def vectors_of(points: dict[str, Record]) -> dict[str, Vector]:
    return {item_id: record.vector for item_id, record in points.items() if record.vector is not None}


@contextmanager
def over_http(app: ASGIApp) -> Iterator[str]:
    """Serve ``app`` on a port of its own; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:  # who calls too early waits in its queue
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def command(*arguments: object) -> list[str]:
    """Return the command line of the real program."""
    return [sys.executable, "-m", "engine.cli.main", *map(str, arguments)]


def environment(state: Path) -> dict[str, str]:
    """Return an environment for it that holds none of the user's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QDRANT_", "ENGINE_"))}
    return {**kept, "PYTHONPATH": str(Path(__file__).parent.parent), "XDG_STATE_HOME": str(state)}
