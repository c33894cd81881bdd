"""What every reader of `ingest.sources` offers: Items in a stable order, and the bytes of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from engine.records import FieldKind, Item, Rejected


class Source(Protocol):
    """A place with photographs, opened by `ingest.sources.detect.open_source`."""

    kind: str
    """The word for ``--source``: ``deepfashion``, ``table``, ``folder`` or ``tar``."""
    root: Path
    description: str
    """One line for a person: what was recognised, and by what."""

    def fields(self) -> dict[str, FieldKind]:
        """Return name and kind of every payload field that items() can yield, so that indexes can precede data."""

    def items(self) -> Iterator[Item | Rejected]:
        """Stream the items in the same order every time, and what is no item with the reason; nothing is skipped."""

    def read(self, item: Item) -> bytes:
        """Return the bytes of an item's file; safe to call from several threads. Raises: ImageError."""


def archive_and_member(uri: str) -> tuple[str, str] | None:
    """Part a uri ``archive.tar!member``; None where there is no such archive. Both may have further ``!`` in them."""
    at = uri.find("!")
    while at > 0:
        if os.path.isfile(uri[:at]):  # noqa: PTH113 - asked for every photograph
            return uri[:at], uri[at + 1 :]
        at = uri.find("!", at + 1)
    return None
