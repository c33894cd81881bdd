"""What the frozen layers of a text tower make of every text, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.replacing import replacing
from train.rows import Rows

CHUNK, GPU_CHUNK = 32, 512
MAX_TOKENS = 96
"""Of a text in training; longer captions are cut there."""


def texts_at_once(device: str) -> int:
    """Return how many texts of like length are embedded together: on a CPU padding costs as much as text."""
    return CHUNK if device == "cpu" else GPU_CHUNK


class TokenStates:
    """What the frozen layers make of every text, kept on disk: float16, one row a token.

    A text's rows are those from ``starts[i]`` to ``starts[i + 1]``.
    """

    def __init__(self, text_model: Any, tokenizer: Any, texts: Sequence[str], new_layers: int, cache: Path) -> None:
        """Read the states of ``texts`` from the folder ``cache``, or compute them once."""
        ids = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        self.starts = np.concatenate([[0], np.cumsum([len(one) for one in ids])])
        digest = _digest(text_model, new_layers, ids)
        path, shape = cache / f"{digest}.states", (int(self.starts[-1]), text_model.config.hidden_size)
        if not path.exists() or path.stat().st_size != math.prod(shape) * np.dtype(np.float16).itemsize:
            cache.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part:
                states = np.memmap(part, np.float16, "w+", shape=shape)
                self._compute(text_model, tokenizer, ids, new_layers, states)
                states.flush()
        self._states = Rows(np.memmap(path, dtype=np.float16, mode="r", shape=shape), str(text_model.device))

    def _compute(
        self, text_model: Any, tokenizer: Any, ids: Sequence[list[int]], new_layers: int, states: Any
    ) -> None:
        device = text_model.device
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        training = text_model.training
        text_model.eval()
        each = texts_at_once(str(device))
        for start in range(0, len(order), each):
            rows = order[start : start + each]
            batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(device)
            with torch.inference_mode():
                output = text_model(**batch, output_hidden_states=True).hidden_states[-1 - new_layers]
            for row, values in zip(rows, output.half().cpu().numpy(), strict=True):
                states[self.starts[row] : self.starts[row + 1]] = values[: len(ids[row])]
        text_model.train(training)

    def lengths(self, rows: Any) -> Any:
        """Return how many tokens some texts have, int (k,)."""
        return self.starts[rows + 1] - self.starts[rows]

    def batch(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Return the states (k, l, width) of some texts as float32, and which tokens are there, bool (k, l)."""
        columns = np.arange(self.lengths(rows).max())
        there = columns < self.lengths(rows)[:, None]
        states = self._states[np.where(there, self.starts[rows][:, None] + columns, 0)].float()
        own = torch.from_numpy(there).to(states.device)
        return states.masked_fill_(~own[:, :, None], 0.0), own


def _digest(text_model: Any, new_layers: int, ids: Sequence[list[int]]) -> str:
    """Return what decides the states: the texts' tokens and the frozen weights, as float16, in which they are kept."""
    digest = hashlib.sha256(repr(ids).encode())
    for part in (text_model.embeddings, *text_model.encoder.layer[:-new_layers]):
        for parameter in part.parameters():
            digest.update(parameter.detach().half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
