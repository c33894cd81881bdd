"""Variations of photographs that leave their captions true."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def augment(
    pixels: npt.NDArray[np.uint8], rng: np.random.Generator, crop_margin: int, brightness: float
) -> npt.NDArray[np.uint8]:
    """Shift, mirror and light a batch of photographs, uint8 (n, height, width, 3), each in its own way.

    A shift repeats the edge pixels, which continues the plain backgrounds of catalogues. No hue or saturation jitter:
    captions name colours.
    """
    count, height, width, _ = pixels.shape
    shift = rng.integers(-crop_margin, crop_margin + 1, size=(2, count, 1))
    rows = np.clip(np.arange(height) + shift[0], 0, height - 1)
    columns = np.clip(np.arange(width) + shift[1], 0, width - 1)
    mirrored = rng.random((count, 1)) < 0.5
    columns = np.where(mirrored, columns[:, ::-1], columns)
    moved = pixels[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    gain = rng.uniform(1 - brightness, 1 + brightness, size=(count, 1, 1, 1)).astype(np.float32)
    lit: npt.NDArray[np.uint8] = np.clip(moved * gain, 0, 255).astype(np.uint8)
    return lit
