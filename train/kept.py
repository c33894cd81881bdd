"""Arrays that are computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.replacing import replacing


def kept_rows(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    """Return the rows in the file ``path``, or compute them once and write them there, whole or not at all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, compute().cpu().numpy())
    return torch.from_numpy(np.load(path))
