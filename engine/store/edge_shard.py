"""The shard under an embedded collection: made whole, opened by one owner, verified, and safe from forks."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as qe

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from engine.errors import EngineError, FilterError, StoreCorrupt, StoreError, StoreFull, StoreLocked
from engine.store import edge_files as files
from engine.store.edge_convert import edge_config, field_index
from engine.store.protocol import CollectionSpec
from engine.store.schema import with_core_fields

LOCK_FILE = "lock"
_open_shards: dict[int, tuple[qe.EdgeShard, int]] = {}
"""With the descriptor of the lock that each is owned by."""


def load(path: Path, expected: int, wait_s: float) -> qe.EdgeShard:
    """Open the shard of a generation, waiting up to ``wait_s`` for another owner, and look whether it is whole.

    Raises:
        StoreLocked: another process has it open; the message names it.
        StoreCorrupt: files are damaged, or fewer than ``expected`` points are left.
    """
    home, deadline = path.parent, time.monotonic() + wait_s
    while True:
        try:
            lock = _lock(path)
            with _owned_if_it_succeeds(lock):
                return _load(path, expected, lock, None)
        except StoreLocked:
            left = deadline - time.monotonic()
            if left <= 0:
                raise StoreLocked(
                    f"{home} is in use by {files.owner(home)}: one process at a time can have it open; "
                    "ask that one, or wait for it to end"
                ) from None
            time.sleep(min(0.1, left))


def reopen(shard: qe.EdgeShard, path: Path, expected: int, config: qe.EdgeConfig) -> qe.EdgeShard:
    """Open a shard that has been flushed with a new configuration, by which its next `optimize` goes.

    It stays owned meanwhile. Raises: as `load`.
    """
    _, lock = _open_shards.pop(id(shard))
    with _owned_if_it_succeeds(lock):
        with translated(path.parent):
            shard.close()
        return _load(path, expected, lock, config)


def _load(path: Path, expected: int, lock: int, config: qe.EdgeConfig | None) -> qe.EdgeShard:
    with translated(path, opening=True):
        shard = qe.EdgeShard.load(str(path), config)
    try:
        _verify(shard, path, expected)
        files.write_owner(path.parent)
    except EngineError:
        shard.close()
        raise
    _open_shards[id(shard)] = shard, lock
    return shard


def close(shard: qe.EdgeShard, home: Path) -> None:
    """Let go of a shard that has been flushed."""
    files.forget_owner(home)
    _, lock = _open_shards.pop(id(shard))
    try:
        with translated(home):
            shard.close()
    finally:
        _unlock(lock)


def _lock(path: Path) -> int:
    """Return a descriptor by which this process owns a shard.

    Edge has a lock of its own, but its `load` changes files of the shard before it finds that another process has it
    open, who then can no longer write. Where there is no flock (Windows), that lock is all there is.

    Raises:
        StoreLocked: another process owns it.
    """
    with translated(path, opening=True):
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    if fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreLocked(f"{path} is in use by another process") from error
    return lock


@contextmanager
def _owned_if_it_succeeds(lock: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _unlock(lock)
        raise


def _unlock(lock: int) -> None:
    if fcntl is not None:
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough while a forked process has it too
    os.close(lock)


def _verify(shard: qe.EdgeShard, path: Path, expected: int) -> None:
    """Edge loads a shard with lost segments as an empty one, and lost payloads as empty: look for ourselves."""
    with translated(path, opening=True):
        points = int(shard.count(qe.CountRequest(exact=True)))
        sample, _ = shard.scroll(qe.ScrollRequest(limit=1, with_payload=["item_id"], with_vector=False))
    again = files.rebuild(path.parent)
    if points < expected:
        raise StoreCorrupt(f"{path} holds {points} points instead of {expected}: it is damaged; {again}")
    if sample and not sample[0].payload:
        raise StoreCorrupt(f"{path} has lost the payloads of its points: it is damaged; {again}")


def make_generation(folder: Path, collection: str, spec: CollectionSpec, min_free: int) -> str:
    """Build an empty shard with its indexes under a hidden name, and let it appear finished or not at all."""
    spec = with_core_fields(spec)
    home = folder / collection
    part = home / f".new-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {home}: {error.strerror or error}") from error
    try:
        files.check_space(home, 64 * 2**20, min_free)
        with translated(part):
            shard = qe.EdgeShard.create(str(part), edge_config(spec.dimension, spec.patches))
            for name, kind in spec.fields.items():
                shard.update(qe.UpdateOperation.create_field_index(name, field_index(kind)))
            shard.flush()
            shard.close()
        files.write_spec(part, spec, 0)
        name = str(max(map(int, files.generations(home)), default=0) + 1)
        part.rename(home / name)
    except OSError:
        # Another process has made the same generation meanwhile: theirs is as good.
        if files.current_generation(home) is None:
            raise
        name = str(files.current_generation(home))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return name


@contextmanager
def translated(path: Path, *, opening: bool = False) -> Iterator[None]:
    """Turn what the engine raises into our errors: it has but one class, so that only the words tell them apart."""
    try:
        yield
    except EngineError:
        raise
    except BaseException as error:
        panicked = type(error).__name__ == "PanicException"  # a panic in Rust is no Exception in Python
        if not panicked and not isinstance(error, Exception):
            raise
        text = " ".join(str(error).split())[:300]
        if "WouldBlock" in text:
            raise StoreLocked(f"{path} is in use by another process") from error
        if "No space left" in text or "StorageFull" in text:
            raise StoreFull(f"no room left on the disk of {path}: make room and run the same command again") from error
        if "Read-only file system" in text or "Permission denied" in text:
            raise StoreError(f"cannot write to {path}, which even reading needs: {text}") from error
        if opening or panicked or any(word in text.lower() for word in ("not readable", "decode", "corrupt")):
            raise StoreCorrupt(f"{path} is damaged ({text}); {files.rebuild(path.parent)}") from error
        if "faceting" in text:
            raise FilterError(f"cannot count values: {text}") from error
        raise StoreError(f"the store {path} refused: {text}") from error


def _leave_to_parent() -> None:
    """After a fork, never let go of the shards in the child.

    The engine's threads did not come along, so that any call would wait for them for ever; `EdgeStore` raises before
    that. But letting go of a shard flushes it, into files that are the parent's: so one reference is leaked, which
    outlives even the interpreter.
    """
    for shard, lock in _open_shards.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(shard))
        os.close(lock)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
