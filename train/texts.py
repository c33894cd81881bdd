"""All texts that a run will show, written down beforehand: so that a frozen text tower reads each of them once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.pairs import Pairs
from train.recipe import DataRecipe


@dataclass(frozen=True)
class Texts:
    """Several ways to say each item, in two kinds; v = ``data.texts_per_item``.

    ``texts``: m of them. ``titles``, ``attributes``: int (n, v), for each item the rows of ``texts`` that say it
    by its caption, and by a selection of its attribute values. ``asked``: bool (m, a), which values a text asks for.
    """

    texts: Sequence[str]
    titles: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.int64]
    asked: npt.NDArray[np.bool_]

    def choose(
        self, items: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return one title and one attribute text for each of ``items``, as rows of ``texts``."""
        ways = self.titles.shape[1]
        return (
            self.titles[items, rng.integers(ways, size=len(items))],
            self.attributes[items, rng.integers(ways, size=len(items))],
        )

    def same_attributes(self, pairs: Pairs, items: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Tensor:
        """Return bool (n, k): item i has every value that text j asks for."""
        has, asked = torch.from_numpy(pairs.attributes[items]).float(), torch.from_numpy(self.asked[rows]).float()
        return (has @ asked.t()) >= asked.sum(dim=1)


def write_texts(pairs: Pairs, data: DataRecipe, seed: int) -> Texts:
    """Write ``data.texts_per_item`` texts of each kind for every item; the first title is the caption as it stands."""
    rng = random.Random(seed)
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}

    def number(text: str, values: tuple[int, ...]) -> int:
        return numbers.setdefault((text, values), len(numbers))

    titles = np.zeros((len(pairs), data.texts_per_item), dtype=np.int64)
    attributes = np.zeros_like(titles)
    for index in range(len(pairs)):
        for way in range(data.texts_per_item):
            dropped = data.word_dropout if way else 0.0
            titles[index, way] = number(pairs.title(index, rng, dropped, whole=not way), ())
            values = tuple(pairs.some_attributes(index, rng))
            attributes[index, way] = number(pairs.attribute_text(values), values)
    asked = np.zeros((len(numbers), len(pairs.words)), dtype=bool)
    for row, (_, values) in enumerate(numbers):
        asked[row, list(values)] = True
    return Texts([text for text, _ in numbers], titles, attributes, asked)
