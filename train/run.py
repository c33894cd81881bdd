"""The state of one training run, and the step that changes it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.errors import UsageError
from train import parallel
from train.augment import Variation, augment, draw_variation
from train.cores import Cores
from train.gradcache import backward_in_chunks
from train.loss import MAX_LOGIT_SCALE, Alike, Known, Others, contrastive_loss, sigmoid_loss
from train.memory import Memory
from train.pairs import Pairs
from train.recipe import Recipe
from train.rows import Rows
from train.schedule import parameter_groups, set_learning_rates, size_at
from train.texts import write_texts
from train.towers import Towers
from train.validation import marks_of

MAX_BAD_STEPS = 20
"""So many steps with a loss that is no number, and the run is given up: the recipe is at fault, not chance."""
COUNTERS = ("epoch", "step", "bad_steps", "best", "best_epoch")
SIGMOID_SCALE, SIGMOID_BIAS = math.log(10.0), -10.0


class NoNumbersError(Exception):
    """Too many steps gave no number. Its argument says how many."""


@dataclass(frozen=True)
class Progress:
    """What a run says of itself after a step or an epoch.

    ``skipped``: so many steps so far gave no number. ``part``: of a run that has several, the one that it is at.
    """

    epoch: float
    step: int
    steps: int
    loss: float
    temperature: float
    images_per_s: float
    validation: dict[str, float] | None = None
    skipped: int = 0
    part: str = ""


@dataclass(frozen=True)
class _Batch:
    """One process's share of a batch, and which pairs of the whole batch are right: the masks are bool (n, n).

    ``others`` are pairs of earlier steps, ``all_rows`` the numbers of this one's, to be remembered.
    """

    rows: Any
    variation: Variation
    texts: Any
    same: tuple[Tensor, Tensor]
    known: tuple[Tensor, Tensor]
    others: Others | None
    all_rows: Tensor


class Run:
    """Everything that changes while training: model, optimizer, average, counters, random states."""

    def __init__(self, recipe: Recipe, towers: Towers, pairs: Pairs, out: Path, *, adaptive: bool) -> None:
        choices = recipe.optimizer
        self.recipe, self.towers, self.pairs = recipe, towers, pairs
        self.model, self.device = towers.model, towers.device
        self.pixels, self.data = Rows(pairs.pixels, self.device), pairs.digest()
        self.texts = write_texts(pairs, recipe.data, choices.seed)
        towers.prepare(pairs.pixels, self.texts.texts, choices, out / "states")
        self.bias = nn.Parameter(torch.tensor(SIGMOID_BIAS, device=self.device))
        averaging = get_ema_multi_avg_fn(choices.ema_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=averaging, use_buffers=True)
        groups = parameter_groups(self.model, choices.weight_decay, choices.layer_decay)
        if choices.loss == "sigmoid":
            groups.append({"params": [self.bias], "weight_decay": 0.0, "scale": 1.0})
            with torch.no_grad():
                self.model.logit_scale.fill_(SIGMOID_SCALE)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.epoch = self.step = self.bad_steps = self.best_epoch = 0
        self.best = -1.0
        self.steps_per_epoch = len(pairs) // choices.batch_size
        self.steps = self.steps_per_epoch * choices.epochs
        self._cores = Cores() if adaptive else None
        self.memory = Memory(choices.memory, self.device)
        self._latest = (self.memory.images, self.memory.titles)
        self.taught: Tensor | None = None
        self._known = Known(pairs.domains, pairs.captioned, self.device)
        self.alike = Alike((pairs.keys, pairs.products), self.device)

    @property
    def temperature(self) -> float:
        """The learnt temperature, by which cosines are divided."""
        return float(torch.exp(-self.model.logit_scale.detach()))

    def is_best(self, mark: float) -> bool:
        """Remember the mark of the epoch that has ended; say whether it is the best so far."""
        if mark > self.best:
            self.best, self.best_epoch = mark, self.epoch
        return self.best_epoch == self.epoch

    @property
    def is_exhausted(self) -> bool:
        """Whether validation has not risen for as many epochs as the recipe has patience."""
        patience = self.recipe.optimizer.patience
        return bool(patience) and self.epoch - self.best_epoch >= patience

    def one_epoch(self) -> Iterator[Progress]:
        """Train on whole batches, on no pair twice, in an order that depends on seed and epoch only.

        What fills no batch at the end waits for another epoch.
        """
        choices = self.recipe.optimizer
        rng = np.random.default_rng(np.random.SeedSequence([choices.seed, self.epoch]))
        torch.manual_seed(int(rng.integers(2**31)))
        order = rng.permutation(len(self.pairs))
        self.model.train()
        for number in range(self.steps_per_epoch):
            started = time.perf_counter()
            self.use_idle_cores()
            rows = np.sort(order[number * choices.batch_size : (number + 1) * choices.batch_size])
            loss = self._one_step(self._batch(rows, rng))
            rate = len(rows) / (time.perf_counter() - started)
            progress = self.epoch + (number + 1) / self.steps_per_epoch
            yield Progress(progress, self.step, self.steps, loss, self.temperature, rate, None, self.bad_steps)
        self.epoch += 1

    def use_idle_cores(self) -> None:
        """Let the next step take as many cores as nobody else needs, unless a number was given."""
        if self._cores:
            torch.set_num_threads(self._cores.idle())

    def _batch(self, rows: Any, rng: np.random.Generator) -> _Batch:
        """Choose texts and variations for a batch, and take this process's share of it."""
        pairs = self.pairs
        variation = draw_variation(len(rows), rng, self.recipe.data)
        titles, attributes = self.texts.choose(rows, rng)
        here, before = torch.from_numpy(rows).to(self.device), self.memory.rows
        same_attributes = self.texts.same_attributes(pairs, rows, attributes).to(self.device)
        same_title = self.alike(here, here)
        wrong = self._known.captions(here, before) & ~self.alike(here, before)
        start, stop = parallel.share(len(rows))
        return _Batch(
            rows[start:stop],
            variation.part(start, stop),
            (titles[start:stop], attributes[start:stop]),
            (same_title, same_attributes),
            (self._known.captions(here, here), self._known.attributes(here, here)),
            Others(self.memory.images, self.memory.titles, wrong) if len(before) else None,
            here,
        )

    def _one_step(self, batch: _Batch) -> float:
        choices = self.recipe.optimizer
        set_learning_rates(self.optimizer, self.step, self.steps, choices.learning_rate, choices.warmup_share)
        self.optimizer.zero_grad(set_to_none=True)
        statistics = [buffer.clone() for buffer in self._statistics()]
        loss = backward_in_chunks(self._sides(batch), partial(self._loss, batch))
        learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        parallel.average_gradients(learning)
        norm = nn.utils.clip_grad_norm_(learning, choices.clip_norm)
        self.step += 1
        if not torch.isfinite(norm):
            for buffer, before in zip(self._statistics(), statistics, strict=True):
                buffer.copy_(before)  # batch normalisation has looked already
            self.bad_steps += 1
            if self.bad_steps > MAX_BAD_STEPS:
                raise NoNumbersError(self.bad_steps)
            return math.nan
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)
        self.memory.remember(batch.all_rows, *self._latest)
        parallel.average_buffers(self.model)
        self.average.update_parameters(self.model)
        return float(loss)

    def _statistics(self) -> Iterator[Tensor]:
        """Yield what a forward pass changes by itself: the statistics of batch normalisation."""
        return filter(torch.is_floating_point, self.model.buffers())

    def _sides(self, batch: _Batch) -> tuple[list[Any], ...]:
        """Return how to embed the photographs, the titles and the attribute texts of a batch, in chunks."""
        count, texts = len(batch.rows), self.texts.texts
        each = self.recipe.optimizer.micro_batch or count
        spans = [(start, min(start + each, count)) for start in range(0, count, each)]
        photographs = [partial(self._photographs, batch, start, stop) for start, stop in spans]
        titles, attributes = (
            [partial(self.towers.text_rows, rows[start:stop], texts) for start, stop in spans] for rows in batch.texts
        )
        return photographs, titles, attributes

    def _photographs(self, batch: _Batch, start: int, stop: int) -> Tensor:
        rows, spec = batch.rows[start:stop], self.towers.preprocessing
        size = size_at(self.step, self.steps, self.recipe.optimizer.coarse_share, (spec.height, spec.width))
        part = batch.variation.part(start, stop)
        return self.towers.image_rows(rows, lambda: augment(self.pixels[rows], part, size))

    def _loss(self, batch: _Batch, images: Tensor, titles: Tensor, attributes: Tensor) -> Tensor:
        choices = self.recipe.optimizer
        images, titles, attributes = (parallel.gathered(rows) for rows in (images, titles, attributes))
        scale = self.model.logit_scale * (0.0 if choices.loss == "raw" else 1.0)
        self._latest = (images.detach(), titles.detach())
        losses = []
        for texts, same, known, others in zip(
            (titles, attributes), batch.same, batch.known, (batch.others, None), strict=True
        ):
            if choices.loss == "sigmoid":
                losses.append(sigmoid_loss(images, texts, scale, self.bias, same, known))
            else:
                losses.append(contrastive_loss(images, texts, scale, same, known, others))
        loss = losses[0] + choices.attribute_weight * losses[1]
        if self.taught is not None:
            loss = loss + choices.teach_weight * (1 - (images * self.taught[batch.all_rows]).sum(dim=1)).mean()
        return loss

    def examine(self, pairs: Pairs) -> dict[str, float]:
        """Return hit@1, hit@10 and MRR of the averaged model, captions to photographs of ``pairs``."""
        model = self.average.module.eval()
        with torch.inference_mode():
            images = self.towers.embed_images(model, pairs.pixels)
            texts = self.towers.embed_texts(model, pairs.first_captions())
        return marks_of(pairs, images.cpu().numpy(), texts.cpu().numpy())

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on as if nothing had happened."""
        names = ("model", "average", "optimizer", "memory")
        parts = {name: getattr(self, name).state_dict() for name in names}
        counters = {name: getattr(self, name) for name in COUNTERS}
        others = {"bias": self.bias.detach(), "recipe": json.dumps(asdict(self.recipe)), "data": self.data}
        return parts | counters | others

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; raises UsageError where it belongs to another recipe or to other data."""
        if state.get("recipe") != json.dumps(asdict(self.recipe)):
            raise UsageError("last.pt belongs to another recipe: resume with the one it was started with")
        if state.get("data") != self.data:
            raise UsageError(
                "last.pt belongs to other data, or to an earlier version: resume with the --data it was started with"
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.memory.load_state_dict(state["memory"])
            with torch.no_grad():
                self.bias.copy_(state["bias"])
            for name in COUNTERS:
                setattr(self, name, state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(f"last.pt belongs to another base: {str(error).splitlines()[0]}") from error
