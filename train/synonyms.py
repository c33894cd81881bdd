"""What shoppers call things that shops call otherwise: titles say sweater, queries jumper.

The file is in the format of Solr's synonym files, which search teams have already.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from itertools import product
from pathlib import Path

from engine.errors import UsageError
from eval.captions import evened

SHIPPED = Path(__file__).with_name("synonyms.txt")
_COMMA = re.compile(r"(?<!\\),")
_PLURAL = re.compile(r"(?<=[sxh])es$|(?<=[^s])s$")


class Synonyms:
    """What is said and what is meant by it; ``a, b``: each means both; ``a, b => c, d``: a or b means c or d.

    ``meanings``: for each phrase that shoppers say, all that is meant by it.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        """Read the lines; empty ones and those that begin with # say nothing.

        Raises:
            UsageError: a line has but one phrase, two arrows, or nothing beside its arrow; or no line says anything.
        """
        self.meanings: dict[str, list[str]] = {}
        self._said: dict[tuple[str, ...], list[str]] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            left, arrow, right = (part.strip() for part in line.partition("=>"))
            said, meant = _phrases(left), _phrases(right if arrow else left)
            if not said or not meant or "=>" in right or (not arrow and len(said) < 2):
                raise UsageError(f"line {number}, {line.strip()!r}: write `a, b` or `a, b => c`")
            for one, other in product(said, meant):
                if one == other or stems(one) != stems(other):
                    _add(self.meanings.setdefault(one, []), other)
                if stems(one) != stems(other):
                    _add(self._said.setdefault(stems(other), []), one)
        if not self._said:
            raise UsageError("no line says one thing for another: write `a, b` or `a, b => c`")
        self._longest = max(map(len, self._said))

    def said_otherwise(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield every way to say ``text`` with one of its phrases replaced: the new phrase, and the whole.

        Of phrases within phrases the longest counts.
        """
        words = text.split()
        for start, phrase in phrases_in(stems(text), self._said, self._longest):
            for said in self._said[phrase]:
                yield said, " ".join([*words[:start], said, *words[start + len(phrase) :]])


def load_synonyms(name: str) -> Synonyms:
    """Read a file of synonyms; ``shipped`` is the one that this program brings along.

    Raises:
        UsageError: it cannot be read, or a line of it is none.
    """
    path = SHIPPED if name == "shipped" else Path(name)
    try:
        return Synonyms(path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the synonyms {path} cannot be read ({error}): give a UTF-8 text file, or `shipped`"
        ) from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def stems(text: str) -> tuple[str, ...]:
    """Return the words of a text without punctuation at their ends, case and plural."""
    return tuple(_PLURAL.sub("", word.strip(".,;:!?()'\"").casefold()) for word in text.split())


def phrases_in(
    words: tuple[str, ...], known: Container[tuple[str, ...]], longest: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield every phrase in ``words`` that is ``known``, of at most ``longest`` words, after where it begins.

    Of phrases within phrases the longest counts.
    """
    start = 0
    while start < len(words):
        sizes = range(min(longest, len(words) - start), 0, -1)
        size = next((size for size in sizes if words[start : start + size] in known), 0)
        if size:
            yield start, words[start : start + size]
        start += size or 1


def _phrases(text: str) -> list[str]:
    parts = (part.replace("\\,", ",") for part in _COMMA.split(text))
    return [evened(part) for part in parts if part.strip()]


def _add(known: list[str], phrase: str) -> None:
    if phrase not in known:
        known.append(phrase)
