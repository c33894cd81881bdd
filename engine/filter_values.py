"""The values in a filter, by the kind of the field they are compared with: what they are, or a FilterError."""

from __future__ import annotations

import math
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from engine.errors import FilterError

Condition = dict[str, Any]
DAY = re.compile(r"\d{4}-\d\d-\d\d")
END_OF_DAY = "T23:59:59.999999"


def keyword(value: object, key: str) -> str:
    """Return the text that a keyword field, or a search for words, is compared with."""
    if not isinstance(value, str):
        raise FilterError(f"{key!r} is a keyword field: {value!r} should be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FilterError(f"{value!r} is no valid Unicode, which {key!r} needs") from error
    return value


def integer(value: object, key: str) -> int:
    """Return the whole number of at most 64 bits that a value or its text is."""
    number = number_of(value)
    if isinstance(number, int) and -(2**63) <= number < 2**63:
        return number
    raise FilterError(f"{value!r} is no whole number, which {key!r} needs")


def count(value: object, key: str) -> int:
    """Return a whole number that is not negative."""
    number = integer(value, key)
    if number < 0:
        raise FilterError(f"{number} is no number of values, which {key!r} is compared with")
    return number


def real(value: object, key: str) -> int | float:
    """Return the finite number that a value or its text is."""
    number = number_of(value)
    if number is not None:
        return number
    raise FilterError(f"{value!r} is no number, which {key!r} needs")


def number_of(value: object) -> int | float | None:
    """Return the finite number that a value or its text is; a boolean is none."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # a whole number with more than 308 digits
        return None


def equal_float(value: object, key: str) -> Condition:
    """Return the condition for equality with a float, which Qdrant has only as a range."""
    number = real(value, key)
    return {"key": key, "range": {"gte": number, "lte": number}}


def equal_bool(value: object, key: str) -> Condition:
    """Return the condition for equality with a boolean; the texts true, false, yes and no are such."""
    if isinstance(value, str):
        value = {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    if not isinstance(value, bool):
        raise FilterError(f"{value!r} is neither true nor false, which {key!r} needs")
    return {"key": key, "match": {"value": value}}


def equal_datetime(value: object, key: str) -> Condition:
    """Return the condition for equality with an instant; a date alone means any moment of that day."""
    start = instant(value, key)
    whole_day = isinstance(value, str) and DAY.fullmatch(value)
    return {"key": key, "range": {"gte": start, "lte": instant(f"{value}{END_OF_DAY}", key) if whole_day else start}}


def instant(value: object, key: str) -> str:
    """Return a moment as RFC 3339 in UTC; without a zone it is taken as UTC, as Qdrant does."""
    moment = moment_of(value)
    if moment is None:
        raise FilterError(f"{value!r} is no date, which {key!r} needs; write 2024-01-31 or 2024-01-31T12:00:00Z")
    return moment.isoformat().replace("+00:00", "Z")


def moment_of(value: object) -> datetime | None:
    """Return the moment in UTC that a value or its text is, None when it is none."""
    if not isinstance(value, str | datetime):
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def uuid_of(id: object) -> str:
    """Return a point id in its one spelling."""
    try:
        return str(uuid.UUID(str(id)))
    except ValueError as error:
        raise FilterError(f"has_id: {id!r} is no point id; they are UUIDs") from error
