"""Files and folders that are there whole or not at all: written beside, then put in the place of what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write a file or a folder to, which then takes the place of ``path``.

    It does so when it is whole and on the disk; after any failure it is gone, and ``path`` is as it was. Memory maps
    must be flushed before. What is no file and no folder (a pipe, a device) is given as it is: there is nothing to
    replace.

    Raises:
        OSError: it cannot be written, or cannot take that place.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path = path.resolve()  # what a link points to is replaced, not the link
    part, old = (path.with_name(f".{os.getpid()}{word}-{path.name}") for word in ("", "-old"))
    _settle(path, part, old)  # after a process of the same number, which was killed
    try:
        yield part
        for written in (part, *part.rglob("*")):
            if written.is_file():
                _force_to_disk(written)
        if part.is_dir() and path.exists():  # a folder takes no place that is not empty
            path.rename(old)
        part.replace(path)
    finally:
        _settle(path, part, old)


def _force_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _settle(path: Path, part: Path, old: Path) -> None:
    """Remove what is left over; what was there comes back if nothing has taken its place."""
    if old.exists() and not path.exists():
        old.rename(path)
    for left in (part, old):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
