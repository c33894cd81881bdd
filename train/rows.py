"""Rows of a large array, near to where they are used: in the memory of a GPU that has room for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHARE = 0.25
"""Of a GPU's free memory that one array may take."""


class Rows:
    """An array (n, ...), usually a memory map; ``rows[numbers]`` is a tensor on ``device``."""

    def __init__(self, array: npt.NDArray[Any], device: str) -> None:
        self._array, self._device = array, device
        self._held = torch.from_numpy(np.array(array)).to(device) if _has_room(device, array.nbytes) else None

    def __getitem__(self, numbers: npt.NDArray[np.int64]) -> Tensor:
        if self._held is not None:
            return self._held[torch.from_numpy(numbers).to(self._device)]
        return torch.from_numpy(np.asarray(self._array[numbers])).to(self._device)


def _has_room(device: str, size_bytes: int) -> bool:
    return device.startswith("cuda") and size_bytes <= SHARE * torch.cuda.mem_get_info(device)[0]
