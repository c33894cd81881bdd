"""The systems that are set side by side: how each is trained, and how it ranks photographs for captions."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from embedding import embed_photographs

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.cross import cross_scores
from engine.encoder import Encoder, load_encoder
from engine.records import Hit, Item
from engine.rerank import DEPTH, in_better_order
from eval.exact import exact_search
from eval.split import SEED, Part, split
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.cross_attention import PooledAttention, fit, rerank
from train.recipe import Recipe, load_recipe
from train.trainer import train

RUN_DEPTH = 100


@dataclass(frozen=True)
class System:
    """A row of the table. ``trained``: the recipe's changes, or None for a checkpoint that is there already.

    ``closer``: how the first hits are looked at again: ``""``, ``pooled``, ``maxsim`` or ``cross``.
    """

    name: str
    trained: dict[str, object] | None = None
    closer: str = ""
    model: str = ""


SYSTEMS = (
    System("random initialisation", {"epochs": 0}),
    System("trained, cosines without temperature", {"loss": "raw"}),
    System("trained, learnt temperature", {"loss": "softmax"}),
    System("the same + attention over pooled embeddings", {"loss": "softmax"}, "pooled"),
    System("the same + MaxSim over patches", {"loss": "softmax"}, "maxsim"),
    System("the same + cross-attention of words to patches", {"loss": "softmax"}, "cross"),
    System("bundled checkpoint", model="fashion-small"),
    System("bundled checkpoint + MaxSim over patches", closer="maxsim", model="fashion-small"),
)


@dataclass(frozen=True)
class Data:
    """Photographs with captions, which share of the products is trained on, and how."""

    name: str
    folder: Path
    share: float
    epochs: int
    batch_size: int

    @cached_property
    def source(self) -> Source:
        """The reader of the folder."""
        return open_source(self.folder)

    def part(self, part: Part) -> list[Item]:
        """Return the captioned items of one part."""
        items = (item for item in self.source.items() if isinstance(item, Item) and item.captions)
        return list(split(items, part, SEED, self.share))


@dataclass(frozen=True)
class Ranking:
    """What a system found: for each item of the test part the ids of the first photographs, and what it took."""

    run: dict[str, list[str]]
    latency_ms: float
    training_s: float


def recipe_for(system: System, data: Data) -> Recipe:
    """Return the small recipe of the table: towers of a few million numbers from scratch, no pretrained text tower."""
    whole = load_recipe("small-from-scratch")
    model = dataclasses.replace(whole.model, text_base="", text_layers=2, vocabulary=4096, patches=64)
    sizes = {"epochs": data.epochs, "batch_size": data.batch_size, "head_steps": 300, "cross_steps": 300}
    changes = {**sizes, "ema_decay": 0.98}
    optimizer = dataclasses.replace(whole.optimizer, **{**changes, **(system.trained or {})})
    if optimizer.epochs == 0 or optimizer.loss == "raw":
        model = dataclasses.replace(model, patches=0)
    return Recipe("reproduce", model, dataclasses.replace(whole.data, train_share=data.share), optimizer)


def checkpoint_of(system: System, data: Data, work: Path) -> tuple[Checkpoint, float]:
    """Return a system's checkpoint and the seconds that its training took; train it if that has not been done."""
    if system.trained is None:
        return find_checkpoint(system.model), 0.0
    recipe = recipe_for(system, data)
    out = work / f"{recipe.optimizer.loss}-{recipe.optimizer.epochs}"
    took = out / "seconds.json"
    if not took.exists():
        resumed = (out / "last.pt").exists()
        started = time.monotonic()
        train(recipe, [data.source], out, resume=resumed)
        took.write_text(json.dumps(None if resumed else time.monotonic() - started))
    seconds = json.loads(took.read_text())
    return find_checkpoint(str(out / "checkpoint")), float("nan") if seconds is None else float(seconds)


def rank(system: System, data: Data, items: Sequence[Item], work: Path) -> Ranking:
    """Rank the photographs of the test part ``items`` for the first caption of each."""
    checkpoint, training_s = checkpoint_of(system, data, work)
    encoder = load_encoder(checkpoint, "cpu")
    images, patches = embed_photographs(encoder, data.source, items)
    captions = [item.captions[0] for item in items]
    attention = _attention(encoder, data, work) if system.closer == "pooled" else None
    heads = checkpoint.token_heads
    run: dict[str, list[str]] = {}
    started = time.perf_counter()
    for item, caption in zip(items, captions, strict=True):
        text = encoder.encode_texts([caption])[0]
        found = exact_search(text[None], images, top=RUN_DEPTH)
        order = found.top[0]
        if attention is not None:
            first = order[:DEPTH]
            order = np.concatenate([first[rerank(attention, text, images[first])], order[DEPTH:]])
        elif patches is not None and heads and system.closer in heads.weights:
            words, first = encoder.encode_words(caption), order[:DEPTH].tolist()
            if system.closer == "cross":
                second = cross_scores(checkpoint, words, patches[first])
            else:
                second = (words @ patches[first].transpose(0, 2, 1)).max(axis=2).mean(axis=1)
            scores = {str(row): float(score) for row, score in zip(first, second, strict=True)}
            hits = [
                Hit(str(row), float(score), {}) for row, score in zip(order.tolist(), found.scores[0], strict=True)
            ]
            order = np.array([int(hit.id) for hit in in_better_order(hits, scores, heads.weights[system.closer])])
        run[item.id] = [items[row].id for row in order.tolist()]
    return Ranking(run, (time.perf_counter() - started) / len(items) * 1000, training_s)


def _attention(encoder: Encoder, data: Data, work: Path) -> PooledAttention:
    """Train the attention over pooled embeddings on the training part, once."""
    model, path = PooledAttention(encoder.checkpoint.dimension), work / "pooled-attention.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    items = data.part("train")[:4000]
    images, _ = embed_photographs(encoder, data.source, items)
    captions = [item.captions[0] for item in items]
    texts = np.concatenate([encoder.encode_texts(captions[i : i + 256]) for i in range(0, len(captions), 256)])
    torch.set_num_threads(1)  # training may have left it at all cores, and this is too small for them
    fit(model, images, texts, captions, steps=200)
    torch.save(model.state_dict(), path)
    return model
