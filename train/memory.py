"""The embeddings of the last pairs that were seen, kept as more wrong answers for those seen now.

A batch that fits two cores holds one photograph in eighty of a catalogue, and a search is among all of them. What
was embedded a few steps ago has hardly moved since, and costs a product of matrices (cross-batch memory: Wang et al.
2020, arXiv:1912.06798).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Memory:
    """The newest ``size`` pairs: ``rows``, int (m,), which they were; ``images`` and ``titles``, unit rows (m, d)."""

    def __init__(self, size: int, device: str) -> None:
        self.size = size
        self.rows = torch.zeros(0, dtype=torch.int64, device=device)
        self.images, self.titles = (torch.zeros(0, device=device) for _ in range(2))  # of any width

    def remember(self, rows: Tensor, images: Tensor, titles: Tensor) -> None:
        """Put a batch in front of what is there, and forget what is too old."""
        self.rows = torch.cat([rows, self.rows])[: self.size]
        self.images = torch.cat([images.detach(), self.images])[: self.size]
        self.titles = torch.cat([titles.detach(), self.titles])[: self.size]

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `load_state_dict` needs."""
        return {"rows": self.rows, "images": self.images, "titles": self.titles}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what another memory did."""
        self.rows, self.images, self.titles = state["rows"], state["images"], state["titles"]
