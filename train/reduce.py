"""A shared space of fewer numbers, made when the training is over.

Two towers learn more easily in a wide space than they need it: the embeddings of a trained model vary in few of its
directions. Turned to its principal directions and cut to the first of them (Jegou and Chum 2012), the space keeps what
it knew, and the vectors that a collection stores and a search reads are half as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.pairs import Pairs
from train.towers import Towers

SAMPLE = 10_000
"""Of the photographs, on which directions are measured."""


def reduce_dimension(model: Any, towers: Towers, pairs: Pairs, dimension: int) -> None:
    """Cut the shared space of ``model`` to the ``dimension`` directions in which embeddings of ``pairs`` are largest.

    Both kinds count alike. Directions are taken from the origin, not from the mean, as cosines are.
    """
    rows = pairs.sample(SAMPLE)
    captions = pairs.first_captions()
    with torch.inference_mode():
        images = towers.embed_images(model.eval(), np.asarray(pairs.pixels[rows]))
        texts = towers.embed_texts(model, [captions[row] for row in rows.tolist()])
        largest = largest_directions(images, texts, dimension)
    for name in ("visual_projection", "text_projection"):
        before = getattr(model, name)
        after = torch.nn.Linear(before.in_features, dimension, bias=False, device=before.weight.device)
        with torch.no_grad():
            after.weight.copy_(largest @ before.weight)
        setattr(model, name, after)
    model.config.projection_dim = dimension


def largest_directions(images: Tensor, texts: Tensor, dimension: int) -> Tensor:
    """Return unit rows (dimension, d), orthogonal: along these, ``images`` and ``texts`` (n, d) are largest."""
    _, directions = torch.linalg.eigh(_spread(images) + _spread(texts))  # the largest are the last
    largest: Tensor = directions[:, -dimension:].T.to(images.device, images.dtype)
    return largest


def _spread(rows: Tensor) -> Tensor:
    return (rows.T @ rows).cpu().double() / len(rows)  # MPS has no float64
