"""DeepFashion-MultiModal (Jiang et al., "Text2Human", SIGGRAPH 2022) as its users download it.

    images/WOMEN-Tees_Tanks-id_00000813-09_2_side.jpg      or the photographs in the root itself
    captions.json                                          {"<image>.jpg": "text"}
    labels/shape/shape_anno_all.txt                        <image> and 12 integers
    labels/texture/fabric_ann.txt, pattern_ann.txt         <image> and 3 integers: upper, lower, outer garment

The label files may also lie in shape/ and texture/, or in the root; any but the photographs may be missing. "NA" in
the labels means not visible: such a field is absent, never false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from engine.errors import SourceError
from engine.records import FieldKind, Item, Payload, Rejected, Value
from ingest.sources.files import counted, is_photograph, no_photograph, parse_json, read_file, walk, why

CAPTIONS = "captions.json"
SHAPE, FABRIC, PATTERN = "shape_anno_all.txt", "fabric_ann.txt", "pattern_ann.txt"
_NAME = re.compile(r"(?P<gender>WOMEN|MEN)-(?P<category>\w+)-(?P<id>id_\d+)-(?P<variant>\d+)_\d+_(?P<view>[a-z]+)")

_YES_NO: tuple[Value | None, ...] = (False, True, None)
_NECKLINES: tuple[Value, ...] = ("v-shape", "square", "round", "standing", "lapel", "suspenders")
_SHAPES: dict[str, tuple[Value | None, ...]] = {
    "sleeve_length": ("sleeveless", "short", "medium", "long", "not long", None),
    "lower_length": ("three-point", "medium short", "three-quarter", "long", None),
    "socks": ("none", "socks", "leggings", None),
    "hat": _YES_NO,
    "glasses": ("none", "eyeglasses", "sunglasses", "in hand or on clothes", None),
    "neckwear": _YES_NO,
    "wrist_wearing": _YES_NO,
    "ring": _YES_NO,
    "waist": ("none", "belt", "clothing", "hidden", None),
    "neckline": (*_NECKLINES, None),
    "cardigan": (True, False, None),
    "navel_covered": _YES_NO,
}
_FABRICS = ("denim", "cotton", "leather", "furry", "knitted", "chiffon", "other", None)
_PATTERNS = ("floral", "graphic", "striped", "pure color", "lattice", "other", "color block", None)
_LABELS: dict[str, dict[str, tuple[Value | None, ...]]] = {
    SHAPE: _SHAPES,
    FABRIC: {f"{part}_fabric": _FABRICS for part in ("upper", "lower", "outer")},
    PATTERN: {f"{part}_pattern": _PATTERNS for part in ("upper", "lower", "outer")},
}
_GAP_NECKLINES = (*_NECKLINES[:3], None, *_NECKLINES[3:], None)
"""The neckline as the data set's web page numbers it, without a 3; `_necklines` tells the two apart."""


class DeepFashionSource:
    """The photographs sorted by name, with what their names, captions and labels say."""

    kind = "deepfashion"

    def __init__(self, root: Path, *, id_prefix: str = "") -> None:
        """Read captions and labels. Raises: SourceError, naming file and line."""
        self.root = root
        self._prefix = id_prefix
        self._images = root / "images" if (root / "images").is_dir() else root
        path = root / CAPTIONS
        self._captions = _read_captions(path) if path.is_file() else {}
        self._labels = {name: _read_labels(found) for name in _LABELS if (found := label_file(root, name)) is not None}
        names = [n for each in walk(self._images, deep=False) for n in each.files if is_photograph(n)]
        if not names:
            raise SourceError(f"{self._images} holds no photographs: unpack the data set's images there")
        self._named = any(_NAME.match(name) for name in names)
        parts = [counted(len(names), "photograph"), *([CAPTIONS] if self._captions else []), *self._labels]
        self.description = f"DeepFashion-MultiModal: {', '.join(parts)}"

    def fields(self) -> dict[str, FieldKind]:
        """Return name and kind of the fields in the file names, and in the label files that are there."""
        fields: dict[str, FieldKind] = {}
        if self._named:
            fields = dict.fromkeys(("gender", "category", "product_id", "variant", "view"), "keyword")
        for labels in self._labels.values():
            for payload in labels.values():
                fields |= {name: "bool" if isinstance(value, bool) else "keyword" for name, value in payload.items()}
        return fields

    def read(self, item: Item) -> bytes:
        """Return the bytes of an item's file. Raises: ImageError."""
        return read_file(item)

    def items(self) -> Iterator[Item | Rejected]:
        """Yield the photographs sorted by name, then the captions and labels that have none."""
        own = {CAPTIONS, *_LABELS} if self._images == self.root else set()
        names: set[str] = set()
        ids: set[str] = set()
        for listing in walk(self._images, deep=False):
            yield from listing.rejected
            for name, entry in listing.files.items():
                if not is_photograph(name):
                    if name not in own:
                        yield no_photograph(entry.path)
                    continue
                names.add(name)
                try:
                    stat = entry.stat()
                except OSError as error:
                    yield Rejected(entry.path, "quarantined", f"unreadable: {why(error)}")
                    continue
                key = stem if (stem := name.rpartition(".")[0]) not in ids else name
                ids.add(key)
                payload = parse_name(name)
                for labels in self._labels.values():
                    payload.update(labels.get(name, {}))
                captions = self._captions.get(name, ())
                yield Item(self._prefix + key, entry.path, payload, captions, stat.st_size, stat.st_mtime_ns)
        described = {CAPTIONS: set(self._captions), **{source: set(labels) for source, labels in self._labels.items()}}
        for name in sorted(frozenset().union(*described.values()) - names):
            files = ", ".join(source for source, named in described.items() if name in named)
            uri = str(self._images.absolute() / name)
            yield Rejected(uri, "quarantined", f"named in {files}, but there is no such image")


