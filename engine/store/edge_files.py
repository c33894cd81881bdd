"""The files around an embedded collection.

<folder>/<collection>/CURRENT            the name of the generation that is read and written, replaced atomically
<folder>/<collection>/owner.json         who has it open: pid, command, since, home, served
<folder>/<collection>/<generation>/      Qdrant Edge's shard, and beside its files
<folder>/<collection>/<generation>/collection.json    the spec, and how many points there are at least
<folder>/<collection>/<generation>/lock               flocked by whoever has it open (`engine.store.edge_shard`)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from engine.errors import StoreCorrupt, StoreError, StoreFull, StoreMissing
from engine.records import FieldKind
from engine.replacing import replacing
from engine.store.protocol import CollectionSpec
from engine.store.schema import SCHEMA_VERSION

MIN_FREE_BYTES = 256 * 2**20
"""A full disk kills the process that maps its files (SIGBUS): so much room must be left after every write."""

SPEC_FILE = "collection.json"
CURRENT_FILE = "CURRENT"
OWNER_FILE = "owner.json"


def current_generation(home: Path) -> str | None:
    """Return the generation in use of the collection in ``home``, None when there is none yet.

    Raises:
        StoreCorrupt: CURRENT names a generation that is not there.
    """
    try:
        name = (home / CURRENT_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"cannot read {home / CURRENT_FILE}: {error}; {rebuild(home)}") from error
    if not name or Path(name).name != name or not (home / name).is_dir():
        raise StoreCorrupt(f"{home / CURRENT_FILE} names the generation {name!r}, which is missing; {rebuild(home)}")
    return name


def set_current(home: Path, generation: str) -> None:
    """Make a generation the one in use, in one step."""
    replace_file(home / CURRENT_FILE, generation + "\n")


def has_graph(path: Path) -> bool:
    """Say whether the shard of a generation is configured to be searched by a graph."""
    try:
        config = json.loads((path / "edge_config.json").read_text(encoding="utf-8"))
        return int(config["hnsw_config"]["m"]) > 0
    except (OSError, ValueError, KeyError, TypeError):
        return False


def generations(home: Path) -> list[str]:
    """Return the finished generations of a collection, oldest first."""
    found = [path.parent.name for path in home.glob(f"*/{SPEC_FILE}") if path.parent.name.isdecimal()]
    return sorted(found, key=int)


def remove(home: Path) -> None:
    """Delete a collection, in such an order that it is gone before its first file is."""
    (home / CURRENT_FILE).unlink(missing_ok=True)
    for generation in generations(home):
        shutil.rmtree(home / generation)


def missing(folder: Path, collection: str) -> StoreMissing:
    """Return the error that names a missing collection and the ones there are."""
    there = sorted(path.parent.name for path in folder.glob(f"*/{CURRENT_FILE}"))
    others = f"there is: {', '.join(there)}" if there else "there is none yet"
    return StoreMissing(f"no collection {collection!r} in {folder} ({others}); make it with 'engine ingest'")


def write_spec(path: Path, spec: CollectionSpec, points: int) -> None:
    """Write collection.json; ``points`` must never be more than the shard holds."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "dimension": spec.dimension,
        "patches": spec.patches,
        "points": points,
        "fields": dict(spec.fields),
        "passport": dict(spec.passport),
    }
    replace_file(path / SPEC_FILE, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def read_spec(path: Path) -> tuple[CollectionSpec, int]:
    """Return what a generation was made with, and how many points it must hold at least.

    Raises:
        StoreCorrupt: collection.json is damaged or missing.
        StoreError: a newer version of this program wrote it.
    """
    file = path / SPEC_FILE
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = content["schema_version"]
        kinds: dict[str, FieldKind] = content["fields"]
        if not set(kinds.values()) <= set(get_args(FieldKind)):
            raise ValueError("unknown kinds of fields")
        spec = CollectionSpec(
            int(content["dimension"]), dict(content["passport"]), dict(kinds), int(content.get("patches", 0))
        )
        points = int(content["points"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(f"cannot read {file}: {error!r}; {rebuild(path.parent)}") from error
    if version != SCHEMA_VERSION:
        raise StoreError(f"{file} has the schema version {version}, this program {SCHEMA_VERSION}: update the older")
    return spec, points


def write_owner(home: Path, served: tuple[str, str] | None = None) -> None:
    """Leave word of who has the collection open, and where it can be asked; arguments may hold secrets: left out.

    ``served``: the URL, and what that server calls itself, lest another one is taken for it later.
    """
    words = [Path(sys.argv[0]).name or "python", *sys.argv[1:2]]
    command = " ".join(word for word in words if not word.startswith("-"))
    since = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"pid": os.getpid(), "command": command, "since": since, "home": str(home.resolve()), "served": served}
    replace_file(home / OWNER_FILE, json.dumps(told))


def owner(home: Path) -> str:
    """Describe the process that has the collection open, as far as it left word."""
    try:
        known = json.loads((home / OWNER_FILE).read_text(encoding="utf-8"))
        return f"pid {known['pid']} ({known['command']}, since {known['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def served_word(home: Path) -> tuple[str, str] | None:
    """Return where the process that has the collection open can be asked, and what it calls itself there.

    None if it left no such word, or in a copied folder.
    """
    try:
        known = json.loads((home / OWNER_FILE).read_text(encoding="utf-8"))
        url, instance = (str(part) for part in known["served"])
        return (url, instance) if known["home"] == str(home.resolve()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_owner(home: Path) -> None:
    """Take back `write_owner`."""
    (home / OWNER_FILE).unlink(missing_ok=True)


def check_space(path: Path, needed: int, min_free: int) -> None:
    """Let a write pass only when it leaves ``min_free`` bytes on the disk.

    Raises:
        StoreFull: there is too little room.
    """
    free = shutil.disk_usage(path).free
    if free < needed + min_free:
        raise StoreFull(
            f"too little room on the disk of {path}: {free // 2**20} MiB are free, "
            f"{(needed + min_free) // 2**20 + 1} MiB are needed; make room and run the same command again"
        )


def disk_bytes(path: Path) -> int:
    """Return the bytes that a folder really takes; Edge's files are sparse."""
    total = 0
    for file in path.rglob("*"):
        try:
            status = file.stat()
        except FileNotFoundError:  # the engine may drop a segment meanwhile
            continue
        total += getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
    return total


def rebuild(home: Path) -> str:
    """Say how to recover: everything in the store can be made again from the photographs."""
    return f"delete the folder {home} and run 'engine ingest' again"


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and nothing between."""
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
