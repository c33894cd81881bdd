"""What a re-ranker learns from: cells of photographs and states of words, from towers that stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.augment import augment, draw_variation
from train.run import Run


@dataclass(frozen=True)
class TokenBatch:
    """n captioned photographs, varied, and a text of each: ``cells`` (n, p, w), ``states`` (n, l, v) of the tokens.

    ``there``: bool (n, l), which tokens are no padding. ``same``: bool (n, n), which texts are as right as a
    photograph's own.
    """

    cells: Tensor
    states: Tensor
    there: Tensor
    same: Tensor


def token_batches(run: Run, size: int, steps: int) -> Iterator[TokenBatch]:
    """Yield ``steps`` batches of ``size`` photographs; the recipe's seed decides which, and how they are varied."""
    model, towers, pairs = run.average.module.eval(), run.towers, run.pairs
    captioned = np.flatnonzero(pairs.captioned)
    rng = np.random.default_rng(run.recipe.optimizer.seed)
    for _ in range(steps):
        run.use_idle_cores()
        rows = np.sort(rng.choice(captioned, min(size, len(captioned)), replace=False))
        texts, _ = run.texts.choose(rows, rng)
        with torch.no_grad():
            cells = towers.cells(model, augment(run.pixels[rows], draw_variation(len(rows), rng, run.recipe.data)))
            states, there = towers.word_states(model, texts, run.texts.texts)
        here = torch.from_numpy(rows).to(run.device)
        yield TokenBatch(cells, states, there, run.alike(here, here))
