"""TEACH: photographs + attributes --learn_directions--> where words for attributes are to lie (blue casual shirts).

Who asks for attributes wants the photographs first that have them all, then those that have some. So each value of an
attribute gets a direction, the same in every text, that is added to where the text tower has the text: learnt so that
a softmax over all photographs of the training part falls on those that have all values of a text, and a little on
those that have one of them. The text tower then learns to embed the texts there. Of its target a softmax over fixed
embeddings sees the mean alone (the moments of an exponential family: Wainwright and Jordan 2008, section 3).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import SourceError, UsageError
from train.pairs import Pairs
from train.synonyms import phrases_in, stems

FEW = 3
"""So many values at most a shopper says in one breath; each item is asked for so, and by any number of them."""
TOGETHER = 0.8
"""The share of the target that photographs with all values have; the others have one of them."""
BATCH, STEPS, RATE = 512, 250, 0.02
SHARE, ALONE = 0.3, 4
"""So much of the directions is added to a text that says nothing else: all of them find little more, and it is further
from where it was. If it has other words, too, by these it is found: so much less is added as the fourth power of the
part that says attributes."""


def phrase(text: str) -> tuple[str, ...]:
    """Return the words of a text as they are compared with values of attributes: a T-Shirt is one of Tshirts."""
    return tuple(word.replace("-", "") for word in stems(text))


@dataclass(frozen=True)
class Directions:
    """What each value of an attribute adds to where a text lies that says it: ``rows`` of ``vectors`` (v, d)."""

    rows: Mapping[tuple[str, ...], int]
    vectors: Tensor

    def move(self, texts: Sequence[str], before: Tensor) -> Tensor:
        """Return where ``texts`` are to lie, unit rows (n, d), from where they lie, unit rows ``before`` (n, d)."""
        shares = torch.zeros(len(texts), len(self.rows))
        for number, text in enumerate(texts):
            words = phrase(text)
            said = [value for _, value in phrases_in(words, self.rows, self._longest)]
            part = sum(map(len, said)) / max(1, len(words))
            shares[number, [self.rows[value] for value in said]] = SHARE * part**ALONE
        return F.normalize(before + shares.to(before.device) @ self.vectors, dim=-1)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.rows))


@dataclass(frozen=True)
class Asked:
    """Texts of attributes, and what they are to find.

    ``rows``: the number of each of v values. ``values``: bool (t, v), which of them each of t texts says.
    ``domains``: int (t,), the number of the ``photographs`` among which it is asked, unit rows (n, d); of others
    nobody knows whether they have the values. ``means``: (t, d), the mean embedding of what it is to find.
    """

    texts: Sequence[str]
    rows: Mapping[tuple[str, ...], int]
    values: Tensor
    domains: npt.NDArray[np.int64]
    photographs: Sequence[Tensor]
    means: Tensor

    def loss(self, embedded: Tensor, rows: npt.NDArray[np.int64], scale: float) -> Tensor:
        """Return the mean cross-entropy, in nats, of texts ``rows`` (k,), embedded as unit rows (k, d).

        ``scale``: the inverse temperature.
        """
        total = -scale * (embedded * self.means[torch.from_numpy(rows).to(embedded.device)]).sum()
        for domain, photographs in enumerate(self.photographs):
            own = torch.from_numpy(self.domains[rows] == domain).to(embedded.device)
            total = total + torch.logsumexp(scale * embedded[own] @ photographs.t(), dim=1).sum()
        return total / len(rows)


def check_stress(stress: Iterable[str], pairs: Pairs) -> None:
    """Raise UsageError where no photograph has a field to be stressed: before minutes go into looking at them."""
    for field in stress:
        if field not in pairs.fields:
            there = ", ".join(dict.fromkeys(pairs.fields))
            raise UsageError(f"no photograph has the attribute {field!r}: stress one of {there}")


def ask_for(pairs: Pairs, images: Tensor, rng: random.Random) -> Asked:
    """Choose texts for the attributes of ``pairs``, whose photographs are unit rows (n, d).

    Each item is asked for twice: by a few of its values, and by any number of them.

    Raises:
        SourceError: no item has attributes.
    """
    sayings = what_to_ask(pairs, rng)
    if not sayings:
        raise SourceError("no photograph of the training part has attributes: give other --data, or no --attributes")
    domains = np.array([domain for _, domain in sayings], dtype=np.int64)
    mean_of = _means(pairs, images)
    phrases = [phrase(word) for word in pairs.words]
    rows = {one: row for row, one in enumerate(dict.fromkeys(phrases))}
    values, means = torch.zeros(len(sayings), len(rows), dtype=torch.bool), []
    for number, ((_, domain), said) in enumerate(sayings.items()):
        values[number, [rows[phrases[value]] for value in said]] = True
        single = torch.stack([mean_of(domain, frozenset((value,))) for value in sorted(said)]).mean(dim=0)
        means.append(TOGETHER * mean_of(domain, said) + (1 - TOGETHER) * single)
    photographs = [images[torch.from_numpy(np.flatnonzero(pairs.domains == one))] for one in range(domains.max() + 1)]
    texts = [text for text, _ in sayings]
    return Asked(texts, rows, values.to(images.device), domains, photographs, torch.stack(means))


def what_to_ask(pairs: Pairs, rng: random.Random) -> dict[tuple[str, int], frozenset[int]]:
    """Return texts that ask for each item of ``pairs``, each with its domain: which attribute values it says."""
    return {
        (pairs.attribute_text(values), domain): frozenset(values)
        for row, domain in enumerate(pairs.domains.tolist())
        for values in _selections(pairs, row, rng)
    }


def _selections(pairs: Pairs, row: int, rng: random.Random) -> Iterator[list[int]]:
    if present := np.flatnonzero(pairs.attributes[row]).tolist():
        yield rng.sample(present, rng.randint(1, min(FEW, len(present))))
        yield pairs.some_attributes(row, rng)


def _means(pairs: Pairs, images: Tensor) -> Callable[[int, frozenset[int]], Tensor]:
    """Return what gives the mean embedding of the items of a domain that have all of some values."""
    found: dict[tuple[int, frozenset[int]], Tensor] = {}

    def mean_of(domain: int, values: frozenset[int]) -> Tensor:
        if (domain, values) not in found:
            having = pairs.attributes[:, sorted(values)].all(axis=1) & (pairs.domains == domain)
            found[domain, values] = images[torch.from_numpy(np.flatnonzero(having))].mean(dim=0)
        return found[domain, values]

    return mean_of


def learn_directions(
    asked: Asked, pairs: Pairs, before: Tensor, scale: float, stress: Mapping[str, float], seed: int
) -> Directions:
    """Return the directions of attribute values by what was ``asked`` of ``pairs``.

    ``before``: unit rows (t, d), where its texts lie. ``scale``: the inverse temperature. ``stress``: so many times
    the direction of a field's values is added, where others' are added once.
    """
    times = torch.ones(len(asked.rows), 1, device=before.device)
    for word, field in zip(pairs.words, pairs.fields, strict=True):
        if field in stress:
            times[asked.rows[phrase(word)]] = stress[field]
    return Directions(asked.rows, times * find_directions(asked, before, scale, seed))


@torch.enable_grad()
def find_directions(asked: Asked, before: Tensor, scale: float, seed: int) -> Tensor:
    """Return (v, d), for each value what is to be added to texts that say it; they are unit rows ``before`` (t, d)."""
    rng = np.random.default_rng(seed)
    directions = torch.zeros(asked.values.shape[1], before.shape[1], device=before.device, requires_grad=True)
    optimizer = torch.optim.Adam([directions], RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, STEPS)
    for _ in range(STEPS):
        rows = rng.choice(len(asked.texts), min(BATCH, len(asked.texts)), replace=False)
        own = torch.from_numpy(rows).to(before.device)
        embedded = F.normalize(before[own] + asked.values[own].float() @ directions, dim=-1)
        optimizer.zero_grad()
        asked.loss(embedded, rows, scale).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return directions.detach()
