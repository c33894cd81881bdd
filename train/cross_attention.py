"""Attention over the towers' pooled embeddings, scoring every pair: a baseline, and what it cannot do.

Six transformer layers over one image and one text embedding were to look closer than their dot product does. But
nothing finer than those two vectors reaches them: no word meets a sleeve. And scoring n captions against a gallery of
n takes n * n passes, so it is applied to the first hits of the two towers only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from train.loss import Alike, softmax_loss
from train.schedule import descend, set_learning_rates
from train.towers import autocast

RATE = 3e-4
Vectors = npt.NDArray[np.float32]


class PooledAttention(nn.Module):
    """Scores pairs of unit embeddings: the cosine at a temperature, plus what the layers find.

    Untrained, the second part is zero: it changes nothing.
    """

    def __init__(self, dimension: int, layers: int = 6, heads: int = 4) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(dimension, heads, 4 * dimension, 0.1, "gelu", batch_first=True)
        self.kinds = nn.Parameter(torch.randn(4, dimension) * 0.02)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.verdict = nn.Linear(dimension, 1)
        nn.init.zeros_(self.verdict.weight)
        nn.init.zeros_(self.verdict.bias)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return a score (k,) for each pair of rows (k, d): from the verdict's own token, both, and their product."""
        width = images.shape[-1] ** 0.5
        own = torch.zeros_like(images)
        tokens = torch.stack([own, images, texts, images * texts * width], dim=1) + self.kinds
        cosine = (images * texts).sum(dim=-1)
        found: Tensor = self.verdict(self.layers(tokens)[:, 0])[:, 0]
        return self.logit_scale.exp() * cosine + found


def fit(
    model: PooledAttention,
    images: Vectors,
    texts: Vectors,
    keys: list[str],
    *,
    steps: int,
    batch_size: int = 24,
    seed: int = 7,
    report: Callable[[int, float], Any] = lambda step, loss: None,
) -> None:
    """Train on pairs of unit rows (n, d), all captions of a batch against all photographs; equal ``keys`` match.

    A step costs the square of ``batch_size`` passes: few negatives are all that it can afford.
    """
    torch.manual_seed(seed)
    left, right, alike = torch.from_numpy(images), torch.from_numpy(texts), Alike([keys])
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    rng = np.random.default_rng(seed)
    model.train()
    for step in range(steps):
        rows = torch.from_numpy(rng.choice(len(left), min(batch_size, len(left)), replace=False))
        count = len(rows)
        pairs = left[rows].repeat_interleave(count, 0), right[rows].repeat(count, 1)
        with autocast("cpu"):
            logits = model(*pairs).float().reshape(count, count)  # image by text
        loss = softmax_loss(logits, alike(rows, rows))
        set_learning_rates(optimizer, step, steps, RATE, 0.1)
        descend(optimizer, loss)
        report(step, float(loss.detach()))


def rerank(model: PooledAttention, query: Vectors, candidates: Vectors) -> npt.NDArray[np.int64]:
    """Return the order, best first, of candidate photographs (k, d) for one query (d,); equal scores keep theirs."""
    model.eval()
    with torch.inference_mode():
        texts = torch.from_numpy(query).expand(len(candidates), -1)
        scores = model(torch.from_numpy(np.ascontiguousarray(candidates)), texts).numpy()
    return np.argsort(-scores, kind="stable")
