"""DISTIL: checkpoints + photographs + texts --distil--> one checkpoint, that sees and reads as all of them together.

The pupil begins as the first of them. Its image tower learns to see varied and mixed photographs as the joined ones
see the very same pictures: function matching, which needs no caption, and where nothing can be learnt by heart (Beyer
et al. 2022, "Knowledge distillation: a good teacher is patient and consistent", arXiv:2106.05237). Its text tower then
learns to read as they do, and on the way what shoppers call things (`train.words`).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.checkpoint import Checkpoint
from engine.encoder import pick_device
from engine.errors import SourceError
from engine.replacing import replacing
from eval.split import split_of
from ingest.sources.source import Source
from train.augment import augment, draw_variation
from train.card import write_card
from train.course import Course
from train.export import note
from train.joined import Joined, fit_projection
from train.lesson import goals_of, known_texts, make_lesson
from train.model import without_chance
from train.pairs import Pairs, gather_pairs, learnt_pairs
from train.pupil import course_of, export_pupil, prepare
from train.quantize import quantize_image_tower
from train.recipe import DataRecipe
from train.resume import STATE, check_folder, go_on, save
from train.rows import Rows
from train.run import Progress
from train.synonyms import Synonyms
from train.towers import Towers, towers_of
from train.trainer import Report
from train.validation import marks_of
from train.words import BATCH as TEXT_BATCH
from train.words import EPOCHS as TEXT_EPOCHS
from train.words import learn_lesson

EPOCHS, BATCH, RATE, WEIGHT_DECAY = 10, 256, 5e-4, 0.05
MIXED = 0.5
"""Share of the photographs that are mixed with another one (mixup: Zhang et al. 2018)."""
LOOKED_AT = 8000
"""So many photographs and captions say how the joined space is cut, and where the pupil begins."""
LEAST_TEXTS = 40_000
"""So many texts, if there are as many, are read while learning to read."""


def distil(
    checkpoints: Sequence[Checkpoint],
    synonyms: Synonyms,
    sources: Sequence[Source],
    out: Path,
    *,
    epochs: int = EPOCHS,
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    seed: int = 7,
    report: Report = lambda progress: None,
) -> Path:
    """Make one of ``checkpoints`` by the training part of ``sources``; return the folder ``out``/checkpoint.

    ``out`` keeps the decoded photographs, and after every of the ``epochs`` over these the whole state, from which
    ``resume`` goes on. Without ``threads``, a step takes as many cores as are idle.

    Raises:
        SourceError: the sources have too few photographs.
        UsageError: the checkpoints do not fit together, one re-ranks, or the run folder is in use; or what is to be
            resumed is damaged or was begun otherwise.
    """
    check_folder(out, resume)
    torch.set_num_threads(threads or 1)
    torch.manual_seed(seed)
    base, rng, device = checkpoints[0], random.Random(seed), pick_device(torch, device)
    joined, pupil = Joined(checkpoints, device), towers_of(base, device)
    data = _variations(base)
    learning, validation = gather_pairs(sources, data, base.preprocessing, out / "pixels")
    if len(learning) < BATCH:
        raise SourceError(f"{len(learning)} photographs are fewer than one batch ({BATCH}): give more --data")
    _begin(joined, pupil, learning, base.dimension)
    lessons = _Looking(joined, pupil, learning, data, epochs, seed)
    begun = {
        "other data": learning.digest(),
        "other checkpoints": [each.fingerprint for each in checkpoints],
        "another seed": seed,
        "another --epochs": epochs,
    }
    if resume:
        go_on(lessons.restore, out, begun, device)
    judge = _Judge(joined, pupil, validation)
    report(lessons.examined(judge.photographs()))
    while lessons.course.epoch < epochs:
        for progress in lessons.one_epoch(threads):
            report(progress)
        save(lessons.state() | begun, out / STATE)
        report(lessons.examined(judge.photographs()))
    pairs = learnt_pairs(sources, base)
    lesson = make_lesson(synonyms, known_texts(pairs, rng), pairs.words, rng, LEAST_TEXTS)
    goals = goals_of(lesson, joined.embed_texts)
    prepare(pupil, lesson.said, out / "states")
    reading = course_of(pupil, len(lesson.said), TEXT_BATCH, TEXT_EPOCHS, seed)
    while reading.epoch < TEXT_EPOCHS:
        learn_lesson(reading, pupil, lesson.said, goals, threads)
        report(dataclasses.replace(lessons.examined(judge.texts()), epoch=reading.epoch, part="texts"))
    facts = {
        "distilled": {"from": [each.fingerprint for each in checkpoints], "phrases": len(synonyms.meanings)},
        "validation": judge.marks(),
    }
    read, folder = judge.read.cpu().numpy(), out / "checkpoint"
    with replacing(folder) as part:
        export_pupil(pupil, base, facts, part)
        by_arithmetic = quantize_image_tower(Checkpoint(part), learning, validation, read)
        note(part, {"hit@10 by arithmetic of the image tower": by_arithmetic})
        write_card(part, sources)
    return folder


def _variations(base: Checkpoint) -> DataRecipe:
    """Return how ``base`` saw its photographs varied, as far as it says so, and by which split it was trained."""
    share, seed = split_of(base)
    known = {field.name for field in dataclasses.fields(DataRecipe)}
    said = {name: value for name, value in base.recipe.get("data", {}).items() if name in known}
    return DataRecipe(**said | {"train_share": share, "split_seed": seed})


def _begin(joined: Joined, pupil: Towers, pairs: Pairs, dimension: int) -> None:
    """Cut the joined space to as many numbers as the pupil has, and turn the pupil into it."""
    model, rows, captions = pupil.model.eval(), pairs.sample(LOOKED_AT), pairs.first_captions()
    without_chance(model)  # what is to be learnt does not err by chance
    texts, pixels = [captions[row] for row in rows.tolist()], np.asarray(pairs.pixels[rows])
    seen, read = joined.look(pupil.photographs(pixels), texts, dimension)
    with torch.no_grad():
        model.visual_projection = fit_projection(model.visual_projection, pupil.embed_images(model, pixels), seen)
        model.text_projection = fit_projection(model.text_projection, pupil.embed_texts(model, texts), read)


class _Looking:
    """The course of the image tower."""

    def __init__(self, joined: Joined, pupil: Towers, pairs: Pairs, data: DataRecipe, epochs: int, seed: int) -> None:
        model = pupil.model
        side = nn.ModuleDict({"vision_model": model.vision_model, "visual_projection": model.visual_projection})
        self._joined, self._pupil, self._data = joined, pupil, data
        self._pixels = Rows(pairs.pixels, pupil.device)
        self.course = Course(
            model, side, len(pairs), BATCH, epochs=epochs, peak=RATE, weight_decay=WEIGHT_DECAY, seed=seed
        )

    def one_epoch(self, threads: int | None) -> Iterator[Progress]:
        """Look at every photograph once."""
        for rows, rng in self.course.one_epoch(threads):
            yield self.course.learn(self._loss(rows, rng))

    def _loss(self, rows: Any, rng: np.random.Generator) -> Tensor:
        pictures = mixed(augment(self._pixels[rows], draw_variation(len(rows), rng, self._data)), rng)
        goals = self._joined.embed_photographs(pictures)
        return 1 - (self._pupil.embed_photographs(self._pupil.model, pictures) * goals).sum(dim=1).mean()

    def examined(self, marks: dict[str, float]) -> Progress:
        """Return what a run says when it has been examined."""
        return dataclasses.replace(self.course.examined(marks), part="photographs")

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on as if nothing had happened."""
        return self.course.state() | {"directions": self._joined.directions}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of this run."""
        self.course.restore(state)
        self._joined.directions = state["directions"]


class _Judge:
    """Examines the pupil on photographs and captions of validation.

    ``seen``, ``read``: unit rows (n, d), where the pupil saw the photographs and read the captions when it was last
    asked; before that, where the joined ones do.
    """

    def __init__(self, joined: Joined, pupil: Towers, pairs: Pairs) -> None:
        self._pupil, self._pairs = pupil, pairs
        self._wanted = torch.cat([joined.embed_photographs(each) for each in pupil.photographs(pairs.pixels)])
        self._meant = joined.embed_texts(pairs.first_captions())
        self.seen, self.read = self._wanted, self._meant

    @torch.no_grad()
    def photographs(self) -> dict[str, float]:
        """Return how near the pupil sees to the joined ones, and what is found by captions as these read them."""
        self.seen = self._pupil.embed_images(self._pupil.model.eval(), self._pairs.pixels)
        return {"cosine": float((self.seen * self._wanted).sum(dim=1).mean())} | self.marks()

    @torch.no_grad()
    def texts(self) -> dict[str, float]:
        """Return how near the pupil reads to the joined ones, and what is found."""
        self.read = self._pupil.embed_texts(self._pupil.model.eval(), self._pairs.first_captions())
        return {"cosine": float((self.read * self._meant).sum(dim=1).mean())} | self.marks()

    def marks(self) -> dict[str, float]:
        """Return what is found by what was last read in what was last seen."""
        return marks_of(self._pairs, self.seen.cpu().numpy(), self.read.cpu().numpy())


def mixed(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Return pictures (n, 3, height, width), `MIXED` of them blended with another one, which stays the weaker half."""
    count = len(pictures)
    own = np.where(rng.random(count) < MIXED, rng.uniform(0.5, 1.0, count), 1.0).astype(np.float32)
    share = torch.from_numpy(own).to(pictures.device)[:, None, None, None]
    return share * pictures + (1 - share) * pictures[torch.from_numpy(rng.permutation(count)).to(pictures.device)]
