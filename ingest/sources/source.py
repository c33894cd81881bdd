"""What every reader of `ingest.sources` offers: Items in a stable order, and the bytes of each."""

from __future__ import annotations

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
