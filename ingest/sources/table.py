"""A product table beside a folder of photographs: CSV, JSON Lines or Parquet, Kaggle's styles.csv among them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

from engine.errors import SourceError, UsageError
from engine.records import FieldKind, Item, Payload, Rejected, shown
from engine.store.schema import RESERVED_FIELDS
from ingest.sources.files import counted, is_photograph, no_photograph, read_file, walk, why
from ingest.sources.kinds import (
    CAPTION_NAMES,
    TITLE_NAMES,
    Convert,
    Guess,
    converter,
    in_words,
    payload_names,
    renamed,
    sentences,
)
from ingest.sources.photos import Photos, images_folder
from ingest.sources.rows import Row, is_kaggle, open_table

_IMAGE_NAMES = ("image", "image_path", "path", "file", "filename", "file_name", "img")
_ID_NAMES = ("id", "item_id", "sku", "image_id")
_BLOCK_ROWS = 8192
_KAGGLE = {
    "masterCategory": "category",
    "subCategory": "subcategory",
    "articleType": "article_type",
    "baseColour": "colour",
}
_KAGGLE_TEXT = {"gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "usage"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table say what; None means: found by their usual names."""

    id: str | None = None
    image: str | None = None
    title: str | None = None
    caption: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where in a row the parts of an item are, as positions; the fields of its payload, and how they are read."""

    id: int | None
    image: int | None
    title: int | None
    captions: tuple[int, ...]
    names: dict[int, str]
    kinds: dict[str, FieldKind]
    converts: tuple[tuple[int, str, Convert], ...]
    rows: int


class TableSource:
    """A table with one row a photograph, named by an image column or by the row's id; items in the table's order.

    The columns become typed payload fields. `items` reads a large table again, so that memory does not grow with it.
    """

    kind = "table"

    def __init__(self, path: Path, *, columns: Columns | None = None, id_prefix: str = "") -> None:
        """Read the table once for its columns and their types. Raises: SourceError, UsageError."""
        self.root = path  # not its folder, which may hold another table with items of its own
        self._path = path
        self._prefix = id_prefix
        self._table = open_table(path)
        self._images = images_folder(path.parent)
        self._kept: list[Row] = []
        self._plan = self._survey(columns or Columns())
        name = shown(path.name)
        what = f"Kaggle {name}" if is_kaggle(self._table.columns) else name
        self.description = f"product table ({what}): {counted(self._plan.rows, 'row')}"
        self.description += renamed(self._table.columns)

    def fields(self) -> dict[str, FieldKind]:
        """Return name and kind of every column that has a value."""
        return dict(self._plan.kinds)

    def read(self, item: Item) -> bytes:
        """Return the bytes of an item's file. Raises: ImageError."""
        return read_file(item)

    def items(self) -> Iterator[Item | Rejected]:
        """Yield an item for each row with a photograph, then the files that no row names."""
        plan, prefix, path = self._plan, self._prefix, str(self._path)
        photos = Photos(self._path.parent, self._images)
        find = photos.named if plan.image is None else photos.at
        where = plan.image if plan.image is not None else plan.id or 0
        is_key = plan.id is None or plan.id == where
        converts, caption_cells = plan.converts, plan.captions
        lines: dict[str, int] = {}
        for line, row in self._rows():
            if isinstance(row, str):
                yield Rejected(f"{path}:{line}", "quarantined", row, nameless=True)
                continue
            cell = _text(row[where])
            key = cell if is_key else _text(row[plan.id or 0])
            entry = find(cell) if cell else None
            if not key or entry is None:
                yield Rejected(f"{path}:{line}", "quarantined", self._missing(cell, key))
                continue
            if plan.id is None:
                key = _without_suffix(key)
            if key in lines:
                yield Rejected(f"{path}:{line}", "quarantined", f"id {key!r} stands on line {lines[key]} already")
                continue
            lines[key] = line
            try:
                stat = os.stat(entry.path)  # noqa: PTH116 - not entry.stat(), which keeps the answer in memory
                payload: Payload = {}
                for position, name, convert in converts:
                    value = convert(row[position])
                    if value is not None:
                        payload[name] = value
            except OSError as error:
                yield Rejected(entry.path, "quarantined", f"unreadable: {why(error)}")
                continue
            except ValueError as error:
                raise SourceError(f"{path}:{line} changed while it was read ({error}): run again") from error
            captions: tuple[str, ...] = ()
            if caption_cells:
                captions = tuple(text for at in caption_cells for text in sentences(row[at]))
            if not captions and "title" in payload:
                captions = (str(payload["title"]),)
            yield Item(prefix + key, entry.path, payload, captions, stat.st_size, stat.st_mtime_ns)
        for folder, reason in photos.unreadable.items():
            yield Rejected(shown(folder), "quarantined", f"unreadable folder: {reason}")
        if not photos.all_used():
            yield from self._unnamed(photos.used)

    def _rows(self) -> Iterable[Row]:
        """Return the rows of the table, which is read once if it is small."""
        if self._table.small and not self._kept:
            self._kept = list(self._table.rows())
        return self._kept or self._table.rows()

    def _missing(self, cell: str, key: str) -> str:
        if "://" in cell:
            return f"{cell} is an address, not a file: download the photographs first"
        if cell and key:
            folder = self._images.name + "/" if self._images and self._plan.image is None else ""
            return f"no such image: {folder}{cell}{'.*' if self._plan.image is None else ''}"
        if not cell:
            return "no image is named"
        return f"no id in the column {self._table.columns[self._plan.id or 0]!r}: --id-column names another"

    def _unnamed(self, used: set[str]) -> Iterator[Rejected]:
        """Yield what lies in the images folder without a row of its own."""
        if self._images is None:
            return
        reason = f"no row in {self._path.name} names it"
        for listing in walk(self._images):
            yield from listing.rejected
            for name, entry in listing.files.items():
                if entry.path in used:
                    continue
                if is_photograph(name):
                    yield Rejected(entry.path, "excluded", reason)
                else:
                    yield no_photograph(entry.path)

    def _survey(self, columns: Columns) -> _Plan:
        """Find out which column says what, and the type of each over the whole table."""
        names = self._table.columns
        kaggle = is_kaggle(names)
        image = self._pick(columns.image, (), "--image-column") if kaggle else self._image_column(columns)
        key = self._pick(columns.id, _ID_NAMES, "--id-column")
        if image is None and (key is None or self._images is None):
            raise SourceError(
                f"{self._path} has no image column, and no images/<id>.jpg beside it; its columns are "
                f"{', '.join(names)}: say which one holds the file names with --image-column",
            )
        title = self._pick(columns.title, TITLE_NAMES, "--title-column")
        product = self._pick(columns.product, ("product_id",), "--product-column")
        caption = self._pick(columns.caption, (), "--caption-column")
        captions = tuple(n for n, name in enumerate(names) if name.lower() in CAPTION_NAMES and n != title)
        captions = captions if caption is None else (caption,)

        guesses = {n: Guess() for n in range(len(names)) if n == title or n not in (image, key, *captions)}
        rows, stream = 0, iter(self._rows())
        while block := list(islice(stream, _BLOCK_ROWS)):
            rows += len(block)
            cells = list(zip(*(row for _, row in block if not isinstance(row, str)), strict=True))
            for n, guess in guesses.items() if cells else ():
                # Only strings are counted first: to a Counter, 1 and True are the same, and lists are an error.
                for value, times in Counter(cells[n]).items() if self._table.is_text else zip(cells[n], repeat(1)):
                    guess.see(value, times)
        if not rows:
            raise SourceError(f"{self._path} has no rows: nothing to ingest")

        fixed = {names[n]: word for n, word in ((title, "title"), (product, "product_id")) if n is not None}
        fixed |= {name: word for name, word in _KAGGLE.items() if kaggle}
        free = payload_names((names[n] for n in guesses if names[n] not in fixed), taken=fixed.values())
        fields = {n: fixed.get(names[n]) or free[names[n]] for n in guesses}
        keywords = {n for n, name in enumerate(names) if kaggle and name in _KAGGLE_TEXT}
        kinds: dict[str, FieldKind] = {}
        converts: list[tuple[int, str, Convert]] = []
        for n, guess in guesses.items():
            kind = guess.kind()
            if kind is None:
                continue
            if kaggle and names[n] == "year" and kind == "float":
                kind = "integer"
            kinds[fields[n]] = kind = RESERVED_FIELDS.get(fields[n], "keyword" if n in keywords else kind)
            converts.append((n, fields[n], converter(kind, few=guess.repeats(), strings=self._table.is_text)))
        return _Plan(key, image, title, captions, fields, kinds, tuple(converts), rows)

    def _image_column(self, columns: Columns) -> int | None:
        return self._pick(columns.image, _IMAGE_NAMES, "--image-column")

    def _pick(self, given: str | None, usual: Sequence[str], option: str) -> int | None:
        """Return the position of the column that was given, or else of the first with a usual name."""
        names = self._table.columns
        if given is not None:
            if given not in names:
                raise UsageError(f"{option} {given!r}: {self._path} has only the columns {', '.join(names)}")
            return names.index(given)
        small = [name.lower() for name in names]
        return next((small.index(name) for name in usual if name in small), None)


def _text(cell: object) -> str:
    """Return a cell of the id or image column as text; whole numbers without their fraction."""
    if isinstance(cell, str):
        return cell.strip()
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    return in_words(cell)


def _without_suffix(cell: str) -> str:
    """Return a path without the suffix of an image format."""
    return cell.rpartition(".")[0] if is_photograph(os.path.basename(cell)) else cell  # noqa: PTH119
