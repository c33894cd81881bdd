"""The contrastive losses: symmetric softmax or sigmoid, with learnable temperature and several right answers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
"""CLIP's initial temperature (Radford et al. 2021, section 2.5)."""
MAX_LOGIT_SCALE = math.log(100.0)
"""CLIP's bound on the learnt temperature (Radford et al. 2021): without it the logits run away."""
UNKNOWN = -1e4
"""A logit that no softmax notices; an infinite one would make 0 * inf, which is no number."""


@dataclass(frozen=True)
class Others:
    """Pairs that are not of the batch: unit rows ``images`` and ``texts`` (m, d).

    ``wrong``: bool (n, m), which of them answer pair i of the batch wrongly, in both directions.
    """

    images: Tensor
    texts: Tensor
    wrong: Tensor


def contrastive_loss(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    same: Tensor,
    known: Tensor | None = None,
    others: Others | None = None,
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
        others: more wrong answers.
    """
    images, texts, scale = images.float(), texts.float(), logit_scale.exp()
    logits = scale * images @ texts.t()
    if others is None:
        return softmax_loss(logits, same, known)
    more = (scale * images @ others.texts.t(), scale * texts @ others.images.t())
    return softmax_loss(logits, same, known, tuple(part.masked_fill(~others.wrong, UNKNOWN) for part in more))


def softmax_loss(
    logits: Tensor, same: Tensor, known: Tensor | None = None, more: tuple[Tensor, ...] | None = None
) -> Tensor:
    """Return the symmetric cross-entropy for logits (n, n), photographs by texts, however they were made.

    ``more``: logits (n, m) of further wrong texts for the photographs, and of further wrong photographs for the texts.
    """
    if known is not None:
        logits, same = logits.masked_fill(~known, UNKNOWN), same & known
    further_texts, further_images = more or (None, None)
    return (cross_entropy(logits, same, further_texts) + cross_entropy(logits.t(), same.t(), further_images)) / 2


def cross_entropy(logits: Tensor, same: Tensor, further: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy, in nats, of logits (n, m) to a target spread evenly over ``same``, bool (n, m).

    ``further``: logits (n, k) of more wrong answers.
    """
    targets = same.float() / same.sum(dim=1, keepdim=True)
    every = logits if further is None else torch.cat([logits, further], dim=1)
    scores = F.log_softmax(every, dim=1)[:, : logits.shape[1]]
    return torch.sum(-targets * scores, dim=1).mean()


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


class Alike:
    """Which items are right answers of each other: those that have one of several keys in common.

    ``keys``: for each kind of key, as captions or products are, that of each of n items.
    """

    def __init__(self, keys: Sequence[Sequence[str]], device: str = "cpu") -> None:
        self.numbers = torch.stack([key_numbers(kind) for kind in keys]).to(device)

    def __call__(self, rows: Tensor, others: Tensor) -> Tensor:
        """Return, bool (k, l), which of the items ``rows`` (k,) and ``others`` (l,) are."""
        return (self.numbers[:, rows, None] == self.numbers[:, None, others]).any(dim=0)

    def sets(self) -> list[npt.NDArray[np.int64]]:
        """Return, for each item, all items that are right answers, itself included, in order."""
        kinds = self.numbers.tolist()
        members: list[defaultdict[int, set[int]]] = [defaultdict(set) for _ in kinds]
        for kind, found in zip(kinds, members, strict=True):
            for row, number in enumerate(kind):
                found[number].add(row)
        return [
            np.array(sorted(set().union(*(found[number] for found, number in zip(members, own, strict=True)))))
            for own in zip(*kinds, strict=True)
        ]


class Known:
    """Of which items it is known whether what is said of one is right for another.

    ``domains``: int (n,), equal for items that are described alike; ``captioned``: bool (n,), as in `Pairs`.
    """

    def __init__(self, domains: npt.NDArray[np.int64], captioned: npt.NDArray[np.bool_], device: str = "cpu") -> None:
        self._domains, self._captioned = (torch.from_numpy(part).to(device) for part in (domains, captioned))

    def attributes(self, rows: Tensor, others: Tensor) -> Tensor:
        """Return, bool (k, l), for which of the items ``rows`` (k,) and ``others`` (l,) it is so of attributes."""
        return self._domains[rows][:, None] == self._domains[others]

    def captions(self, rows: Tensor, others: Tensor) -> Tensor:
        """Return the same for captions, or what stands for them."""
        return self.attributes(rows, others) | (self._captioned[rows][:, None] & self._captioned[others])


def key_numbers(keys: Sequence[str]) -> Tensor:
    """Return a number for each key, int64 (n,), equal for equal keys."""
    numbers = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    return torch.tensor([numbers[key] for key in keys])
