"""Training as one would write it first: DataLoader, pictures decoded anew, float32. Prints photographs/s.

obvious_training.py FOLDER RECIPE
"""

from __future__ import annotations

import io
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from machine import cores
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from engine.records import Item
from ingest.sources.detect import open_source
from train.model import build_model
from train.recipe import Recipe, load_recipe
from train.tokenizer import train_tokenizer

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


def rates(folder: Path, recipe: Recipe) -> list[float]:
    """Return photographs/s of each step but the first."""
    pictures = Pictures(folder, (recipe.model.image_height, recipe.model.image_width))
    captions = (caption for item in pictures.items for caption in item.captions)
    tokenizer = train_tokenizer(captions, recipe.model.vocabulary, recipe.model.context)
    model = build_model(recipe.model, tokenizer)  # as transformers makes it, without our detours
    if recipe.optimizer.freeze == "text":
        for part in (model.text_model, model.text_projection):
            part.requires_grad_(False)
    loader = DataLoader(pictures, batch_size=BATCH, shuffle=True, num_workers=1, drop_last=True)
    optimizer = torch.optim.AdamW((part for part in model.parameters() if part.requires_grad), lr=1e-4)
    model.train()
    found, started = [], time.perf_counter()
    for pixels, texts in loader:
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        images = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        captions_there = F.normalize(model.get_text_features(**batch).pooler_output, dim=-1)
        logits = model.logit_scale.exp() * images @ captions_there.t()
        targets = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.t(), targets)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(len(texts) / (time.perf_counter() - started))
        started = time.perf_counter()
    return found[1:]


def without_base(name: str) -> Recipe:
    """Return a shipped recipe with towers from scratch, so that it needs no files."""
    recipe = load_recipe(name)
    model = replace(recipe.model, vision_base="", text_base="", text_layers=2, vocabulary=4096)
    return replace(recipe, model=model, optimizer=replace(recipe.optimizer, batch_size=BATCH))


if __name__ == "__main__":
    torch.set_num_threads(cores())
    print(np.median(rates(Path(sys.argv[1]), without_base(sys.argv[2]))))
