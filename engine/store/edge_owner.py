"""The owner of an embedded collection's shard: opens it at the first use, guards every write, closes it.

One process owns a shard, from the first use until `ShardOwner.close`, and one of its threads at a time uses it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import qdrant_edge as qe

from engine.errors import StoreCorrupt, StoreError
from engine.store import edge_files as files
from engine.store import edge_shard
from engine.store.edge_shard import translated
from engine.store.protocol import CollectionSpec


class ShardOwner:
    """The shard of the collection in ``folder``; see `engine.store.edge.EdgeStore` for the parameters."""

    def __init__(self, folder: Path, collection: str, wait_s: float, min_free: int, generation: str | None) -> None:
        self.path = self._home = folder / collection
        self._folder = folder
        self._collection = collection
        self._wait_s = wait_s
        self._min_free = min_free
        self._generation = generation
        self._lock = threading.RLock()
        self._open: qe.EdgeShard | None = None
        self._pid = 0
        self._spec: CollectionSpec | None = None
        self._expected = 0
        self._dirty = False
        self._served: tuple[str, str] | None = None

    @contextmanager
    def reading(self) -> Iterator[qe.EdgeShard]:
        """Give the open shard, and turn what the engine raises into our errors.

        One thread at a time, as `reconfigure` closes the shard; Edge would let no other thread run anyhow.
        """
        self._check_process()  # before the lock, which a thread of the parent may hold for ever
        with self._lock:
            shard = self._shard()
            with translated(self.path):
                yield shard

    @contextmanager
    def writing(self, needed: int) -> Iterator[qe.EdgeShard]:
        """Like `reading`, when ``needed`` bytes find room; `close` will flush."""
        with self.reading() as shard:
            files.check_space(self.path, needed, self._min_free)
            self._dirty = True
            yield shard

    def flush(self) -> None:
        """Make all writes durable, and promise their number to the next opening."""
        with self.reading() as shard:
            shard.flush()
            self.promise(int(shard.count(qe.CountRequest(exact=True))))
            self._dirty = False

    def close(self) -> None:
        """Flush what was written, and let go of the shard; the next use opens it again."""
        if self._open is None or self._pid != os.getpid():
            return
        with self._lock:
            try:
                if self._dirty:
                    self.flush()
            finally:
                shard, self._open = self._open, None
                self._spec = None
                edge_shard.close(shard, self._home)

    def announce(self, url: str, instance: str) -> None:
        """Leave word for others that this process can be asked at ``url``, as long as it has the shard open."""
        self._served = (url, instance)
        self._shard()
        files.write_owner(self._home, self._served)

    def exists(self) -> bool:
        """Say whether the collection has been created; does not open it."""
        return self._spec is not None or (self._generation or files.current_generation(self._home)) is not None

    def create(self, spec: CollectionSpec) -> None:
        """Make the first generation; a collection that exists is left as it is."""
        if not self.exists():
            name = edge_shard.make_generation(self._folder, self._collection, spec, self._min_free)
            if files.current_generation(self._home) is None:
                files.set_current(self._home, name)

    def spec(self) -> CollectionSpec:
        """Return what the collection was made with; reads one small file and takes no lock."""
        spec = self._spec
        if spec is None:
            generation = self._generation or files.current_generation(self._home)
            if generation is None:
                raise files.missing(self._folder, self._collection)
            path = self._home / generation
            spec, expected = files.read_spec(path)
            self.path, self._spec, self._expected = path, spec, expected
        return spec

    def set_spec(self, spec: CollectionSpec) -> None:
        """Write down that the collection has changed, within `writing`."""
        self._spec = spec
        files.write_spec(self.path, spec, self._expected)

    def promise(self, points: int, *, at_most: bool = False) -> None:
        """Write down how many points the next opening must find; ``at_most``: only when that is fewer than before."""
        if points < self._expected or (points > self._expected and not at_most):
            files.write_spec(self.path, self.spec(), points)
            self._expected = points

    def reconfigure(self, config: qe.EdgeConfig) -> qe.EdgeShard:
        """Open the shard again with another configuration, within `writing`; return it."""
        shard = self._shard()
        self.flush()
        self._open = None
        self._open = edge_shard.reopen(shard, self.path, self._expected, config)
        return self._open

    def opened_path(self) -> Path:
        """Return the folder of the generation in use, having opened it."""
        self._shard()
        return self.path

    def _check_process(self) -> None:
        if self._open is not None and self._pid != os.getpid():
            raise StoreError(
                f"the store {self._home} was opened before this process forked and cannot be used in the child: "
                "open it after the fork, or start processes with 'spawn'"
            )

    def _shard(self) -> qe.EdgeShard:
        self._check_process()
        if self._open is None:
            with self._lock:
                if self._open is None:
                    self._open = self._load()
        return self._open

    def _succeeded(self) -> bool:
        """Say whether another generation took the place of this one, while its owner was waited for."""
        return self._generation is None and files.current_generation(self._home) not in (None, self.path.name)

    def _load(self) -> qe.EdgeShard:
        shard = None
        while shard is None:
            self._spec = None  # another owner may have written since
            self.spec()
            try:
                shard = edge_shard.load(self.path, self._expected, self._wait_s)
            except StoreCorrupt:
                if not self._succeeded():
                    raise
            if shard is not None and self._succeeded():
                with suppress(StoreError):  # whose files are on their way out
                    edge_shard.close(shard, self._home)
                shard = None
        if self._served:
            files.write_owner(self._home, self._served)
        self._pid = os.getpid()
        return shard
