"""Variations of photographs that leave their captions true."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from train.recipe import DataRecipe

ASPECT_JITTER = 0.08
"""A crop's width and height may differ in scale by so much: more would change a garment's cut."""
ERASED_SIDE = (0.15, 0.45)
"""The sides of an erased rectangle, as shares of the photograph's."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Variation:
    """How each of n photographs is varied: drawn apart from being done, so that processes can share one drawing.

    ``theta``: affine maps (n, 2, 3). ``gain``: factors of brightness (n,). ``covered``: rectangles (n, 4) as top,
    left, bottom, right in shares of the side; empty where nothing is covered. ``grey``: their colour (n,) in [0, 255].
    """

    theta: Floats
    gain: Floats
    covered: Floats
    grey: Floats

    def part(self, start: int, stop: int) -> Variation:
        """Return the variation of some of the photographs."""
        return Variation(*(getattr(self, field.name)[start:stop] for field in fields(self)))


def draw_variation(count: int, rng: np.random.Generator, data: DataRecipe) -> Variation:
    """Draw crops, mirrorings, light and covers; ``rng`` decides everything, so that a resumed run varies alike.

    ``data`` says how much: ``crop_scale`` is the least side of a crop as a share, ``brightness`` a share, ``erase`` a
    probability (random erasing: Zhong et al. 2017). No hue or saturation jitter: captions name colours.
    """
    jitter = min(ASPECT_JITTER, 1 - data.crop_scale)
    scale = rng.uniform(data.crop_scale, 1.0, size=(count, 1))
    scale = np.clip(scale * (1 + rng.uniform(-jitter, jitter, size=(count, 2))), None, 1.0)
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    theta = np.zeros((count, 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = scale[:, 0] * mirror, scale[:, 1]
    theta[:, :, 2] = (1 - scale) * rng.uniform(-1, 1, size=(count, 2))
    gain = rng.uniform(1 - data.brightness, 1 + data.brightness, size=count)
    sides = rng.uniform(*ERASED_SIDE, size=(count, 2)) * (rng.random((count, 1)) < data.erase)
    corner = rng.random((count, 2)) * (1 - sides)
    covered = np.concatenate([corner, corner + sides], axis=1)
    return Variation(theta, *(part.astype(np.float32) for part in (gain, covered, rng.uniform(0, 255, size=count))))


def augment(pixels: Tensor, variation: Variation, size: tuple[int, int] | None = None) -> Tensor:
    """Return uint8 photographs (n, height, width, 3) varied, as float32 (n, 3, *size) in [0, 255].

    Without ``size``, height and width stay.
    """
    height, width = size or pixels.shape[1:3]
    theta, gain = (torch.from_numpy(part).to(pixels.device) for part in (variation.theta, variation.gain))
    grid = F.affine_grid(theta, [len(pixels), 3, height, width], align_corners=False)
    values = pixels.permute(0, 3, 1, 2).float().contiguous()
    values = F.grid_sample(values, grid, padding_mode="border", align_corners=False)
    values = (values * gain.reshape(-1, 1, 1, 1)).clamp_(0, 255)
    corners = variation.covered * np.array([height, width, height, width])
    top, left, bottom, right = torch.from_numpy(corners.astype(np.int64)).to(pixels.device).T[:, :, None]
    rows, columns = (torch.arange(side, device=pixels.device) for side in (height, width))
    down, across = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    grey = torch.from_numpy(variation.grey).to(pixels.device)[:, None, None, None]
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], grey, values)
