"""TEACH: captions + all photographs --teach_captions--> checkpoint, whose text tower finds better among many.

A batch holds one photograph in a hundred of a catalogue, and a search is among all of them. Beside a locked image
tower (locked-image tuning: Zhai et al. 2022) all of them are embedded already, so each caption can be set against all
at once: the softmax that is learnt is that of the search, and needs no memory of earlier batches. Of the tokens of a
caption some are left out, so that less is known by heart. All other texts, as words of shoppers and attributes, stay
where a lesson has them (`train.words`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.encoder import pick_device
from engine.errors import SourceError
from eval.split import split_of
from ingest.sources.source import Source
from train.attributes import what_to_ask
from train.cores import Cores
from train.course import Course
from train.lesson import SAYS_NOTHING, goals_of, known_texts, make_lesson
from train.loss import UNKNOWN, Alike, Known, cross_entropy
from train.mix import best_mixture, copy_of
from train.pairs import Pairs, gather_pairs
from train.pupil import THAWED, begun_with, check_pupil, course_of, keep_taught, prepare
from train.recipe import DataRecipe
from train.resume import STATE, go_on, save
from train.run import Progress
from train.synonyms import Synonyms
from train.teacher import taught_images
from train.towers import Towers, towers_of
from train.validation import JUDGE, marks_of

BATCH, KEPT = 512, 128
"""So many captions are learnt in a step, and so many other texts kept."""
STAY = 10.0
"""What weighs 1 - cosine of a kept text beside a caption's cross-entropy in nats."""
LEFT_OUT = 0.15
"""The share of tokens."""
PARTS = 3
"""So often some sentences of a long caption are taken."""
WEIGHT_DECAY = 0.05

Numbers = npt.NDArray[np.int64]


