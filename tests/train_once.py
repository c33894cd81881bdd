"""Trains a tiny checkpoint without chance in its steps, for a test that does so in one process and in two.

train_once.py LOOK-BOOK RUN-FOLDER
"""

import dataclasses
import sys
from pathlib import Path

import pytest
from training import TINY, leave_out_onnx, tiny

from ingest.sources.detect import open_source
from train.trainer import train

RECIPE = dataclasses.replace(
    tiny(epochs=1, memory=30),
    model=dataclasses.replace(
        TINY.model, vision="convnext", vision_widths=(8, 16), vision_depths=(1, 1), vision_dropout=0.0
    ),
)

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        leave_out_onnx(patch)
        train(RECIPE, [open_source(Path(sys.argv[1]))], Path(sys.argv[2]), threads=1)
