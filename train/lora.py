"""Low-rank adaptation: what changes of a matrix is the product of two thin ones (LoRA: Hu et al. 2022).

It saves memory, for gradients and moments of the thin matrices only are kept; a step takes as long as before. At the
end the product is added to the matrix, so that a checkpoint shows no trace of it.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ADAPTED = re.compile(r"(q_proj|v_proj|attention\.(self|attention)\.(query|value))$")
"""Queries and values of the attention, as in the paper (section 4.2)."""
LEARNING_TOO = ("visual_projection", "text_projection", "logit_scale")


class _LowRank(nn.Module):
    """Adds ``up @ down`` to a matrix (out, in); it starts at zero."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix + self.up @ self.down


def adapt(model: Any, rank: int) -> None:
    """Let a model learn through matrices of ``rank`` beside its queries and values; projections learn as they are."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(LEARNING_TOO))
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and ADAPTED.search(name):
            rows, columns = module.weight.shape
            parametrize.register_parametrization(module, "weight", _LowRank(rows, columns, rank))


def merge(model: Any) -> None:
    """Add what was learnt to the matrices themselves; a model that was not adapted is left as it is."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
