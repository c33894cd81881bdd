"""The items of several sources, and of each where it is from: whoever learns from them need not ask the sources."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import SourceError
from engine.records import FieldKind, Item
from ingest.sources.source import Source


class Origins:
    """All ``items`` of ``sources``, in their order."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Read the items.

        Raises:
            SourceError: two of the sources give the same photograph, so that nobody knows which one describes it.
        """
        self.items: list[Item] = []
        self._sources = sources
        self._fields = [source.fields() for source in sources]
        self._numbers: dict[str, int] = {}
        for number, source in enumerate(sources):
            for item in source.items():
                if isinstance(item, Item):
                    self._add(item, number)

    def _add(self, item: Item, number: int) -> None:
        first = self._numbers.setdefault(item.uri, number)
        if first != number:
            raise SourceError(
                f"{item.uri} is given by both {self._sources[first].root} and {self._sources[number].root}: "
                "leave out one of the two, or the photograph in one of them"
            )
        self.items.append(item)

    def read(self, item: Item) -> bytes:
        """Return the bytes of an item; safe to call from several threads. Raises: ImageError."""
        return self._sources[self._numbers[item.uri]].read(item)

    def fields(self, item: Item) -> dict[str, FieldKind]:
        """Return the payload fields of the source that an item is from."""
        return self._fields[self._numbers[item.uri]]

    def product(self, item: Item) -> str:
        """Return what only photographs of one product have in common, empty where nobody says which product it is.

        Every shop counts its products by itself: those of two sources are never the same.
        """
        product = str(item.payload.get("product_id", "")).strip()
        return f"{self._numbers[item.uri]}\0{product}" if product else ""
