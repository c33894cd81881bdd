"""TEACH: synonyms + texts --teach_words--> checkpoint, whose text tower understands words that no caption has.

A text said otherwise is to be embedded where the text itself is (red jumper where red sweater is), and every other
text where it was. So no photograph is needed, and the image tower stays as it is. A teacher that is the learner's own
earlier self: self-distillation, with the other wording for the variation (compare Reimers and Gurevych 2020, who teach
translations so). Where texts that say attributes are to be, photographs may tell (`train.attributes`). Captions that
learn beside the same lesson: `train.captions`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.encoder import pick_device
from engine.errors import SourceError, UsageError
from engine.replacing import replacing
from ingest.sources.source import Source
from train.attributes import Asked, ask_for, check_stress, learn_directions
from train.card import write_card
from train.cores import Cores
from train.export import export_checkpoint
from train.model import without_chance
from train.pairs import Pairs, learnt_pairs
from train.recipe import OptimizerRecipe
from train.schedule import descend, parameter_groups, set_learning_rates
from train.synonyms import Synonyms
from train.teacher import taught_images
from train.towers import Towers, towers_of

CONTEXTS, KEPT = 24, 5
"""In so many texts of the sources each phrase is shown; and so many texts are to be kept for each of those."""
ALONE = ("{}", "a {}", "new {}", "{} men", "{} women", "men's {}", "women's {}", "black {}", "blue {}", "{} for kids")
"""Nearly alone, each phrase is shown so."""
BATCH, EPOCHS, WARMUP = 256, 10, 0.05
CHECKED = 1000
"""So many texts are looked at after an epoch."""
NEW_LAYER_RATE, RATE = 5e-4, 2e-5
"""For new layers over a frozen sentence encoder, and for a text tower that learns as a whole."""
THAWED = 1
"""So many frozen layers below the new ones learn from photographs, too: one layer has no room for all they tell."""
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
    threads: int | None = None,
    device: str = "auto",
    seed: int = 7,
    begin: Callable[[str], None] = lambda what: None,
    report: Callable[[Taught], None] = lambda taught: None,
) -> Path:
    """Teach the text tower of ``base`` what shoppers say, by the texts of ``sources``; return ``out``/checkpoint.

    Only what ``base`` was trained with is read of the sources: what is held out stays so. ``attributes``: texts of
    these learn from the photographs, and so much do the fields weigh, 1 where nothing is said. Without ``threads``,
    learning takes as many cores as are idle. ``begin`` is told what takes minutes before the first epoch.

    Raises:
        SourceError: the sources say nothing, or two of them give the same photograph; or none has attributes.
        UsageError: ``base`` re-ranks, and its words would no longer fit its heads; ``out`` is in use; or no photograph
            has a field that weighs more than others.
    """
    check_pupil(base, out)
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
    lesson = make_lesson(synonyms, texts, rng, len(texts) if asked else 0)
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
    for epoch in learn_lesson(towers, lesson.said, goals, epochs=epochs, threads=threads, seed=seed):
        with torch.inference_mode():
            towers.model.eval()
            understood = (towers.text_rows(shown, every) * goals[shown]).sum(dim=1).mean()
            kept = (embed(checked) * expected).sum(dim=1).mean()
            report(Taught(epoch, float(understood), float(kept)))
    return keep_taught(towers, base, sources, out, {"phrases": len(synonyms.meanings), "attributes": attributes})


def check_pupil(base: Checkpoint, out: Path) -> None:
    """Refuse a checkpoint that re-ranks, as its words would no longer fit its heads, and a folder in use."""
    if base.token_heads:
        raise UsageError(f"{base.folder} has heads for re-ranking: teach the checkpoint that it was made from")
    if (out / "checkpoint").exists():
        raise UsageError(f"{out / 'checkpoint'} exists already: give another --out")


def known_texts(pairs: Pairs, rng: random.Random, asked: Sequence[str] = ()) -> list[str]:
    """Return captions and attributes of ``pairs``, mixed, each once.

    Captions of several sentences come whole and in parts. ``asked``: texts of attributes, if they are chosen already.
    """
    texts = pairs.first_captions() + [pairs.title(row, rng, 0.0) for row in range(len(pairs))]
    texts += asked or [pairs.attribute_text(pairs.some_attributes(row, rng)) for row in range(len(pairs))]
    texts = list(dict.fromkeys(texts))
    rng.shuffle(texts)
    return texts


def make_lesson(synonyms: Synonyms, texts: Sequence[str], rng: random.Random, least_kept: int = 0) -> Lesson:
    """Write down what is to be learnt: every phrase, alone and in some of ``texts``; and what is to be kept.

    ``least_kept``: so many texts are kept, if there are as many, however few phrases there are.
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
    pairs = {other: tuple(meant) for other, meant in shown.items()}
    pairs |= {one: (one,) for meant in synonyms.meanings.values() for one in meant}
    for phrase, meant in synonyms.meanings.items():  # last: a phrase may be what is meant by another
        pairs |= {alone.format(phrase): tuple(map(alone.format, meant)) for alone in ALONE}
    kept = [text for text in texts if text not in pairs][: max(KEPT * len(pairs), least_kept)]
    pairs |= {text: (text,) for text in kept}
    return Lesson(list(pairs), list(pairs.values()))


