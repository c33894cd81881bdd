"""The contrastive losses: symmetric softmax or sigmoid, with learnable temperature and several right answers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
"""CLIP's initial temperature (Radford et al. 2021, section 2.5)."""
MAX_LOGIT_SCALE = math.log(100.0)
"""CLIP's bound on the learnt temperature (Radford et al. 2021): without it the logits run away."""
UNKNOWN = -1e4
"""A logit that no softmax notices; an infinite one would make 0 * inf, which is no number."""


def contrastive_loss(
    images: Tensor, texts: Tensor, logit_scale: Tensor, same: Tensor, known: Tensor | None = None
) -> Tensor:
    """Return the mean of image->text and text->image cross-entropy, as a scalar.

    Args:
        images: unit rows of shape (n, d).
        texts: unit rows of shape (n, d); row i describes image i.
        logit_scale: scalar, the logarithm of the inverse temperature (InfoNCE: van den Oord et al. 2018;
            CLIP: Radford et al. 2021). Without it the logits stay within [-1, 1] and nothing is learnt.
        same: bool (n, n), true where text j is as right for image i as its own; the diagonal is true. The target is
            spread evenly over the right answers.
        known: bool (n, n), false where nobody knows whether text j is right for image i: such pairs are left out.
    """
    return softmax_loss(logit_scale.exp() * images.float() @ texts.float().t(), same, known)


def softmax_loss(logits: Tensor, same: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the symmetric cross-entropy for logits (n, n), photographs by texts, however they were made."""
    if known is not None:
        logits = logits.masked_fill(~known, UNKNOWN)
        same = same & known
    targets = same.float() / same.sum(dim=1, keepdim=True)
    image_to_text = torch.sum(-targets * F.log_softmax(logits, dim=1), dim=1).mean()
    targets = same.t().float() / same.t().sum(dim=1, keepdim=True)
    text_to_image = torch.sum(-targets * F.log_softmax(logits.t(), dim=1), dim=1).mean()
    return (image_to_text + text_to_image) / 2


def sigmoid_loss(
    images: Tensor, texts: Tensor, logit_scale: Tensor, bias: Tensor, same: Tensor, known: Tensor | None = None
) -> Tensor:
    """Return the sigmoid loss (SigLIP: Zhai et al. 2023): every pair is a question of its own, right or wrong.

    Arguments as in `contrastive_loss`; ``bias``: a scalar, learnt, that starts at -10 as nearly all pairs are wrong.
    """
    logits = logit_scale.exp() * images.float() @ texts.float().t() + bias
    losses = -F.logsigmoid(torch.where(same, logits, -logits))
    if known is not None:
        losses = losses.masked_fill(~known, 0.0)
    return losses.sum() / len(images)


def same_key(keys: list[str]) -> Tensor:
    """Return the bool matrix (n, n) of equal keys: which texts of a batch are the same text."""
    numbers = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    column = torch.tensor([numbers[key] for key in keys])
    return column[:, None] == column[None, :]
