"""Near-identical shots: the same picture saved again, smaller, or at another quality.

A difference hash alone takes a red shirt for a blue one of the same cut, so a match must also agree in colour, cell
by cell. What is only similar is never called a duplicate: the bytes, the look and the product are three facts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_BITS = 3
"""So many of the 128 bits may differ; one of the four interleaved bands is then equal, and finds the candidate."""
MAX_MEAN_DIFFERENCE = 2.5
MAX_CELL_DIFFERENCE = 14
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
    """Finds an earlier photograph with nearly the same look; exact within `MAX_BITS`, by the pigeonhole principle."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[int, Look]] = {}
        self._added = 0
        self._bands: tuple[dict[int, list[tuple[int, str]]], ...] = tuple(defaultdict(list) for _ in range(4))

    def add(self, item_id: str, look: Look) -> None:
        """Remember an item's look; it replaces the one that the item had before."""
        self._looks[item_id] = (self._added, look)
        self._added += 1
        for band, key in zip(self._bands, _keys(look.bits), strict=True):
            band[key].append((look.bits, item_id))

    def find(self, look: Look, item_id: str) -> str | None:
        """Return the first remembered item, other than ``item_id``, that looks nearly identical; None if none does.

        The first: so that a run which was killed and went on finds the same as one that was not.
        """
        first: tuple[int, str] | None = None
        for band, key in zip(self._bands, _keys(look.bits), strict=True):
            for bits, other_id in band.get(key, ()):
                if (look.bits ^ bits).bit_count() > MAX_BITS or other_id == item_id:
                    continue
                turn, other = self._looks[other_id]
                if (first is None or turn < first[0]) and other.bits == bits and _same_colours(look, other):
                    first = turn, other_id
        return first[1] if first else None


def _keys(bits: int) -> list[int]:
    """Split 128 bits into four bands that each see the whole picture: bytes 0, 4, 8 ... then 1, 5, 9 ..."""
    data = bits.to_bytes(16, "big")
    return [int.from_bytes(data[start::4], "big") for start in range(4)]


def _same_colours(left: Look, right: Look) -> bool:
    difference = np.abs(np.frombuffer(left.cells, np.uint8).astype(np.int16) - np.frombuffer(right.cells, np.uint8))
    return bool(difference.mean() <= MAX_MEAN_DIFFERENCE and difference.max() <= MAX_CELL_DIFFERENCE)
