"""Cross-attention as a re-ranker: words attend to the parts of a photograph, and a verdict says whether they fit.

Image-text matching with hard negatives (ALBEF: Li et al. 2021; BLIP: Li et al. 2022), over the words and patches of
the token heads, so that the photograph is not opened for it. The towers and the heads stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checkpoint import CROSS
from engine.token_heads import TokenHeads, max_sim
from train.onnx_towers import to_onnx
from train.run import Run
from train.schedule import descend, set_learning_rates
from train.tokens import token_batches
from train.towers import autocast

BATCH = 96
RATE = 1e-3
SHARPNESS = 20.0
"""Inverse temperature of the cosines by which negatives are drawn: the nearer, the likelier."""


class CrossEncoder(nn.Module):
    """Two layers of a transformer decoder, words over patches. Untrained, its verdict is 0: it changes no order."""

    def __init__(self, dimension: int, patches: int, width: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.words, self.patches = nn.Linear(dimension, width), nn.Linear(dimension, width)
        self.places = nn.Parameter(torch.randn(patches, width) * 0.02)
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))
        self.verdict = nn.Linear(width, 1)
        nn.init.zeros_(self.verdict.weight)
        nn.init.zeros_(self.verdict.bias)

    def forward(self, words: Tensor, patches: Tensor, there: Tensor | None = None) -> Tensor:
        """Return scores (k,) of words (k, l, t), of which ``there`` (k, l) are no padding, and patches (k, p, t)."""
        hidden = None if there is None else ~there
        states = self.layers(self.words(words), self.patches(patches) + self.places, tgt_key_padding_mask=hidden)
        said: Tensor = self.verdict(states)[..., 0]
        if there is None:
            return said.mean(dim=1)
        return (said * there).sum(dim=1) / there.sum(dim=1)


def fit_cross_encoder(
    run: Run, heads: TokenHeads, steps: int, report: Callable[[int, float], Any] = lambda step, loss: None
) -> CrossEncoder:
    """Train on the captioned photographs of a run: each pair beside the text and the photograph most like its own."""
    torch.manual_seed(run.recipe.optimizer.seed)
    with torch.no_grad():
        first = next(run.towers.photographs(run.pairs.pixels[:1]))
        places = run.towers.cells(run.average.module.eval(), first).shape[1]
    cross = CrossEncoder(heads.dimension, places).to(run.device)
    optimizer = torch.optim.AdamW(cross.parameters(), weight_decay=0.05)
    for step, batch in enumerate(token_batches(run, BATCH, steps)):
        with torch.no_grad():
            patches, words = heads.patches(batch.cells).float(), heads.words(batch.states).float()
            near = max_sim(patches, words, batch.there) * SHARPNESS  # (texts, photographs)
        text, photograph, right = matching(near, batch.same)
        with autocast(run.device):
            scores = cross(words[text], patches[photograph], batch.there[text])
        loss = F.binary_cross_entropy_with_logits(scores.float(), right)
        set_learning_rates(optimizer, step, steps, RATE, 0.1)
        descend(optimizer, loss)
        report(step, float(loss.detach()))
    return cross.eval()


def matching(near: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return texts, photographs and whether they match: all pairs, and one hard negative for each text and photograph.

    ``near``: logits (n, n) of texts by photographs, by which negatives are drawn; ``same``: bool (n, n), pairs that
    are right, and so never negatives. A batch in which all is the same has no negatives.
    """
    each = torch.arange(len(near), device=near.device)
    possible = near.masked_fill(same, -torch.inf)
    has = ~same.all(dim=1)  # as `same` is symmetric, of texts and photographs alike
    if not has.any():
        return each, each, torch.ones(len(each), device=near.device)
    photographs = torch.multinomial(F.softmax(possible[has], dim=1), 1)[:, 0]
    texts = torch.multinomial(F.softmax(possible[:, has], dim=0).t(), 1)[:, 0]
    right = torch.cat([torch.ones(len(each)), torch.zeros(2 * int(has.sum()))]).to(near.device)
    return torch.cat([each, each[has], texts]), torch.cat([each, photographs, each[has]]), right


def export_cross_encoder(cross: CrossEncoder, folder: Path) -> None:
    """Write `cross.onnx` into a checkpoint's folder: words (l, t) and patches (n, p, t) to scores (n,)."""
    places, width = cross.places.shape[0], cross.words.in_features
    count, length = torch.export.Dim("n", min=1, max=4096), torch.export.Dim("l", min=2, max=512)
    proto = to_onnx(
        _OneText(cross.to("cpu").eval()),
        {"words": torch.randn(5, width), "patches": torch.randn(3, places, width)},
        {"words": {0: length}, "patches": {0: count}},
        ["scores"],
    )
    (folder / CROSS).write_bytes(proto.SerializeToString())


class _OneText(nn.Module):
    """One text against many photographs."""

    def __init__(self, cross: CrossEncoder) -> None:
        super().__init__()
        self.cross = cross

    def forward(self, words: Tensor, patches: Tensor) -> Tensor:
        scores: Tensor = self.cross(words.expand(patches.shape[0], *words.shape), patches)
        return scores
