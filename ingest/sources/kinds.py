"""From the raw values of a column to a typed payload field: names, kinds, and what counts as absent."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from engine.records import FieldKind, Payload, Value
from engine.store.schema import RESERVED_FIELDS, WORDS

RESERVED = frozenset(RESERVED_FIELDS) - {"title", "product_id"}
"""Payload fields that the ingest itself writes: a user's column of that name gets a trailing underscore."""

ABSENT = frozenset({"", "NA", "N/A", "nan", "NaN", "NAN", "null", "NULL"})
CAPTION_NAMES = ("caption", "captions", "description", "text")
TITLE_NAMES = ("title", "name", "product_name", "productdisplayname")

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)")
_FLOAT = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d+)?|\.\d+)([eE][+-]?\d{1,3})?")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_YES, _NO = frozenset({"true", "yes"}), frozenset({"false", "no"})
_MOST_DISTINCT = 4096
_WORDS_OF_A_TEXT = 4
_LONGEST_NAME = 90
"""With what collisions add to it, no more than the hundred signs that a payload name may have."""

Convert = Callable[[object], Value | None]


class Guess:
    """The kind of a field, guessed from every value it has."""

    def __init__(self) -> None:
        self.distinct: dict[str, int] = {}
        self._kinds: list[FieldKind] = ["bool", "integer", "float", "datetime"]
        self._lists = False
        self.values = self._words = 0

    def see(self, raw: object, times: int = 1) -> None:
        """Take one more value into account, that occurs so many times."""
        value = clean(raw)
        if value is None:
            return
        self.values += times
        if isinstance(value, list):
            self._lists = True
            return
        text = as_text(value)
        words = self.distinct.get(text)
        if words is None:
            words = text.count(" ") + 1
            if len(self.distinct) <= _MOST_DISTINCT:
                self.distinct[text] = words
            if self._kinds:
                self._kinds = [kind for kind in self._kinds if fits(text, kind)]
        self._words += words * times

    def repeats(self) -> bool:
        """Say whether the values are few, so that remembering their conversion pays."""
        return len(self.distinct) <= _MOST_DISTINCT

    def kind(self) -> FieldKind | None:
        """Return the kind; None if no value was seen."""
        if not self.values:
            return None
        if self._lists:
            return "keyword"
        if self._kinds:
            return self._kinds[0]
        return "text" if self._words > _WORDS_OF_A_TEXT * self.values else "keyword"


def fits(text: str, kind: FieldKind) -> bool:
    """Say whether a text is a value of a kind; of words every text is."""
    if kind in WORDS:
        return True
    if kind == "bool":
        return text.lower() in _YES | _NO
    if kind == "integer":
        return _INTEGER.fullmatch(text) is not None and _is_exact(text, 64)
    if kind == "float":
        if _INTEGER.fullmatch(text) and not _is_exact(text, 54):  # other numbers would become the same
            return False
        return _FLOAT.fullmatch(text) is not None and math.isfinite(float(text))
    if _DATETIME.fullmatch(text) is None:
        return False
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_exact(text: str, bits: int) -> bool:
    """Say whether a whole number has so many bits at most, one for its sign."""
    return len(text) <= 20 and -(1 << (bits - 1)) <= int(text) < 1 << (bits - 1)


def clean(raw: object) -> Value | None:
    """Return a value in one of the payload's types; None for what counts as absent, and never NaN."""
    if isinstance(raw, str):
        text = raw.strip()
        return None if text in ABSENT else text
    if isinstance(raw, bool | int):
        return raw
    if isinstance(raw, float | Decimal):
        return float(raw) if math.isfinite(raw) else None
    if isinstance(raw, list | tuple):
        return [as_text(value) for value in map(clean, raw) if value is not None] or None
    if isinstance(raw, dt.date | dt.time):
        return raw.isoformat()
    if isinstance(raw, Mapping):
        return json.dumps(raw, ensure_ascii=False, default=str)
    return None if raw is None else str(raw)


def as_text(value: Value) -> str:
    """Return a value as a keyword: booleans in small letters, lists as JSON."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_words(number: object) -> str:
    """Return a number as words have it: whole ones without a fraction, though others of their column have one."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def converter(kind: FieldKind, *, few: bool = False, strings: bool = False) -> Convert:
    """Return the function from raw values to values of ``kind``; it raises ValueError for what is of another kind.

    ``few``: the values repeat, so that remembering them pays. ``strings``: the raw values are all str, as in CSV.
    """
    cast = _CASTS[kind]

    def convert(raw: object) -> Value | None:
        value = clean(raw)
        return None if value is None else cast(value)

    if strings and few:
        return _Known(convert).__getitem__
    return _plain if strings and kind in ("keyword", "text") else convert


