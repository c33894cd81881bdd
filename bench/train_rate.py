"""Training throughput beside a plain loop: DataLoader, pictures decoded anew, float32, the same towers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from train.cores import keep_memory

keep_memory()  # as `engine train` does, before torch is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from machine import cores  # noqa: E402
from measure import HERE, Bench, Row, main  # noqa: E402
from obvious_training import BATCH, without_base  # noqa: E402
from photographs import described, photographs  # noqa: E402

from ingest.sources.detect import open_source  # noqa: E402
from train.pairs import gather_pairs  # noqa: E402
from train.run import Run  # noqa: E402
from train.towers import open_towers, preprocessing_of  # noqa: E402

RECIPES = ("small-from-scratch", "small-pretrained", "locked-text")
TIMES_FASTER = 3.0
STEPS = 8


def measure(bench: Bench) -> list[Row]:
    """Return a row for each image tower that has a recipe of its own."""
    folder = photographs(bench, 4 * BATCH * 2)
    return [_row(bench, folder, name) for name in RECIPES]


def _row(bench: Bench, folder: Path, name: str) -> Row:
    plain = [sys.executable, str(HERE / "obvious_training.py"), str(folder), name]
    usual = dict(os.environ)  # which does not know what keep_memory has put there
    slow = float(subprocess.run(plain, check=True, capture_output=True, text=True, env=usual).stdout)
    recipe = without_base(name)
    out = bench.work / "train-rate"
    torch.set_num_threads(cores())
    spec = preprocessing_of(recipe.model, None)
    pairs, _ = gather_pairs([open_source(folder)], recipe.data, spec, out / "pixels")
    towers = open_towers(recipe.model, None, pairs, spec, "cpu", out)
    run = Run(recipe, towers, pairs, out, adaptive=False)
    run.steps_per_epoch = min(run.steps_per_epoch, STEPS)
    fast = float(np.median([progress.images_per_s for _ in range(3) for progress in run.one_epoch()]))
    frozen = ", the text tower frozen" if recipe.optimizer.freeze == "text" else ""
    return Row(
        f"training {name}, beside a plain loop",
        f"{fast / slow:.2f} times faster ({fast:.0f} against {slow:.0f} photographs/s)",
        f">= {TIMES_FASTER:g} times",
        fast >= TIMES_FASTER * slow,
        f"the same towers at {spec.height} x {spec.width} pixels, batches of {BATCH}, two texts a photograph beside "
        f"one{frozen}; the plain loop: DataLoader with one worker, float32; {described(bench)}",
        {"rate": fast, "plain_rate": slow},
    )


if __name__ == "__main__":
    main(measure)
