"""Cross-attention over the first hits: the words of a query look at the parts of each photograph, and give a score.

`train.cross_encoder` makes the network; here it runs, through ONNX Runtime, over patches that the store kept.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.checkpoint import CROSS, Checkpoint
from engine.records import Vector
from engine.towers import onnx_session


def cross_scores(checkpoint: Checkpoint, words: Vector, patches: Vector) -> Vector:
    """Return scores (n,) of photographs with the patches (n, p, t) for a text with the words (l, t); more is better.

    Raises:
        CheckpointError: the checkpoint has no cross-attention, or a damaged one.
    """
    (scores,) = _session(checkpoint.folder).run(None, {"words": words, "patches": patches})
    return np.asarray(scores, dtype=np.float32)


@lru_cache(maxsize=4)
def _session(folder: Path) -> Any:  # noqa: ANN401
    return onnx_session(Checkpoint(folder), CROSS.removesuffix(".onnx"))