class _Known(dict[object, Value | None]):
    """Raw strings and what they became: a column of a CSV file has few different ones."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert

    def __missing__(self, raw: object) -> Value | None:
        value = self[raw] = self._convert(raw)
        return value


def _plain(raw: object) -> Value | None:
    text = str(raw).strip()
    return None if text in ABSENT else text


def _to_keyword(value: Value) -> Value:
    return value if isinstance(value, list) else as_text(value)


def _to_bool(value: Value) -> Value:
    text = as_text(value).lower()
    if text not in _YES | _NO:
        raise ValueError(f"{text!r} is neither true nor false")
    return text in _YES


_CASTS: dict[FieldKind, Callable[[Value], Value]] = {
    "keyword": _to_keyword,
    "text": lambda value: ", ".join(value) if isinstance(value, list) else as_text(value),
    "bool": _to_bool,
    "integer": lambda value: int(float(text)) if "." in (text := as_text(value)) else int(text),
    "float": lambda value: float(as_text(value)),
    "datetime": lambda value: dt.datetime.fromisoformat(as_text(value)).isoformat(),
}


def snake_case(header: str) -> str:
    """Return a header as a payload name: ``baseColour`` and ``Base Colour`` become ``base_colour``.

    One that has no letter from a to z, or too many, is named by a digest: by itself alone, so that every source names
    it alike.
    """
    plain = unicodedata.normalize("NFKD", header).encode("ascii", "ignore").decode()
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    name = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    if name and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.blake2b(header.encode(errors="replace"), digest_size=4).hexdigest()
    return f"{name[: _LONGEST_NAME - 9] or 'column'}_{digest}"


def renamed(headers: Iterable[str]) -> str:
    """Say which headers are named by a digest, to go on with after what the source is; nothing if none is."""
    names = [(header, snake_case(header)) for header in headers]
    odd = [f"{header[:40]!r} is {name}" for header, name in names if re.search(r"_[0-9a-f]{8}$", name)]
    return f"; of its fields {', '.join(odd[:20])}" if odd else ""


def payload_names(headers: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Give each header its own payload name that collides with none of the ingest's and none of ``taken``."""
    used = set(taken)
    names: dict[str, str] = {}
    for header in headers:
        name = snake_case(header)
        name = f"{name}_" if name in RESERVED else name
        number = 2
        unique = name
        while unique in used:
            unique, number = f"{name}_{number}", number + 1
        names[header] = unique
        used.add(unique)
    return names


def flatten(raw: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Join the keys of nested objects with ``_``; one that another key has already gets one more."""
    flat = {f"{prefix}{key}": value for key, value in raw.items() if not isinstance(value, Mapping)}
    for outer, inner in raw.items():
        for key, value in flatten(inner, f"{prefix}{outer}_").items() if isinstance(inner, Mapping) else ():
            while key in flat:
                key += "_"
            flat[key] = value
    return flat


class Sidecars:
    """The metadata that lies in one JSON object beside each photograph: typed over all of them."""

    def __init__(self) -> None:
        self._guesses: dict[str, Guess] = {}
        self._spellings: dict[str, str] = {}
        self._plan: dict[str, tuple[str, Convert]] | None = None

    def see(self, raw: Mapping[str, object]) -> None:
        """Take one photograph's metadata into account."""
        self._plan = None
        for key, value in raw.items():
            if key.lower() not in CAPTION_NAMES:
                self._guesses.setdefault(self._first_spelling(key), Guess()).see(value)

    def _first_spelling(self, key: str) -> str:
        """Return how the key was spelt first: `Price` and `price` are one field."""
        return self._spellings.setdefault(snake_case(key), key)

    def kinds(self) -> dict[str, FieldKind]:
        """Return name and kind of every payload field that occurs, those first that most photographs have."""
        names = payload_names(sorted(self._guesses))
        often = sorted(self._guesses.items(), key=lambda each: (-each[1].values, each[0]))
        kinds = {key: guess.kind() for key, guess in often}
        return {names[key]: RESERVED_FIELDS.get(names[key], kind) for key, kind in kinds.items() if kind is not None}

    def renamed(self) -> str:
        """Say which keys are named by a digest, as `renamed` does."""
        return renamed(sorted(self._guesses))

    def payload(self, raw: Mapping[str, object]) -> Payload:
        """Return one photograph's metadata as a payload."""
        if self._plan is None:
            kinds = self.kinds()
            names = payload_names(sorted(self._guesses))
            self._plan = {key: (name, converter(kinds[name])) for key, name in names.items() if name in kinds}
        values: dict[str, object] = {}
        for key, value in raw.items():
            values.setdefault(self._first_spelling(key), value)
        payload: Payload = {}
        for key, (name, convert) in self._plan.items():
            value = convert(values.get(key))
            if value is not None:
                payload[name] = value
        return payload


def captions_of(raw: Mapping[str, object], title: Value | None = None) -> tuple[str, ...]:
    """Return the caption sentences in an object's caption fields, or else its title."""
    found: list[str] = []
    for key, value in raw.items():
        if key.lower() in CAPTION_NAMES:
            found += sentences(value)
    return tuple(found) or ((title,) if isinstance(title, str) else ())


def sentences(raw: object) -> list[str]:
    """Return a caption cell as sentences: a list's elements, or the one text."""
    value = clean(raw)
    if value is None:
        return []
    return value if isinstance(value, list) else [as_text(value)]
