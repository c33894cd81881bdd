"""What became of every file, kept on disk: so that nothing is embedded twice, and nothing is lost silently."""

from __future__ import annotations

import hashlib
import marshal
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from engine.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from engine.records import Item
from ingest.perceptual import Look

State = Literal["indexed", "duplicate", "quarantined"]

VERSION = 2
"""Of the table below. A ledger of another version is begun anew: it only costs embedding again."""

# The rows stay in the order in which they were committed, which is the order of the source.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    item_id TEXT PRIMARY KEY, uri TEXT NOT NULL, root TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, facts BLOB NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, sha256 TEXT NOT NULL,
    twin TEXT NOT NULL, twin_sha256 TEXT NOT NULL, bits TEXT NOT NULL, cells BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "item_id, uri, root, size_bytes, mtime_ns, facts, state, reason, sha256, twin, twin_sha256, NULL"


class Entry(NamedTuple):
    """One line of the ledger; a tuple, as all of them are read whenever the program starts.

    ``facts`` is a digest of the item's metadata. ``twin`` is the item that this one duplicates or nearly duplicates,
    and ``twin_sha256`` the bytes that it had then. ``look`` is None where it is not known or was not asked for.
    """

    item_id: str
    uri: str
    root: str
    size_bytes: int
    mtime_ns: int
    facts: bytes
    state: State
    reason: str = ""
    sha256: str = ""
    twin: str = ""
    twin_sha256: str = ""
    look: Look | None = None

    def is_current(self, item: Item) -> bool:
        """Whether the item is in the store already, with this very file and these very metadata."""
        return (
            self.mtime_ns == item.mtime_ns
            and self.size_bytes == item.size_bytes
            and self.state != "quarantined"
            and self.uri == item.uri
            and self.facts == facts_of(item)
        )


def facts_of(item: Item) -> bytes:
    """Return a digest of all that the source says about an item, to notice when it says something else."""
    # Version 2 of marshal depends on values alone; later ones also on which strings happen to be interned.
    return hashlib.blake2b(marshal.dumps((item.payload, item.captions), 2), digest_size=12).digest()


class Ledger:
    """A SQLite file beside the collection; written only after the store has acknowledged the points.

    So a process killed between the two embeds a batch again, which changes nothing: point ids are deterministic.
    """

    def __init__(self, path: Path, collection_id: str) -> None:
        """Open or create the ledger of a collection; that of another, replaced one is emptied.

        Raises:
            StoreError: it is damaged or locked, or there is no room or right to write it.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
        with self._translated():
            self._db = sqlite3.connect(path)
            try:
                self._prepare(collection_id)
            except sqlite3.Error:
                self._db.close()
                raise

    def _prepare(self, collection_id: str) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            self._db.execute("DROP TABLE IF EXISTS files")
            self._db.execute(f"PRAGMA user_version={VERSION}")
        self._db.executescript(_SCHEMA)
        row = self._db.execute("SELECT value FROM about WHERE key = 'collection_id'").fetchone()
        if row is None or row[0] != collection_id:
            with self._db:
                self._db.execute("DELETE FROM files")
                self._db.execute("INSERT OR REPLACE INTO about VALUES ('collection_id', ?)", (collection_id,))

        self.id = self._own_id()

    def _own_id(self) -> str:
        """Return what tells this ledger from all others, made when it is asked for the first time."""
        row = self._db.execute("SELECT value FROM about WHERE key = 'id'").fetchone()
        if row is None:
            row = (uuid.uuid4().hex,)
            with self._db:
                self._db.execute("INSERT INTO about VALUES ('id', ?)", row)
        return str(row[0])

    def entries(self) -> list[Entry]:
        """Return every entry without its look, in the order in which they were committed."""
        with self._translated():
            return list(map(Entry._make, self._db.execute(f"SELECT {_COLUMNS} FROM files ORDER BY rowid")))

    def looks(self) -> Iterator[tuple[str, Look]]:
        """Yield item id and look of every photograph in the store, in the order in which they were committed."""
        with self._translated():
            for item_id, bits, cells in self._db.execute(
                "SELECT item_id, bits, cells FROM files WHERE bits != '' ORDER BY rowid"
            ):
                yield item_id, Look(int(bits, 16), cells)

    def write(self, entries: Iterable[Entry]) -> None:
        """Add or replace entries, all or none."""
        rows = [_row(entry) for entry in entries]
        with self._translated(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            if rows:
                self._set_optimized(False)

    def remove(self, item_ids: Iterable[str]) -> None:
        """Forget entries."""
        with self._translated(), self._db:
            self._db.executemany("DELETE FROM files WHERE item_id = ?", [(item_id,) for item_id in item_ids])
            self._set_optimized(False)

    @property
    def optimized(self) -> bool:
        """Whether the store has been optimized since entries were last written, by this run or one before."""
        with self._translated():
            row = self._db.execute("SELECT value FROM about WHERE key = 'optimized'").fetchone()
        return row is None or row[0] == "yes"

    @optimized.setter
    def optimized(self, value: bool) -> None:
        with self._translated(), self._db:
            self._set_optimized(value)

    def _set_optimized(self, value: bool) -> None:
        self._db.execute("INSERT OR REPLACE INTO about VALUES ('optimized', ?)", ("yes" if value else "no",))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what SQLite raises into our errors."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise StoreFull(f"no room for the ledger {self._path}: make room and run the command again") from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreLocked(f"the ledger {self._path} is in use by another process: wait for its end") from error
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise StoreError(f"the ledger {self._path} cannot be written: {error}") from error
            raise StoreCorrupt(
                f"the ledger {self._path} is damaged ({error}): delete it and run engine ingest again, "
                "which embeds everything anew"
            ) from error


def _row(entry: Entry) -> tuple[Any, ...]:
    look = entry.look
    return (*entry[:-1], look.hex if look else "", look.cells if look else b"")


def copy_ledger(source: Path, target: Path, collection_id: str) -> None:
    """Let ``target`` be the ledger of a collection, ``collection_id``, that is now the same as the one of ``source``.

    Without a ``source`` nobody knows its files: whatever the target's ledger said is then no longer true.

    Raises:
        StoreError: one of them cannot be read or written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not source.exists():
            target.unlink(missing_ok=True)
            return
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)
            with other:
                other.execute("UPDATE about SET value = ? WHERE key = 'collection_id'", (collection_id,))
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"the collection is copied, but not its ledger {source} ({error}): delete {target} and ingest again"
        ) from error
