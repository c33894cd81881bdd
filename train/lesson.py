"""What texts are to mean: a phrase, alone and within texts, what is said otherwise; and other texts themselves."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from train.pairs import Pairs
from train.synonyms import Synonyms, phrases_in, stems

CONTEXTS, KEPT = 24, 5
"""In so many texts of the sources each phrase is shown; and so many texts are to be kept for each of those."""
ALONE = ("{}", "a {}", "new {}", "{} men", "{} women", "men's {}", "women's {}", "black {}", "blue {}", "{} for kids")
"""Nearly alone, each phrase is shown so, and each name kept."""
SAYS_NOTHING = "no photograph of the training part has a caption or attributes: give other --data"


@dataclass(frozen=True)
class Lesson:
    """``said``: n texts; ``meant``: for each the texts whose mean embedding it is to have."""

    said: Sequence[str]
    meant: Sequence[Sequence[str]]

    def without(self, texts: Set[str]) -> Lesson:
        """Return what is left if some texts need not be said."""
        left = {said: meant for said, meant in zip(self.said, self.meant, strict=True) if said not in texts}
        return Lesson(list(left), list(left.values()))


def known_texts(pairs: Pairs, rng: random.Random, asked: Sequence[str] = ()) -> list[str]:
    """Return captions and attributes of ``pairs``, mixed, each once.

    Captions of several sentences come whole and in parts. ``asked``: texts of attributes, if they are chosen already.
    """
    texts = pairs.first_captions() + [pairs.title(row, rng, 0.0) for row in range(len(pairs))]
    texts += asked or [pairs.attribute_text(pairs.some_attributes(row, rng)) for row in range(len(pairs))]
    texts = list(dict.fromkeys(texts))
    rng.shuffle(texts)
    return texts


def make_lesson(
    synonyms: Synonyms, texts: Sequence[str], names: Iterable[str], rng: random.Random, least_kept: int = 0
) -> Lesson:
    """Write down what is to be learnt: every phrase, alone and in some of ``texts``; and what is to be kept.

    ``names``: what the sources themselves call things. These and what phrases mean are kept in the same ways as
    phrases are taught, which would take them along otherwise: cross necklace takes necklace. But they are not kept in
    a way that says a phrase itself. ``least_kept``: so many texts are kept, if there are as many, however few phrases
    there are.
    """
    shown: defaultdict[str, list[str]] = defaultdict(list)
    contexts: Counter[str] = Counter()
    there = set(texts)
    for text in texts:
        for phrase, other in synonyms.said_otherwise(text):
            if contexts[phrase] < CONTEXTS:
                contexts[phrase] += 1
                if not shown[other] and other in there and phrase in synonyms.meanings[phrase]:
                    shown[other].append(other)  # the two meet half-way, and do not change places
                shown[other].append(text)
    within = {other: tuple(meant) for other, meant in shown.items()}
    alone = {  # the bare phrase last: men's underwear is what it means itself, not men's and underwear
        each.format(said): tuple(map(each.format, of))
        for each in reversed(ALONE)
        for said, of in synonyms.meanings.items()
    }
    taught = {stems(said) for said in synonyms.meanings}
    ways = [each for each in ALONE if not any(phrases_in(words := stems(each.format("")), taught, len(words)))]
    stay = {
        each.format(name): (each.format(name),) for name in chain(names, *synonyms.meanings.values()) for each in ways
    }
    pairs = within | stay | alone  # in this order: a phrase may be a name, too, or what is meant by another
    kept = [text for text in texts if text not in pairs][: max(KEPT * len(within | alone), least_kept)]
    pairs |= {text: (text,) for text in kept}
    return Lesson(list(pairs), list(pairs.values()))


def goals_of(lesson: Lesson, embed: Callable[[Sequence[str]], Tensor]) -> Tensor:
    """Return unit rows (n, d): where each text of the lesson is to be, by where ``embed`` has what is meant."""
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for meant in lesson.meant for text in meant))}
    found = embed(list(rows))
    means = [found[[rows[text] for text in meant]].mean(dim=0) for meant in lesson.meant]
    return F.normalize(torch.stack(means), dim=-1)
