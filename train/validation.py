"""What training is steered by: the captions of the validation part, searched for among its photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eval.exact import ranks_of_vectors
from eval.metrics import hit_at, reciprocal_rank
from train.loss import Alike
from train.pairs import Pairs

JUDGE = "mrr"
"""The mark by which epochs, and mixtures of weights, are compared: in a small gallery it tells apart what hit@10 holds
to be equal.
"""


def marks_of(pairs: Pairs, images: Any, texts: Any) -> dict[str, float]:
    """Return hit@1, hit@10 and MRR for unit rows, float32 (n, d), of the photographs and captions.

    By the examiner's own search, which holds no table of all captions against all photographs.
    """
    ranks = ranks_of_vectors(texts, images, relevant_of(pairs))
    return {
        "gallery": len(pairs),
        "hit@1": float(hit_at(ranks, 1).mean()),
        "hit@10": float(hit_at(ranks, 10).mean()),
        "mrr": float(reciprocal_rank(ranks).mean()),
    }


def relevant_of(pairs: Pairs) -> list[npt.NDArray[np.int64]]:
    """Return, for each item's caption, the rows of the items that it describes equally well."""
    return Alike((pairs.keys, pairs.products)).sets()