def goals_of(lesson: Lesson, embed: Callable[[Sequence[str]], Tensor]) -> Tensor:
    """Return unit rows (n, d): where each text of the lesson is to be, by where ``embed`` has what is meant."""
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for meant in lesson.meant for text in meant))}
    found = embed(list(rows))
    means = [found[[rows[text] for text in meant]].mean(dim=0) for meant in lesson.meant]
    return F.normalize(torch.stack(means), dim=-1)


def prepare(towers: Towers, texts: Sequence[str], cache: Path) -> None:
    """Let the text side learn, and it alone; ``cache``: a folder for what its frozen layers make of ``texts``."""
    towers.prepare(None, texts, OptimizerRecipe(), cache)
    towers.lock("image")


def learn_lesson(
    towers: Towers, said: Sequence[str], goals: Tensor, *, epochs: int, threads: int | None, seed: int
) -> Iterator[int]:
    """Train the text side to bring what is said to its ``goals`` (n, d); yield the number of every epoch that ended.

    The towers were prepared with what is said, perhaps with other texts after that.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(parameter_groups(towers.model, 0.0, 1.0), betas=(0.9, 0.98))
    peak = peak_rate(towers)
    batches, cores = -(-len(said) // BATCH), Cores()
    for epoch in range(epochs):
        towers.model.train()
        for number, rows in enumerate(np.array_split(rng.permutation(len(said)), batches)):
            torch.set_num_threads(threads or cores.idle())
            set_learning_rates(optimizer, epoch * batches + number, epochs * batches, peak, WARMUP)
            embedded = towers.text_rows(rows, said)
            loss = 1 - (embedded * goals[torch.from_numpy(rows).to(goals.device)]).sum(dim=1).mean()
            descend(optimizer, loss)
        yield epoch + 1


def peak_rate(towers: Towers) -> float:
    """Return the highest learning rate of a text side."""
    return NEW_LAYER_RATE if towers.word_layer < -1 else RATE


def keep_taught(
    towers: Towers,
    base: Checkpoint,
    sources: Sequence[Source],
    out: Path,
    taught: Mapping[str, Any],
    **facts: Any,
) -> Path:
    """Write ``out``/checkpoint, with what it was ``taught`` and other facts, and its card; return it."""
    folder = out / "checkpoint"
    with replacing(folder) as part:
        export_pupil(towers, base, {"taught": {"base": base.fingerprint, **taught}, **facts}, part)
        write_card(part, sources)
    return folder


def export_pupil(towers: Towers, base: Checkpoint, facts: dict[str, Any], folder: Path) -> None:
    """Write the checkpoint; its notes keep the base's recipe, and what else is known of the base apart."""
    notes: dict[str, Any] = {**facts, "base": {}}
    for name, fact in base.notes.items():
        (notes if name == "recipe" else notes["base"])[name] = fact
    export_checkpoint(towers.model, towers.tokenizer, towers.preprocessing, notes, folder, base)
