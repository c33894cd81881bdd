"""A plain folder of photographs, and the captions and metadata in files of the same name beside them, if any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import SourceError
from engine.records import FieldKind, Item, Rejected
from ingest.sources.files import Listing, counted, is_photograph, no_photograph, parse_json, read_file, walk, why
from ingest.sources.kinds import Sidecars, captions_of, flatten

_SIDECARS = ("txt", "json")


class FolderSource:
    """Every photograph in a folder and the folders below it, sorted by path.

    ``photo.txt`` beside ``photo.jpg`` holds its captions, one a line; ``photo.json`` one object with its metadata.
    An item's id is its path below the root without suffix, or with it where two photographs differ in nothing else.
    """

    kind = "folder"

    def __init__(self, root: Path, *, id_prefix: str = "") -> None:
        """Walk the folder once, for the metadata's types. Raises: SourceError."""
        self.root = root
        self._prefix = id_prefix
        self._sidecars = Sidecars()
        self._photographs = 0
        for listing in walk(root):
            for stem, names in _by_stem(listing).items():
                self._photographs += len(names)
                meta = _metadata(listing.files.get(f"{stem}.json"))
                if isinstance(meta, dict):
                    self._sidecars.see(meta)
        if not self._photographs:
            raise SourceError(f"{root} holds no photographs: name a folder with .jpg, .png, .webp ... files in it")
        self.description = f"folder: {counted(self._photographs, 'photograph')}{self._sidecars.renamed()}"

    def fields(self) -> dict[str, FieldKind]:
        """Return name and kind of every field in the metadata files."""
        return self._sidecars.kinds()

    def read(self, item: Item) -> bytes:
        """Return the bytes of an item's file. Raises: ImageError."""
        return read_file(item)

    def items(self) -> Iterator[Item | Rejected]:
        """Yield folder by folder: what it cannot use, its photographs, its other files, each sorted by name."""
        for listing in walk(self.root):
            yield from listing.rejected
            groups = _by_stem(listing)
            for stem, names in sorted(groups.items()):
                yield from self._photograph(listing, stem, names)
            for name, entry in listing.files.items():
                stem, _, suffix = name.rpartition(".")
                if not is_photograph(name) and not (suffix in _SIDECARS and stem in groups):
                    yield no_photograph(entry.path)

    def _photograph(self, listing: Listing, stem: str, names: list[str]) -> Iterator[Item | Rejected]:
        """Yield the photographs of one name, and a sidecar that cannot be read."""
        meta_entry, caption_entry = listing.files.get(f"{stem}.json"), listing.files.get(f"{stem}.txt")
        meta, lines = _metadata(meta_entry), _captions(caption_entry)
        for entry, flaw in ((meta_entry, meta), (caption_entry, lines)):
            if entry is not None and isinstance(flaw, str):
                yield Rejected(entry.path, "quarantined", flaw)
        raw = meta if isinstance(meta, dict) else {}
        try:
            payload = self._sidecars.payload(raw)
        except ValueError as error:  # written since the folder was walked for the types
            if meta_entry:
                yield Rejected(meta_entry.path, "quarantined", f"changed while it was read: {error}")
            payload = {}
        captions = lines if isinstance(lines, tuple) and lines else captions_of(raw, payload.get("title"))
        for name in names:
            entry = listing.files[name]
            try:
                stat = entry.stat()
            except OSError as error:
                yield Rejected(entry.path, "quarantined", f"unreadable: {why(error)}")
                continue
            alone = len(names) == 1 and stem not in listing.files
            key = self._prefix + listing.prefix + (stem if alone else name)
            yield Item(key, entry.path, dict(payload), captions, stat.st_size, stat.st_mtime_ns)


def _by_stem(listing: Listing) -> dict[str, list[str]]:
    """Group a folder's photographs by their name without suffix."""
    groups: dict[str, list[str]] = {}
    for name in filter(is_photograph, listing.files):
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return groups


def _metadata(entry: os.DirEntry[str] | None) -> dict[str, object] | str | None:
    """Return the flat metadata in a JSON file, or why there is none."""
    if entry is None:
        return None
    try:
        return parse_metadata(Path(entry.path).read_bytes())
    except OSError as error:
        return f"unreadable: {why(error)}"


def _captions(entry: os.DirEntry[str] | None) -> tuple[str, ...] | str | None:
    """Return the captions in a text file, or why there are none."""
    if entry is None:
        return None
    try:
        return parse_captions(Path(entry.path).read_bytes())
    except OSError as error:
        return f"unreadable: {why(error)}"


def parse_metadata(data: bytes) -> dict[str, object] | str:
    """Return one JSON object with nested keys joined, or the reason why it cannot be read."""
    try:
        raw = parse_json(data)
    except (ValueError, RecursionError) as error:
        return f"metadata that is no valid JSON: {error}"
    return flatten(raw) if isinstance(raw, dict) else "metadata that is no JSON object"


def parse_captions(data: bytes) -> tuple[str, ...] | str:
    """Return one caption a line, or the reason why they cannot be read."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "captions that are no UTF-8 text"
    return tuple(line.strip() for line in text.splitlines() if line.strip())