def parse_name(name: str) -> Payload:
    """Return what a photograph's name says; nothing, if it is not named as the data set names its photographs.

    The product is department, category and garment number: WOMEN-Tees_Tanks-id_00000813. The data set numbers garments
    anew in each category; its colours share the number and differ in the variant.
    """
    match = _NAME.match(name)
    if match is None:
        return {}
    return {
        "gender": match["gender"].lower(),
        "category": match["category"].replace("_", " ").lower(),
        "product_id": f"{match['gender']}-{match['category']}-{match['id']}",
        "variant": match["variant"],
        "view": match["view"],
    }


def label_file(root: Path, name: str) -> Path | None:
    """Return where a label file lies: labels/shape/, shape/, labels/ or the root itself (texture/ likewise)."""
    folder = "shape" if name == SHAPE else "texture"
    places = (root / "labels" / folder, root / folder, root / "labels", root)
    return next((place / name for place in places if (place / name).is_file()), None)


def _read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        raw = parse_json(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise SourceError(
            f"{path}:{error.lineno} is no valid JSON: {error.msg}; mend it or download it again"
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8 text: {error.reason}; download it again") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {why(error)}") from error
    if not isinstance(raw, dict):
        raise SourceError(f'{path}:1 is no JSON object: it must read {{"<image>.jpg": "caption", ...}}')
    captions: dict[str, tuple[str, ...]] = {}
    for name, value in raw.items():
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise SourceError(f"{path}: the caption of {name!r} is no text")
        captions[name] = tuple(text.strip() for text in texts if text.strip())
    return captions


def _read_labels(path: Path) -> dict[str, Payload]:
    """Read one label file. Raises: SourceError, naming file and line."""
    columns = dict(_LABELS[path.name])
    codes: dict[str, tuple[int, list[int]]] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, 1):
                name, *cells = text.split() or [""]
                if not name:
                    continue
                if len(cells) != len(columns) or not all(cell.isascii() and cell.isdigit() for cell in cells):
                    raise SourceError(
                        f"{path}:{line} must hold an image name and {len(columns)} integers: {text!r:.80}"
                    )
                codes[name] = (line, [int(cell) for cell in cells])
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8 text: {error.reason}; download it again") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {why(error)}") from error
    if "neckline" in columns:
        columns["neckline"] = _necklines(path, {row[list(columns).index("neckline")] for _, row in codes.values()})
    return {name: _labels(path, line, row, columns) for name, (line, row) in codes.items()}


def _necklines(path: Path, seen: set[int]) -> tuple[Value | None, ...]:
    """Return the neckline's numbering in this file.

    The paper's read-me numbers them 0 to 5 with NA as 6; the data set's own page leaves the 3 out and has NA as 7.
    A 7 can only be the page's, a 3 only the read-me's; a file with neither (an excerpt) is taken for the read-me's.
    """
    if {3, 7} <= seen:
        raise SourceError(f"{path} numbers the neckline in two ways: it holds both a 3 and a 7; download it again")
    return _GAP_NECKLINES if 7 in seen else _SHAPES["neckline"]


def _labels(path: Path, line: int, row: list[int], columns: dict[str, tuple[Value | None, ...]]) -> Payload:
    payload: Payload = {}
    for (name, values), code in zip(columns.items(), row, strict=True):
        if code >= len(values):
            raise SourceError(f"{path}:{line} has {code} for {name}, which goes from 0 to {len(values) - 1}")
        value = values[code]
        if value is not None:
            payload[name] = value
    return payload
