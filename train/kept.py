"""Arrays that are computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.replacing import replacing


def kept_array(
    path: Path, compute: Callable[[], npt.NDArray[Any]], is_right: Callable[[npt.NDArray[Any]], bool]
) -> npt.NDArray[Any]:
    """Return the array in the file ``path``, or compute it and write it there: whole, or not at all.

    It is computed anew where the file is damaged, or has an array that ``is_right`` denies: after a power failure a
    file may be shorter than was written.
    """
    try:
        kept: npt.NDArray[Any] = np.load(path)
        if is_right(kept):
            return kept
    except (OSError, EOFError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
    computed = compute()
    with replacing(path) as part, part.open("wb") as file:
        np.save(file, computed)
    return computed
