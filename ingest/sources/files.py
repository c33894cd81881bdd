"""Files and folders as the readers see them: walked in a stable order, with a reason for whatever is no photograph."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import ImageError
from engine.records import Item, Rejected, shown
from ingest.sniff import IMAGE_SUFFIXES

_SUFFIXES = frozenset(IMAGE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder: its files by name, sorted, and what in it can be no photograph.

    ``prefix`` is the folder's path below the root, in posix form with a slash at its end; "" for the root.
    """

    prefix: str
    files: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


def walk(root: Path, *, deep: bool = True) -> Iterator[Listing]:
    """Yield ``root`` and, if ``deep``, every folder below it, each once, in a stable order; links that loop end."""
    visited: set[tuple[int, int]] = set()
    waiting = [(str(root.absolute()), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            stat = os.stat(folder)  # noqa: PTH116 - strings here: a Path for each file would cost more than its stat
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=_name)
        except OSError as error:
            yield Listing(
                prefix, rejected=[Rejected(shown(folder), "quarantined", f"unreadable folder: {why(error)}")]
            )
            continue
        if (stat.st_dev, stat.st_ino) in visited:
            yield Listing(prefix, rejected=[Rejected(folder, "excluded", "the same folder again, through a link")])
            continue
        visited.add((stat.st_dev, stat.st_ino))
        listing = Listing(prefix)
        folders: list[tuple[str, str]] = []
        for entry in entries:
            if (flaw := _flaw(entry, deep)) is not None:
                listing.rejected.append(flaw)
            elif entry.is_dir():
                folders.append((entry.path, f"{prefix}{entry.name}/"))
            else:
                listing.files[entry.name] = entry
        yield listing
        waiting.extend(reversed(folders))


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _flaw(entry: os.DirEntry[str], deep: bool) -> Rejected | None:
    """Say why an entry is neither a file nor a folder to be looked into."""
    name = entry.name
    if not name.isascii() and shown(name) != name:
        return Rejected(shown(entry.path), "quarantined", "its name is no valid UTF-8: rename it")
    if name[0] == ".":
        return Rejected(entry.path, "excluded", "hidden")
    try:
        if entry.is_file() or (deep and entry.is_dir()):
            return None
        if entry.is_dir():
            return Rejected(entry.path, "excluded", "a folder, where only files are looked at")
    except OSError as error:
        return Rejected(entry.path, "quarantined", f"unreadable: {why(error)}")
    if entry.is_symlink():
        return Rejected(entry.path, "quarantined" if is_photograph(name) else "excluded", "a link that leads nowhere")
    return Rejected(entry.path, "excluded", "no regular file")


def is_photograph(name: str) -> bool:
    """Say whether a file's suffix is one of an image format."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and dot + suffix.lower() in _SUFFIXES


def no_photograph(uri: str) -> Rejected:
    """Exclude a file by its suffix."""
    stem, dot, suffix = uri.rpartition("/")[2].rpartition(".")
    return Rejected(
        uri, "excluded", f"not a photograph (.{suffix})" if stem and dot else "not a photograph (no suffix)"
    )


def counted(count: int, noun: str) -> str:
    """Return a number and what it counts: ``1 row``, ``41,286 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def why(error: OSError) -> str:
    """Return the operating system's reason, in small letters; a library's own where it has none."""
    return (error.strerror or " ".join(str(error).split())[:200] or type(error).__name__).lower()


def parse_json(data: str | bytes) -> Any:  # noqa: ANN401
    r"""Return what JSON says, half characters (``\ud83d`` alone, of a text that was cut) as question marks.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    found = json.loads(data)
    if (r"\ud" if isinstance(data, str) else rb"\ud") in data.lower():  # type: ignore[operator]
        return json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    return found


def read_file(item: Item) -> bytes:
    """Return the bytes of an item whose uri is a path. Raises: ImageError."""
    try:
        return Path(item.uri).read_bytes()
    except OSError as error:
        raise ImageError(f"unreadable: {why(error)}") from error
