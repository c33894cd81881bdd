"""Near-identical shots: the same picture saved again, smaller, or at another quality.

A difference hash alone takes a red shirt for a blue one of the same cut, so a match must also agree in colour, cell
by cell. What is only similar is never called a duplicate: the bytes, the look and the product are three facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_BITS = 3
"""So many of the 128 bits may differ."""
MAX_MEAN_DIFFERENCE = 2.5
MAX_CELL_DIFFERENCE = 14
CELLS = 8 * 8 * 3
NOISE = 4
"""Grey levels; smaller steps between cells are the JPEG encoder's, not the photograph's."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a photograph looks like from afar: ``bits``, 128 of them, and ``cells``, 8 x 8 x 3 bytes of colour."""

    bits: int
    cells: bytes

    @property
    def hex(self) -> str:
        """The hash as 32 hexadecimal digits, for the payload."""
        return f"{self.bits:032x}"


def look_of(image: Image.Image) -> Look:
    """Return the look of an upright RGB photograph (dHash: Krawetz 2013, in both directions, on a 9 x 9 grid)."""
    from PIL import Image  # here, so that a run with nothing to embed does without it

    grid = np.asarray(image.resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    grey = grid @ np.array([299, 587, 114]) // 1000
    across = grey[:8, 1:] - grey[:8, :-1] > NOISE
    down = grey[1:, :8] - grey[:-1, :8] > NOISE
    bits = int.from_bytes(np.packbits(np.concatenate([across.ravel(), down.ravel()])).tobytes(), "big")
    return Look(bits, grid[:8, :8].astype(np.uint8).tobytes())


class LookIndex:
    """Finds an earlier photograph with nearly the same look: exact, in 160 bytes each beside the look itself.

    Looks whose cells differ by `MAX_MEAN_DIFFERENCE` at most are about as bright, so that only those of the same and
    of the next brightness need be compared: a twelfth of a catalogue. Buckets of equal parts of the hash do not help,
    since half of a catalogue's photographs are a pale garment on white.
    """

    def __init__(self) -> None:
        self._ids: list[str | None] = []  # None where the item has got another look since
        self._rows: dict[str, int] = {}
        self._cells: list[bytes] = []
        self._buckets: dict[int, _Bucket] = {}

    def add(self, item_id: str, look: Look) -> None:
        """Remember an item's look; it replaces the one that the item had before."""
        before, row = self._rows.get(item_id), len(self._ids)
        if before is not None:
            self._ids[before] = None
        self._ids.append(item_id)
        self._rows[item_id] = row
        self._cells.append(look.cells)
        brightness, halves = _brightness(look), _halves(look)
        for near in (brightness - 1, brightness, brightness + 1):
            if near not in self._buckets:
                self._buckets[near] = _Bucket()
            self._buckets[near].add(halves, row)

    def find(self, look: Look, item_id: str) -> str | None:
        """Return the first remembered item, other than ``item_id``, that looks nearly identical; None if none does.

        The first: so that a run which was killed and went on finds the same as one that was not.
        """
        bucket = self._buckets.get(_brightness(look))
        for row in bucket.near(look) if bucket else ():
            other = self._ids[row]
            if other is not None and other != item_id and _same_colours(look, self._cells[row]):
                return other
        return None


class _Bucket:
    """Hashes of about the same brightness, and the rows that they belong to, ascending."""

    def __init__(self) -> None:
        self._count = 0
        self._bits = np.zeros((2, 16), dtype=np.uint64)
        self._rows = np.zeros(16, dtype=np.int64)

    def add(self, halves: tuple[np.uint64, np.uint64], row: int) -> None:
        if self._count == len(self._rows):
            self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)], axis=1)
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._bits[0, self._count], self._bits[1, self._count] = halves
        self._rows[self._count] = row
        self._count += 1

    def near(self, look: Look) -> list[int]:
        """Return the rows whose hash differs in few bits."""
        (left, right), bits = _halves(look), self._bits[:, : self._count]
        differ = np.bitwise_count(bits[0] ^ left) + np.bitwise_count(bits[1] ^ right)
        found: list[int] = self._rows[np.flatnonzero(differ <= MAX_BITS)].tolist()
        return found


def _brightness(look: Look) -> int:
    return int(sum(look.cells) // (CELLS * MAX_MEAN_DIFFERENCE))


def _halves(look: Look) -> tuple[np.uint64, np.uint64]:
    return np.uint64(look.bits >> 64), np.uint64(look.bits & 0xFFFF_FFFF_FFFF_FFFF)


def _same_colours(look: Look, cells: bytes) -> bool:
    difference = np.abs(np.frombuffer(look.cells, np.uint8).astype(np.int16) - np.frombuffer(cells, np.uint8))
    return bool(difference.max() <= MAX_CELL_DIFFERENCE and difference.mean() <= MAX_MEAN_DIFFERENCE)
