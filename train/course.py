"""The epochs of something that learns, which can be gone on with after each of them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.errors import UsageError
from train.cores import Cores
from train.run import Progress
from train.schedule import descend, parameter_groups, set_learning_rates

WARMUP = 0.05
"""Share of the steps in which the learning rate rises."""


class Course:
    """Weights, their optimizer, and how far they are.

    ``learning``: that part of ``model`` which learns. ``rows``: so many there are to learn in an epoch, in batches of
    ``batch`` or some more. ``peak``: the highest learning rate.
    """

    def __init__(
        self,
        model: Any,
        learning: nn.Module,
        rows: int,
        batch: int,
        *,
        epochs: int,
        peak: float,
        weight_decay: float,
        seed: int,
    ) -> None:
        self._model, self._rows, self._peak, self._seed = model, rows, peak, seed
        self._optimizer = torch.optim.AdamW(parameter_groups(learning, weight_decay, 1.0), betas=(0.9, 0.98))
        self.batches, self.epochs, self.epoch, self.step = max(1, rows // batch), epochs, 0, 0
        self._size, self._started = 0, 0.0

    @property
    def steps(self) -> int:
        """The number of steps of the whole course."""
        return self.epochs * self.batches

    def one_epoch(self, threads: int | None) -> Iterator[tuple[npt.NDArray[np.int64], np.random.Generator]]:
        """Yield each batch of rows in order, and chance for it; all of it depends on seed and epoch only.

        Without ``threads``, torch takes as many cores for a batch as are idle.
        """
        rng, cores = np.random.default_rng([self._seed, self.epoch]), Cores()
        torch.manual_seed(int(rng.integers(2**31)))
        for rows in np.array_split(rng.permutation(self._rows), self.batches):
            self._size, self._started = len(rows), time.perf_counter()
            torch.set_num_threads(threads or cores.idle())
            self._model.train()
            yield np.sort(rows), rng
        self.epoch += 1

    def learn(self, loss: Tensor, beside: Tensor | float = 0.0) -> Progress:
        """Take a step down the gradient of the batch's ``loss`` and what is ``beside`` it; return what is to be said.

        That is of ``loss`` alone.
        """
        set_learning_rates(self._optimizer, self.step, self.steps, self._peak, WARMUP)
        descend(self._optimizer, loss + beside)
        self.step += 1
        rate = self._size / (time.perf_counter() - self._started)
        return self._told(float(loss.detach()), rate)

    def examined(self, marks: dict[str, float]) -> Progress:
        """Return what is to be said when it has been examined."""
        return self._told(math.nan, 0.0, marks)

    def _told(self, loss: float, rate: float, marks: dict[str, float] | None = None) -> Progress:
        temperature = float(torch.exp(-self._model.logit_scale.detach()))
        return Progress(self.step / self.batches, self.step, self.steps, loss, temperature, rate, marks)

    def state(self) -> dict[str, Any]:
        """Return, between two epochs, what `restore` needs to go on as if nothing had happened."""
        return {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict(), "epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; raises UsageError where it is none of this course."""
        try:
            self._model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.epoch = state["epoch"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(f"last.pt belongs to another run: {str(error).splitlines()[0]}") from error
        self.step = self.epoch * self.batches
