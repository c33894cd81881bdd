"""The questions of the exam: every caption of a held-out item is one query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.records import Item


@dataclass(frozen=True, slots=True)
class Query:
    """One caption, and the item ids that answer it under three notions of relevance.

    Strict: only ``item_id``, the very photograph. ``product``: every photograph of its product. ``equal_caption``:
    every photograph with the same caption, case and spacing aside. The latter two include ``item_id``.
    """

    id: str
    text: str
    item_id: str
    product: tuple[str, ...]
    equal_caption: tuple[str, ...]


def ask(items: Iterable[Item], catalogue: Iterable[Item] | None = None) -> tuple[Query, ...]:
    """Turn the captions of ``items`` into queries, in order; an item without captions asks nothing.

    ``catalogue`` are all items that the gallery may hold, where photographs of the same product or with an equal
    caption are looked for; without it, ``items``.
    """
    items = list(items)
    by_product: dict[str, dict[str, None]] = defaultdict(dict)
    by_caption: dict[str, dict[str, None]] = defaultdict(dict)
    for item in [*items, *(catalogue or ())]:
        by_product[product_of(item)][item.id] = None
        for caption in item.captions:
            by_caption[evened(caption)][item.id] = None
    products = {key: tuple(ids) for key, ids in by_product.items()}
    captions = {key: tuple(ids) for key, ids in by_caption.items()}
    return tuple(
        Query(f"{item.id}#{number}", text, item.id, products[product_of(item)], captions[evened(text)])
        for item in items
        for number, text in enumerate(_distinct(item.captions))
    )


def count_cut(texts: Iterable[str], count_tokens: Callable[[str], int], limit: int) -> int:
    """Count the texts with more than ``limit`` tokens: the tokenizer cuts them, and the model never sees their end."""
    return sum(count_tokens(text) > limit for text in texts)


def product_of(item: Item) -> str:
    """Return the key of an item's product; an item that names none is a product of its own."""
    product = str(item.payload.get("product_id", "")).strip()
    return f"product:{product}" if product else f"photograph:{item.id}"


def evened(text: str) -> str:
    """Return a caption, or another text, with case and spacing evened out: two that agree in this are equal."""
    return " ".join(text.casefold().split())


def _distinct(captions: Sequence[str]) -> list[str]:
    kept: dict[str, str] = {}
    for caption in captions:
        if caption.strip():
            kept.setdefault(evened(caption), caption)
    return list(kept.values())
