"""Mixtures of weights: those before fine-tuning with those after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ALPHAS = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def copy_of(model: Any) -> dict[str, Tensor]:
    """Return a copy of the model's weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def best_mixture(model: Any, before: dict[str, Tensor], judge: Callable[[], float]) -> float:
    """Mix ``model``'s weights with those ``before``, in the proportion that ``judge`` likes best; return it.

    A model between the two often beats both: it keeps what the base knew of the wider world (WiSE-FT: Wortsman et al.
    2022). 1 is the fine-tuned model alone. Equal marks go to the larger proportion.
    """
    after = copy_of(model)
    marks = {}
    for alpha in ALPHAS:
        _load_mixture(model, before, after, alpha)
        marks[alpha] = judge()
    alpha = max(ALPHAS, key=lambda one: (marks[one], one))
    _load_mixture(model, before, after, alpha)
    return alpha


def _load_mixture(model: Any, before: dict[str, Tensor], after: dict[str, Tensor], alpha: float) -> None:
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(before[name].to(value.device).lerp(after[name], alpha))
