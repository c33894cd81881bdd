"""Training throughput beside a plain loop: DataLoader, pictures decoded anew, float32, the same towers."""

from __future__ import annotations

import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from machine import cores
from measure import Bench, Row, main
from photographs import described, photographs
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from engine.records import Item
from ingest.sources.detect import open_source
from train.model import build_model
from train.pairs import gather_pairs
from train.recipe import load_recipe
from train.run import Run
from train.towers import open_towers, preprocessing_of

RECIPES = ("small-from-scratch", "small-pretrained")
TIMES_FASTER = 3.0
STEPS = 8
BATCH = 256


class Pictures(Dataset):  # type: ignore[type-arg]
    """Photographs with their first caption, read and resized whenever they are asked for."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.source, self.size = open_source(folder), size
        self.items = [item for item in self.source.items() if isinstance(item, Item) and item.captions]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        item = self.items[index]
        image = Image.open(io.BytesIO(self.source.read(item))).convert("RGB").resize(self.size[::-1])
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, item.captions[0]


def measure(bench: Bench) -> list[Row]:
    """Return a row for each image tower that has a recipe of its own."""
    folder = photographs(bench, 4 * BATCH * 2)
    return [_row(bench, folder, name) for name in RECIPES]


def _row(bench: Bench, folder: Path, name: str) -> Row:
    recipe = load_recipe(name)
    recipe = dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, vision_base="", text_base="", text_layers=2, vocabulary=4096),
        optimizer=dataclasses.replace(recipe.optimizer, batch_size=BATCH),
    )
    out = bench.work / "train-rate"
    torch.set_num_threads(cores())
    spec = preprocessing_of(recipe.model, None)
    pairs, _ = gather_pairs([open_source(folder)], recipe.data, spec, out / "pixels")
    towers = open_towers(recipe.model, None, pairs, spec, "cpu", out)
    run = Run(recipe, towers, pairs, out, adaptive=False)
    run.steps_per_epoch = min(run.steps_per_epoch, STEPS)
    share, coarse = recipe.optimizer.coarse_share, 0.0
    if share:
        coarse = _rate(run)
        run.step = run.steps  # from where on photographs are seen in full
    full = _rate(run)
    fast = 1 / (share / coarse + (1 - share) / full) if share else full
    plain = build_model(recipe.model, towers.tokenizer)  # as transformers makes it, without our detours
    slow = float(np.median(plain_rates(folder, plain, towers.tokenizer, (spec.height, spec.width))))
    smaller = (
        f", {share:.0%} of the steps with smaller photographs ({coarse:.0f}/s, then {full:.0f}/s)" if share else ""
    )
    return Row(
        f"training {name}, beside a plain loop",
        f"{fast / slow:.2f} times faster ({fast:.0f} against {slow:.0f} photographs/s)",
        f">= {TIMES_FASTER:g} times",
        fast >= TIMES_FASTER * slow,
        f"the same towers at {spec.height} x {spec.width} pixels, batches of {BATCH}, two texts a photograph beside "
        f"one{smaller}; the plain loop: DataLoader with one worker, float32; {described(bench)}",
        {"rate": fast, "plain_rate": slow},
    )


def _rate(run: Run) -> float:
    """Return photographs/s of the median step of three short epochs."""
    return float(np.median([progress.images_per_s for _ in range(3) for progress in run.one_epoch()]))


def plain_rates(folder: Path, model: Any, tokenizer: Any, size: tuple[int, int]) -> list[float]:
    """Return photographs/s of each step of a loop as one would write it first."""
    loader = DataLoader(Pictures(folder, size), batch_size=BATCH, shuffle=True, num_workers=1, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()
    rates, started = [], time.perf_counter()
    for pixels, captions in loader:
        batch = tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
        images = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        texts = F.normalize(model.get_text_features(**batch).pooler_output, dim=-1)
        logits = model.logit_scale.exp() * images @ texts.t()
        targets = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.t(), targets)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.append(len(captions) / (time.perf_counter() - started))
        started = time.perf_counter()
    return rates[1:]


if __name__ == "__main__":
    main(measure)
