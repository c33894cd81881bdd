"""From the towers' own tokens to those that meet in a re-ranking: cells of the photograph, words of the text.

Both are brought to a few numbers of unit length by one matrix each, which `train.reranker` learns beside the towers,
which stay as they are. `token_heads.json` beside the weights says how.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checkpoint import HEAD_WEIGHTS, Checkpoint
from engine.errors import CheckpointError


class TokenHeads(nn.Module):
    """The two matrices. ``text_layer``: whose states the words are, counted from the end of the text tower."""

    def __init__(self, image_width: int, text_width: int, dimension: int = 64, text_layer: int = -1) -> None:
        super().__init__()
        self.image = nn.Linear(image_width, dimension)
        self.text = nn.Linear(text_width, dimension)
        self.dimension, self.text_layer = dimension, text_layer

    def patches(self, cells: Tensor) -> Tensor:
        """Return unit rows (n, p, t) for the cells (n, p, image_width) of feature maps."""
        return F.normalize(self.image(cells), dim=-1)

    def words(self, states: Tensor) -> Tensor:
        """Return unit rows (n, l, t) for the token states (n, l, text_width) of texts."""
        return F.normalize(self.text(states), dim=-1)


def cells_of(output: Any) -> Tensor:  # noqa: ANN401
    """Return the last feature map of an image tower's output as cells (n, p, width), without a class token."""
    states: Tensor = output.last_hidden_state
    if states.ndim == 4:  # a convolutional tower: (n, width, rows, columns)
        return states.flatten(2).transpose(1, 2)
    return states[:, 1:]


def load_token_heads(checkpoint: Checkpoint) -> TokenHeads | None:
    """Return the heads of a checkpoint; None if it has none.

    Raises:
        CheckpointError: their file is damaged.
    """
    facts = checkpoint.token_heads
    if facts is None:
        return None
    from safetensors.torch import load_file

    path = checkpoint.folder / HEAD_WEIGHTS
    try:
        weights = {name: value.float() for name, value in load_file(path).items()}
        widths = weights["image.weight"].shape[1], weights["text.weight"].shape[1]
        heads = TokenHeads(*widths, facts.dimension, facts.text_layer)
        heads.load_state_dict(weights)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be loaded ({error}): get the checkpoint again") from error
    return heads.eval()


def max_sim(patches: Tensor, words: Tensor, there: Tensor) -> Tensor:
    """Return scores (m, n) of m texts against n photographs: the mean over words of each one's best patch.

    ``patches`` (n, p, t), ``words`` (m, l, t), ``there`` bool (m, l): which words are no padding (FILIP: Yao et al.
    2022; ColBERT: Khattab and Zaharia 2020).
    """
    best = torch.einsum("mld,npd->mnlp", words, patches).amax(dim=-1)
    return (best * there[:, None]).sum(dim=-1) / there.sum(dim=-1)[:, None]
