"""What tests of training share: a recipe so small that a run takes a second, and photographs to learn from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.loss import Alike
from train.recipe import DataRecipe, ModelRecipe, OptimizerRecipe, Recipe

TINY = Recipe(
    "tiny",
    ModelRecipe(
        image_height=32,
        image_width=32,
        vision_stem=8,
        vision_widths=(8, 16, 64),
        vision_depths=(1, 1, 1),
        text_width=16,
        text_layers=1,
        text_heads=2,
        vocabulary=700,
        dimension=12,
    ),
    DataRecipe(),
    OptimizerRecipe(batch_size=12, epochs=2, learning_rate=1e-3, memory=20),
)


def tiny(**choices: object) -> Recipe:
    """Return the tiny recipe with other choices of how it learns."""
    return dataclasses.replace(TINY, optimizer=dataclasses.replace(TINY.optimizer, **choices))


def same_key(*keys: str) -> torch.Tensor:
    """Return which of some texts are equal, bool (n, n)."""
    every = torch.arange(len(keys))
    return Alike([keys])(every, every)


def shop_of(folder: Path, *products: str) -> Source:
    """Return a folder with a photograph of each of ``products``, as a source."""
    folder.mkdir()
    for number, product in enumerate(products):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"{folder.name} {number}")
        (folder / f"{number}.json").write_text(json.dumps({"product_id": product}))
    return open_source(folder)


def leave_out_onnx(patch: pytest.MonkeyPatch) -> None:
    """Let a run write its weights alone: the ONNX towers take nine tenths of so small a run's time."""
    patch.setattr("train.export.export_towers", lambda *_: None)
    for module in ("trainer", "distil", "fast_copy"):
        patch.setattr(f"train.{module}.quantize_image_tower", lambda *_: {"float32": 1.0})
