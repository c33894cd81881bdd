"""Trains a tiny checkpoint without chance in its steps, for a test that does so in one process and in two.

train_once.py LOOK-BOOK RUN-FOLDER
"""

import sys
from pathlib import Path

import pytest
from training import leave_out_onnx

from ingest.sources.detect import open_source
from train.recipe import DataRecipe, ModelRecipe, OptimizerRecipe, Recipe
from train.trainer import train

RECIPE = Recipe(
    "tiny",
    ModelRecipe(
        image_height=32,
        image_width=32,
        vision="convnext",
        vision_widths=(8, 16),
        vision_depths=(1, 1),
        vision_dropout=0.0,
        text_width=16,
        text_layers=1,
        text_heads=2,
        vocabulary=700,
        dimension=12,
    ),
    DataRecipe(),
    OptimizerRecipe(batch_size=12, epochs=1, learning_rate=1e-3, memory=30),
)

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        leave_out_onnx(patch)
        train(RECIPE, [open_source(Path(sys.argv[1]))], Path(sys.argv[2]), threads=1)
