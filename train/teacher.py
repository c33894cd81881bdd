"""What another checkpoint makes of the photographs, for a new image tower to learn from.

A tower that learns beside a locked text tower is told where its photographs lie among the texts of the training, and
nothing of the rest of the space, where the queries of people lie: without a teacher a few photographs came first for
most of these. The tower that the texts were trained with knows more (feature distillation: Romero et al. 2015,
arXiv:1412.6550).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.checkpoint import Checkpoint, Preprocessing
from engine.encoder import load_encoder
from engine.errors import UsageError
from engine.records import Vector
from train.kept import kept_array
from train.pairs import Pairs, pixel_digest

Pixels = npt.NDArray[np.uint8]
CHUNK = 256


def on_all_cores(encode: Callable[[Pixels], Vector], pixels: Pixels, chunk: int) -> Vector:
    """Return what ``encode``, which takes one core a call, makes of uint8 pixels (n, height, width, 3), in chunks."""

    def part(start: int) -> Vector:
        return encode(np.asarray(pixels[start : start + chunk]))

    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(part, range(0, len(pixels), chunk))))


def taught_images(teacher: Checkpoint | None, pairs: Pairs, preprocessing: Preprocessing, cache: Path) -> Tensor:
    """Return unit rows (n, d) of the teacher's image tower for the photographs of ``pairs``, kept in ``cache``.

    Raises:
        UsageError: there is no teacher, or it sees photographs of another size.
    """
    if teacher is None:
        raise UsageError("teach_weight needs a teacher: a checkpoint of this program as text_base")
    spec = teacher.preprocessing
    if (spec.height, spec.width) != (preprocessing.height, preprocessing.width):
        raise UsageError(
            f"the teacher {teacher.name} sees {spec.height} x {spec.width} pixels, the new tower "
            f"{preprocessing.height} x {preprocessing.width}: make them alike, or leave out teach_weight"
        )

    def compute() -> Vector:
        threads = torch.get_num_threads()
        encoder = load_encoder(teacher, "cpu")  # which leaves torch one thread, for each call a core
        rows = on_all_cores(encoder.encode_pixels, pairs.pixels, CHUNK)
        torch.set_num_threads(threads)
        return rows

    seen = pixel_digest(pairs.items, preprocessing)
    path, shape = cache / f"taught-{teacher.fingerprint[:12]}-{seen}.npy", (len(pairs), teacher.dimension)
    return torch.from_numpy(kept_array(path, compute, lambda rows: rows.shape == shape))
