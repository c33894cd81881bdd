"""Several checkpoints as one: their embeddings side by side, in a space of as many numbers as one has.

Towers that were trained apart err apart, so that the mean of their scores finds more than each of them alone
(Dietterich 2000). The mean of cosines is the cosine of unit rows laid side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checkpoint import Checkpoint
from engine.errors import UsageError
from eval.split import split_of
from train.reduce import largest_directions
from train.towers import towers_of

RIDGE = 1e-6
"""Against the mean square of a unit row's length, which is 1."""


class Joined:
    """What checkpoints say together. ``directions``: (d, sum of their dimensions), None before `look` finds them."""

    def __init__(self, checkpoints: Sequence[Checkpoint], device: str) -> None:
        """Load them.

        Raises:
            UsageError: they are fewer than two, see photographs differently, were trained by different splits, or one
                has what a joined space would not fit.
        """
        first, *others = checkpoints
        if not others:
            raise UsageError(f"{first.folder} alone has nothing to agree with: give two checkpoints or more")
        for other in others:
            if other.preprocessing != first.preprocessing:
                raise UsageError(f"{first.folder} and {other.folder} do not see alike: their preprocessing differs")
            if split_of(other) != split_of(first):
                raise UsageError(
                    f"{first.folder} and {other.folder} were not trained by one split: "
                    "what one held out, the other has seen"
                )
        for each in checkpoints:
            if each.token_heads:
                raise UsageError(f"{each.folder} has heads for re-ranking: give the checkpoint that it was made from")
        self._towers = [towers_of(each, device) for each in checkpoints]
        if not hasattr(self._towers[0].model, "visual_projection"):
            raise UsageError(f"{first.folder} has no projections that could be turned: put another checkpoint first")
        for towers in self._towers:
            towers.model.eval().requires_grad_(False)
        self.directions: Tensor | None = None

    @torch.no_grad()
    def embed_photographs(self, photographs: Tensor) -> Tensor:
        """Return unit rows (n, d) for photographs, float32 (n, 3, height, width) in [0, 255]."""
        return self._cut(torch.cat([each.embed_photographs(each.model, photographs) for each in self._towers], dim=1))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit rows (n, d) for texts."""
        return self._cut(torch.cat([each.embed_texts(each.model, texts) for each in self._towers], dim=1))

    def look(self, photographs: Iterable[Tensor], texts: Sequence[str], dimension: int) -> tuple[Tensor, Tensor]:
        """Cut the space to the ``dimension`` directions in which ``photographs`` and ``texts`` are largest.

        Returns their unit rows (n, d) in it.
        """
        images, captions = torch.cat([self.embed_photographs(each) for each in photographs]), self.embed_texts(texts)
        self.directions = largest_directions(images, captions, dimension)
        return self._cut(images), self._cut(captions)

    def _cut(self, rows: Tensor) -> Tensor:
        return F.normalize(rows if self.directions is None else rows @ self.directions.T, dim=-1)


def fit_projection(projection: nn.Linear, rows: Tensor, goals: Tensor) -> nn.Linear:
    """Return ``projection`` followed by the linear map that brings its unit ``rows`` (n, d) next to ``goals`` (n, e).

    A start for learning: what a tower sees already, in the directions of the goals. Least squares with a little ridge,
    for rows that hardly vary in some directions.
    """
    wide, count = rows.cpu().double(), rows.shape[1]  # MPS has no float64
    ridge = RIDGE * len(rows) * torch.eye(count, dtype=torch.float64)
    turn = torch.linalg.solve(wide.T @ wide + ridge, wide.T @ goals.cpu().double()).to(rows.device, rows.dtype)
    fitted = nn.Linear(projection.in_features, goals.shape[1], bias=False, device=projection.weight.device)
    with torch.no_grad():
        fitted.weight.copy_(turn.T @ projection.weight)
    return fitted