def teach_captions(
    base: Checkpoint,
    synonyms: Synonyms,
    sources: Sequence[Source],
    out: Path,
    *,
    epochs: int,
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    seed: int = 7,
    begin: Callable[[str], None] = lambda what: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Path:
    """Teach the text tower of ``base`` to find the photographs of ``sources`` by captions; return ``out``/checkpoint.

    What is kept is that mixture with the weights before by which the validation part finds most. Arguments as of
    `train.words.teach_words`; ``synonyms`` say which words of shoppers are to mean what they mean.

    Raises:
        SourceError: the sources say nothing, or two of them give the same photograph, or a part of them has none.
        UsageError: ``base`` re-ranks, and its words would no longer fit its heads; ``out`` is in use; or what is to be
            resumed is damaged or was begun otherwise.
    """
    check_pupil(base, out, resume)
    torch.set_num_threads(threads or Cores().idle())
    torch.manual_seed(seed)
    device, rng, cache = pick_device(torch, device), random.Random(seed), out / "pixels"
    towers = towers_of(base, device, thawed=THAWED)
    share, split_seed = split_of(base)
    data = DataRecipe(train_share=share, split_seed=split_seed)
    pairs, validation = gather_pairs(sources, data, base.preprocessing, cache)
    begin(f"looking at {len(pairs) + len(validation):,} photographs")
    images, seen = (taught_images(base, each, base.preprocessing, cache).to(device) for each in (pairs, validation))
    ways, asked = ways_to_say(pairs, rng), [text for text, _ in what_to_ask(pairs, rng)]
    texts, read = known_texts(pairs, rng, asked), validation.first_captions()
    if len(texts) < 2:
        raise SourceError(SAYS_NOTHING)
    lesson = make_lesson(synonyms, texts, pairs.words, rng, len(texts)).without(set(chain.from_iterable(ways)))
    every = list(dict.fromkeys(chain(lesson.said, *lesson.meant, *ways, read)))
    numbers = {text: number for number, text in enumerate(every)}
    begin(f"reading {len(every):,} texts")
    prepare(towers, every, out / "states")

    def numbers_of(texts: Sequence[str]) -> Numbers:
        return np.array([numbers[text] for text in texts])

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> Tensor:
        towers.model.eval()
        return towers.text_rows(numbers_of(texts), every)

    def examine() -> dict[str, float]:
        return marks_of(validation, seen.cpu().numpy(), embed(read).cpu().numpy())

    captions, before = Captions(pairs, images, [numbers_of(texts) for texts in ways]), copy_of(towers.model)
    course = course_of(towers, len(captions), BATCH, epochs, seed, WEIGHT_DECAY)
    learning = Learning(course, towers, captions, every, goals_of(lesson, embed))
    begun = begun_with(base, pairs, synonyms, seed, epochs, "captions")
    if resume:
        go_on(course.restore, out, begun, device)
    report(course.examined(examine()))
    while course.epoch < epochs:
        for progress in learning.one_epoch(threads):
            report(progress)
        save(course.state() | begun, out / STATE)
        report(course.examined(examine()))
    alpha = best_mixture(towers.model, before, lambda: examine()[JUDGE])
    marks = examine() | {"alpha": alpha}
    report(course.examined(marks))
    taught = {"phrases": len(synonyms.meanings), "captions": len(captions)}
    return keep_taught(towers, base, sources, out, taught, validation=marks)


def ways_to_say(pairs: Pairs, rng: random.Random) -> list[list[str]]:
    """Return, for each item, its captions, whole and in parts; or its attributes, if it has none."""
    return [
        list(dict.fromkeys([*item.captions, *(pairs.title(row, rng, 0.0) for _ in range(PARTS))]))
        for row, item in enumerate(pairs.items)
    ]


class Captions:
    """Which photographs captions are to find.

    ``images``: unit rows (n, d) of the photographs of ``pairs``. ``ways``: for each, the numbers of what says it.
    """

    def __init__(self, pairs: Pairs, images: Tensor, ways: Sequence[Numbers]) -> None:
        self._images, self._ways, device = images, ways, images.device
        self._alike = Alike((pairs.keys, pairs.products), str(device))
        self._known = Known(pairs.domains, pairs.captioned, str(device))
        self._every = torch.arange(len(pairs), device=device)

    def __len__(self) -> int:
        return len(self._ways)

    def choose(self, rows: Numbers, rng: np.random.Generator) -> Numbers:
        """Return the number of a text for each of some items."""
        return np.array([rng.choice(self._ways[row]) for row in rows.tolist()])

    def loss(self, embedded: Tensor, rows: Numbers, scale: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats, of texts for the items ``rows`` (k,), embedded as unit rows (k, d).

        Half of it is that of all photographs given a text, half that of the k texts given a photograph. ``scale``: the
        inverse temperature.
        """
        own = torch.from_numpy(rows).to(embedded.device)
        known = self._known.captions(own, self._every)
        logits = (scale * embedded @ self._images.t()).masked_fill(~known, UNKNOWN)
        same = self._alike(own, self._every) & known
        return (cross_entropy(logits, same) + cross_entropy(logits[:, own].t(), same[:, own].t())) / 2


class Learning:
    """A course of captions beside texts that stay.

    The towers were prepared with ``texts``, of which the first are to stay at their ``goals``, unit rows (m, d).
    """

    def __init__(
        self, course: Course, towers: Towers, captions: Captions, texts: Sequence[str], goals: Tensor
    ) -> None:
        self._course, self._towers, self._captions, self._texts, self._goals = course, towers, captions, texts, goals

    def one_epoch(self, threads: int | None) -> Iterator[Progress]:
        """Learn a caption of every item once."""
        for rows, rng in self._course.one_epoch(threads):
            loss, stayed = self._losses(rows, rng)
            yield self._course.learn(loss, STAY * stayed)

    def _losses(self, rows: Numbers, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return that of captions of the items ``rows``, and 1 - cosine of some of what is to stay."""
        towers, scale = self._towers, self._towers.model.logit_scale.exp().detach()
        embedded = towers.text_rows(self._captions.choose(rows, rng), self._texts, LEFT_OUT)
        kept = rng.choice(len(self._goals), min(KEPT, len(self._goals)), replace=False)
        goals = self._goals[torch.from_numpy(kept).to(self._goals.device)]
        stayed = (towers.text_rows(kept, self._texts) * goals).sum(dim=1).mean()
        return self._captions.loss(embedded, rows, scale), 1 - stayed
