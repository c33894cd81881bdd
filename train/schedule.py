"""How fast each weight learns, step by step."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import nn

_LAYER = re.compile(r"\.(?:layers?|stages)\.(\d+)\.")


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the rate of a step: linear warm-up to ``peak``, then a cosine down to zero."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Return the parameters that learn, in groups for AdamW with ``scale``, their share of the learning rate.

    Norms, biases and the temperature have no weight decay. Layers far from the output, which hold what is general,
    learn more slowly: by ``layer_decay`` for each layer between (BEiT: Bao et al. 2022; FLIP and others for CLIP).
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    deepest: dict[str, int] = {}
    for name in names:
        if found := _LAYER.search(f".{name}"):
            tower = name.partition(".")[0]
            deepest[tower] = max(deepest.get(tower, 0), int(found[1]))
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    parameters = dict(model.named_parameters())
    for name in names:
        key = (parameters[name].ndim >= 2, layer_decay ** _layers_above(name, deepest))
        groups.setdefault(key, []).append(parameters[name])
    return [
        {"params": members, "weight_decay": weight_decay if matrix else 0.0, "scale": scale}
        for (matrix, scale), members in groups.items()
    ]


def _layers_above(name: str, deepest: dict[str, int]) -> int:
    tower = name.partition(".")[0]
    if found := _LAYER.search(f".{name}"):
        return deepest[tower] - int(found[1]) + 1
    return deepest[tower] + 2 if "embeddings" in name and tower in deepest else 0
