"""How fast each weight learns, step by step, and how large the photographs are."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

_STAGE = re.compile(r"\.stages\.(\d+)\.")
_LAYER = re.compile(r"\.(?:layers?|blocks)\.(\d+)\.")


COARSE, CELL = 5 / 8, 16
"""What is left of the sides of a photograph in the coarse steps, and of which number of pixels they are multiples."""


def size_at(step: int, steps: int, coarse_share: float, full: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the photographs in a step, in pixels (progressive resizing: Tan and Le 2021)."""
    if step >= coarse_share * steps:
        return full
    height, width = (max(1, round(side * COARSE / CELL)) * CELL for side in full)
    return height, width


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the rate of a step: linear warm-up to ``peak``, then a cosine down to zero."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def set_learning_rates(
    optimizer: torch.optim.Optimizer, step: int, steps: int, peak: float, warmup_share: float
) -> None:
    """Give every group of parameters its rate of a step: its share, ``scale``, if it has one."""
    rate = learning_rate(step, steps, peak, warmup_share)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, clip_norm: float = 1.0) -> None:
    """Take one step down the gradient of ``loss``, whose norm over all that learns is clipped to ``clip_norm``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(learning, clip_norm)
    optimizer.step()


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Return the parameters that learn, in groups for AdamW with ``scale``, their share of the learning rate.

    Norms, biases and the temperature have no weight decay. Layers far from the output, which hold what is general,
    learn more slowly: by ``layer_decay`` for each layer between (BEiT: Bao et al. 2022; FLIP and others for CLIP).
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    stages = {_tower(name): 0 for name in names}
    for name in names:
        if found := _STAGE.search(name):
            stages[_tower(name)] = max(stages[_tower(name)], int(found[1]) + 1)
    places = {name: _place(name, stages[_tower(name)]) for name in names}
    deepest = dict.fromkeys(stages, -1)
    for name, place in places.items():
        deepest[_tower(name)] = max(deepest[_tower(name)], -1 if place is None else place)
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    parameters = dict(model.named_parameters())
    for name in names:
        place = places[name]
        above = 0 if place is None else deepest[_tower(name)] - place + 1
        key = (parameters[name].ndim >= 2, layer_decay**above)
        groups.setdefault(key, []).append(parameters[name])
    return [
        {"params": members, "weight_decay": weight_decay if matrix else 0.0, "scale": scale}
        for (matrix, scale), members in groups.items()
    ]


def _tower(name: str) -> str:
    return name.partition(".")[0]


def _place(name: str, stages: int) -> int | None:
    """Return which layer of its tower a weight is of, counted from the input: stages first, then what is above them.

    -1 for the embeddings below them all, None for what is above: norms at the end, poolers, projections.
    """
    if found := _STAGE.search(name):
        return int(found[1])
    if found := _LAYER.search(f".{name}"):
        return stages + int(found[1])
    if "embeddings" not in name:
        return None
    return stages if stages and "embedder" not in name else -1
