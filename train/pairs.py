"""Photographs and the texts that describe them, ready for a training step."""

from __future__ import annotations

import hashlib
import math
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.checkpoint import Checkpoint, Preprocessing
from engine.errors import ImageError, SourceError
from engine.records import FieldKind, Item
from eval.captions import evened
from eval.split import PARTS, Part, split, split_of
from ingest.decode import decode, kinds
from ingest.sources.source import Source
from train.kept import kept_array
from train.origins import Origins
from train.recipe import DataRecipe

CHUNK = 1024
"""So many photographs are decoded, on all cores, before they are written."""
MAX_DISTINCT_VALUES = 200
"""A field with more values than this names things (ids, brands) rather than describing what is to be seen."""
NOT_ATTRIBUTES = {"product_id", "variant", "view"}


@dataclass(frozen=True)
class Pairs:
    """Decoded photographs with their texts; index i means the same item everywhere.

    ``pixels``: uint8 (n, height, width, 3), a memory map. ``attributes``: bool (n, v), which of the v attribute values
    each item has; ``words`` names the v values, and ``fields`` the field of each. ``keys``: equal for items that one
    caption describes equally well, by what is said of them; ``products``: equal for photographs of one product, and of
    no two items where nobody says. ``domains``: int (n,), equal for items whose sources have the same attributes: of
    others it is not known whether an attribute is theirs.
    """

    items: Sequence[Item]
    pixels: npt.NDArray[np.uint8]
    attributes: npt.NDArray[np.bool_]
    words: Sequence[str]
    fields: Sequence[str]
    keys: Sequence[str]
    products: Sequence[str]
    domains: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    def digest(self) -> str:
        """Return what tells these photographs, and what is said of them, from others, wherever their files lie."""
        digest = hashlib.sha256()
        for item in self.items:
            said = (item.id, item.size_bytes, item.captions, sorted(item.payload.items()))
            digest.update(f"{said!r}\n".encode())
        return digest.hexdigest()

    def first_captions(self) -> list[str]:
        """Return a caption for each item; one that has none is said by all of its attribute values."""
        return [
            item.captions[0] if item.captions else self.attribute_text(np.flatnonzero(has).tolist())
            for item, has in zip(self.items, self.attributes, strict=True)
        ]

    def sample(self, count: int) -> npt.NDArray[np.int64]:
        """Return the numbers of at most ``count`` items, evenly spread."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64)

    def corpus(self) -> Iterator[str]:
        """Yield all captions and attribute values, for a tokenizer to learn from."""
        for item in self.items:
            yield from item.captions
        yield from self.words

    @property
    def captioned(self) -> npt.NDArray[np.bool_]:
        """Which items have a caption of their own, bool (n,)."""
        return np.array([bool(item.captions) for item in self.items], dtype=bool)

    def title(self, index: int, rng: random.Random, word_dropout: float, *, whole: bool = False) -> str:
        """Return one of the item's captions: sentences sampled from a long one, words dropped from a short one.

        ``whole`` leaves it as it is. An item without captions is said by all of its attribute values.
        """
        captions = self.items[index].captions
        if not captions:
            return self.attribute_text(np.flatnonzero(self.attributes[index]).tolist())
        caption = rng.choice(captions)
        if whole:
            return caption
        sentences = re.split(r"(?<=[.!?])\s+", caption.strip())
        if len(sentences) > 1:
            kept = rng.sample(sentences, rng.randint(1, len(sentences)))
            return " ".join(kept)
        words = caption.split()
        kept = [word for word in words if rng.random() >= word_dropout]
        return " ".join(kept or words)

    def some_attributes(self, index: int, rng: random.Random) -> list[int]:
        """Return a random selection, in random order, of the attribute values that the item has."""
        present = np.flatnonzero(self.attributes[index]).tolist()
        return rng.sample(present, rng.randint(min(2, len(present)), len(present)))

    def attribute_text(self, values: Sequence[int]) -> str:
        """Return attribute values as the words that a shopper would type: ``blue casual shirts men``."""
        return " ".join(dict.fromkeys(self.words[value] for value in values)) or "fashion"


def gather_pairs(
    sources: Sequence[Source], data: DataRecipe, preprocessing: Preprocessing, cache: Path
) -> tuple[Pairs, Pairs]:
    """Return the training part and the validation part of ``sources``, decoded into ``cache``.

    Raises:
        SourceError: as `build_pairs`; or two of the sources give the same photograph, or a part has none.
    """
    origins = Origins(sources)
    parts = [_items_of(part, origins.items, data) for part in PARTS[:2]]
    learning, validation = (build_pairs(items, origins, preprocessing, cache) for items in parts)
    return learning, validation


def _items_of(part: Part, items: Sequence[Item], data: DataRecipe) -> list[Item]:
    chosen = list(split(items, part, data.split_seed, data.train_share))
    if not chosen:
        raise SourceError(
            f"none of {len(items)} photographs falls into the {part} part of the split, which goes by product or "
            f"title (train_share {data.train_share:g}, split_seed {data.split_seed}): give more --data, or another "
            "train_share or split_seed in the recipe"
        )
    return chosen


def learnt_pairs(sources: Sequence[Source], base: Checkpoint, cache: Path | None = None) -> Pairs:
    """Return the part of ``sources`` that ``base`` was trained with: decoded into ``cache``, or without pixels.

    Raises:
        SourceError: two of the sources give the same photograph; or as `build_pairs`, where they are decoded.
    """
    share, seed = split_of(base)
    origins = Origins(sources)
    items = list(split(origins.items, "train", seed, share))
    if cache is None:
        return describe(items, np.zeros((len(items), 0, 0, 3), dtype=np.uint8), origins)
    return build_pairs(items, origins, base.preprocessing, cache)


def build_pairs(items: Sequence[Item], origins: Origins, preprocessing: Preprocessing, cache: Path) -> Pairs:
    """Decode every item of some ``origins`` once into a memory map under ``cache``, and gather its texts.

    Raises:
        SourceError: not one photograph could be decoded, or there is no room for them.
    """
    usable, pixels = _cached_pixels(items, origins.read, preprocessing, cache)
    return describe(usable, pixels, origins)


def pixel_digest(items: Sequence[Item], preprocessing: Preprocessing) -> str:
    """Return 16 letters that tell the pixels of these photographs, so seen, from all others: to name a cache by.

    What cannot be decoded is left out, so they differ too when a format more can be decoded.
    """
    digest = hashlib.sha256(f"{preprocessing!r}{preprocessing.resized or ''}{kinds()}".encode())
    for item in items:
        digest.update(f"{item.uri}\0{item.size_bytes}\0{item.mtime_ns}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def describe(items: Sequence[Item], pixels: npt.NDArray[np.uint8], origins: Origins) -> Pairs:
    """Gather what describes ``items`` of some ``origins``, whose photographs are ``pixels``."""
    own = [frozenset(_attribute_fields(origins.fields(item))) for item in items]
    attributes, words, fields = _attributes(items, sorted(frozenset().union(*own)))
    numbers = {names: number for number, names in enumerate(dict.fromkeys(own))}
    domains = np.array([numbers[names] for names in own], dtype=np.int64)
    keys = [_key(item, has) for item, has in zip(items, attributes, strict=True)]
    products = [origins.product(item) or f"\0{row}" for row, item in enumerate(items)]
    return Pairs(items, pixels, attributes, words, fields, keys, products, domains)


def _cached_pixels(
    items: Sequence[Item], read: Callable[[Item], bytes], preprocessing: Preprocessing, cache: Path
) -> tuple[list[Item], npt.NDArray[np.uint8]]:
    digest = pixel_digest(items, preprocessing)
    path, shape = cache / f"{digest}.u8", (preprocessing.height, preprocessing.width, 3)

    def decoded(item: Item) -> bytes:
        try:
            return preprocessing.pixels(decode(read(item), target=preprocessing.shorter_side)).tobytes()
        except ImageError:
            return b""

    def decode_all() -> npt.NDArray[np.bool_]:
        path.unlink(missing_ok=True)  # what a killed run left takes room
        _check_room(cache, len(items) * math.prod(shape))
        good = np.zeros(len(items), dtype=bool)
        with path.open("wb") as file, ThreadPoolExecutor() as pool:  # in place: `is_all` tells whether it is whole
            for start in range(0, len(items), CHUNK):
                for index, one in enumerate(pool.map(decoded, items[start : start + CHUNK]), start):
                    file.write(one)
                    good[index] = bool(one)
        return good

    def is_all(good: npt.NDArray[np.bool_]) -> bool:
        return path.exists() and path.stat().st_size == np.count_nonzero(good) * math.prod(shape)

    good = kept_array(cache / f"{digest}.npy", decode_all, is_all)
    if not good.any():
        raise SourceError(
            f"not one of {len(items)} photographs of a part could be decoded: "
            "check --data, give more, or lower train_share in the recipe"
        )
    usable = [item for item, keep in zip(items, good.tolist(), strict=True) if keep]
    return usable, np.memmap(path, dtype=np.uint8, mode="r", shape=(len(usable), *shape))


def _check_room(cache: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(cache).free
    if size_bytes > free:
        raise SourceError(
            f"the decoded photographs need {size_bytes / 1e9:.1f} GB, and {cache} has {free / 1e9:.1f}: "
            "make room, or give another --out"
        )


def _attribute_fields(fields: dict[str, FieldKind]) -> list[str]:
    return [key for key, kind in fields.items() if kind in ("keyword", "bool") and key not in NOT_ATTRIBUTES]


def _attributes(
    items: Sequence[Item], candidates: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], list[str], list[str]]:
    seen = {key: Counter(value for item in items for value in _values(item, key)) for key in candidates}
    columns = {
        (key, value): word
        for key, counts in seen.items()
        if len(counts) <= MAX_DISTINCT_VALUES
        for value, count in sorted(counts.items())
        if count > 1 and (word := _word(key, value))
    }
    position = {column: index for index, column in enumerate(columns)}
    table = np.zeros((len(items), len(columns)), dtype=bool)
    for row, item in enumerate(items):
        for key in candidates:
            for value in _values(item, key):
                if (column := position.get((key, value))) is not None:
                    table[row, column] = True
    return table, list(columns.values()), [key for key, _ in columns]


def _values(item: Item, key: str) -> list[str]:
    value = item.payload.get(key)
    if value is None:
        return []
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def _word(key: str, value: str) -> str:
    if value == "True":
        return key.replace("_", " ")
    if value == "False":
        return ""
    part = key.partition("_")[0] if key.endswith(("_fabric", "_pattern")) else ""
    if key.endswith("_length"):
        return f"{value} {key.removesuffix('_length')}".lower()
    return f"{part} {value}".strip().lower()


def _key(item: Item, has: npt.NDArray[np.bool_]) -> str:
    return evened(" ".join(item.captions)) or f"attributes {np.flatnonzero(has).tolist()}"
