"""TEACH: synonyms + texts --teach_words--> checkpoint, whose text tower understands words that no caption has.

A text said otherwise is to be embedded where the text itself is (red jumper where red sweater is), and every other
text where it was. So no photograph is needed, and the image tower stays as it is. A teacher that is the learner's own
earlier self: self-distillation, with the other wording for the variation (compare Reimers and Gurevych 2020, who teach
translations so). Where texts that say attributes are to be, photographs may tell (`train.attributes`). Captions that
learn beside the same lesson: `train.captions`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.encoder import pick_device
from engine.errors import SourceError
from ingest.sources.source import Source
from train.attributes import Asked, ask_for, check_stress, learn_directions
from train.cores import Cores
from train.course import Course
from train.lesson import SAYS_NOTHING, goals_of, known_texts, make_lesson
from train.model import without_chance
from train.pairs import learnt_pairs
from train.pupil import THAWED, begun_with, check_pupil, course_of, keep_taught, prepare
from train.resume import STATE, go_on, save
from train.synonyms import Synonyms
from train.teacher import taught_images
from train.towers import Towers, towers_of

BATCH, EPOCHS = 256, 10
LEAST_KEPT = 10_000
"""So many texts are to be kept, if there are as many, however little is taught."""
CHECKED = 1000
"""So many texts are looked at after an epoch."""


@dataclass(frozen=True)
class Taught:
    """After an epoch: mean cosines of what is said to what is meant, and of texts not shown to where they belong."""

    epoch: int
    understood: float
    kept: float


def teach_words(
    base: Checkpoint,
    synonyms: Synonyms,
    sources: Sequence[Source],
    out: Path,
    *,
    attributes: Mapping[str, float] | None = None,
    epochs: int = EPOCHS,
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    seed: int = 7,
    begin: Callable[[str], None] = lambda what: None,
    report: Callable[[Taught], None] = lambda taught: None,
) -> Path:
    """Teach the text tower of ``base`` what shoppers say, by the texts of ``sources``; return ``out``/checkpoint.

    Only what ``base`` was trained with is read of the sources: what is held out stays so. ``attributes``: texts of
    these learn from the photographs, and so much do the fields weigh, 1 where nothing is said. ``out`` keeps the state
    after every epoch, from which ``resume`` goes on. Without ``threads``, learning takes as many cores as are idle.
    ``begin`` is told what takes minutes before the first epoch.

    Raises:
        SourceError: the sources say nothing, or two of them give the same photograph; or none has attributes.
        UsageError: ``base`` re-ranks, and its words would no longer fit its heads; ``out`` is in use, or what is to be
            resumed is damaged or was begun otherwise; or no photograph has a field that weighs more than others.
    """
    check_pupil(base, out, resume)
    torch.set_num_threads(threads or Cores().idle())
    torch.manual_seed(seed)
    device, rng = pick_device(torch, device), random.Random(seed)
    towers = towers_of(base, device, thawed=0 if attributes is None else THAWED)
    pairs = learnt_pairs(sources, base, None if attributes is None else out / "pixels")
    asked: Asked | None = None
    if attributes is not None:
        check_stress(attributes, pairs)
        begin(f"looking at {len(pairs):,} photographs")
        asked = ask_for(pairs, taught_images(base, pairs, base.preprocessing, out / "pixels").to(device), rng)
    texts = known_texts(pairs, rng, asked.texts if asked else ())
    if len(texts) < 2:
        raise SourceError(SAYS_NOTHING)
    count = min(CHECKED, len(texts) // 2)
    checked, texts = texts[:count], texts[count:]
    lesson = make_lesson(synonyms, texts, pairs.words, rng, len(texts) if asked else LEAST_KEPT).without(set(checked))
    every = list(dict.fromkeys(chain(lesson.said, *lesson.meant, checked)))
    numbers = {text: row for row, text in enumerate(every)}
    begin(f"reading {len(every):,} texts")
    without_chance(towers.model)  # whoever is to stay where they were must not err by chance
    prepare(towers, every, out / "states")

    def embed(texts: Sequence[str]) -> Tensor:
        return towers.text_rows(np.array([numbers[text] for text in texts]), every)

    def meant(texts: Sequence[str]) -> Tensor:
        return directions.move(texts, embed(texts)) if directions else embed(texts)

    with torch.no_grad():
        towers.model.eval()
        scale = float(towers.model.logit_scale.exp())
        directions = asked and learn_directions(asked, pairs, embed(asked.texts), scale, attributes or {}, seed)
        goals, expected = goals_of(lesson, meant), meant(checked)
    new = [row for row, (one, same) in enumerate(zip(lesson.said, lesson.meant, strict=True)) if same != (one,)]
    shown = np.array(rng.sample(new, min(CHECKED, len(new))))
    course = course_of(towers, len(lesson.said), BATCH, epochs, seed)
    begun = begun_with(
        base,
        pairs,
        synonyms,
        seed,
        epochs,
        f"attributes {sorted(attributes.items())}" if attributes is not None else "words",
    )
    if resume:
        go_on(course.restore, out, begun, device)
    while course.epoch < epochs:
        learn_lesson(course, towers, lesson.said, goals, threads)
        save(course.state() | begun, out / STATE)
        with torch.inference_mode():
            towers.model.eval()
            understood = (towers.text_rows(shown, every) * goals[shown]).sum(dim=1).mean()
            kept = (embed(checked) * expected).sum(dim=1).mean()
            report(Taught(course.epoch, float(understood), float(kept)))
    return keep_taught(towers, base, sources, out, {"phrases": len(synonyms.meanings), "attributes": attributes})


def learn_lesson(course: Course, towers: Towers, said: Sequence[str], goals: Tensor, threads: int | None) -> None:
    """Train the text side for an epoch, to bring what is said to its ``goals`` (n, d).

    The towers were prepared with what is said, perhaps with other texts after that.
    """
    for rows, _ in course.one_epoch(threads):
        wanted = goals[torch.from_numpy(rows).to(goals.device)]
        course.learn(1 - (towers.text_rows(rows, said) * wanted).sum(dim=1).mean())
