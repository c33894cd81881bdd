"""The systems that are set side by side: how each is trained, and how it ranks photographs for captions."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
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
from eval.split import SEED, split
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.cross_attention import PooledAttention, fit, rerank
from train.recipe import Recipe, load_recipe
from train.trainer import train

RUN_DEPTH = 100
FINE = 3e-4
"""The learning rate for a base that this product trained; others get that of the recipe for fine-tuning."""


@dataclass(frozen=True)
class System:
    """A row of the table. ``trained``: the recipe's changes, or None for ``base``, a checkpoint, as it is.

    With both, the training goes on from ``base``. ``closer``: how the first hits are looked at again: ``""``,
    ``pooled``, ``maxsim`` or ``cross``.
    """

    name: str
    trained: dict[str, object] | None = None
    closer: str = ""
    base: str = ""


def systems(base: str) -> tuple[System, ...]:
    """Return the rows: systems from scratch, then ``base`` (a folder or a hub name) as it is, and fine-tuned."""
    return (
        System("random initialisation", {"epochs": 0}),
        System("from scratch, cosines without temperature", {"loss": "raw"}),
        System("from scratch, learnt temperature", {}),
        System(f"{Path(base).name} as it is", base=base),
        System("fine-tuned", {}, base=base),
        System("fine-tuned + attention over pooled embeddings", {}, "pooled", base),
        System("fine-tuned + MaxSim over patches", {}, "maxsim", base),
        System("fine-tuned + cross-attention of words to patches", {}, "cross", base),
    )


@dataclass(frozen=True)
class Data:
    """Photographs with captions, which share of the products is trained on, and how.

    Examined are the products that are left over, or, where there is one, all of a ``gallery`` of its own.
    """

    name: str
    folder: Path
    share: float
    epochs: int
    batch_size: int
    gallery: Path | None = None

    @cached_property
    def source(self) -> Source:
        """The reader of what is trained on."""
        return open_source(self.folder)

    @cached_property
    def examined(self) -> Source:
        """The reader of what is examined."""
        return open_source(self.gallery) if self.gallery else self.source

    def training_items(self) -> list[Item]:
        """Return the captioned items that training sees."""
        return list(split(_captioned(self.source), "train", SEED, self.share))

    def test_items(self) -> list[Item]:
        """Return the captioned items that are asked for."""
        items = _captioned(self.examined)
        return list(items if self.gallery else split(items, "test", SEED, self.share))


def _captioned(source: Source) -> Iterator[Item]:
    return (item for item in source.items() if isinstance(item, Item) and item.captions)


@dataclass(frozen=True)
class Ranking:
    """What a system found: for each item of the test part the ids of the first photographs, and what it took."""

    run: dict[str, list[str]]
    latency_ms: float
    training_s: float


def recipe_for(system: System, data: Data, base: Checkpoint | None) -> Recipe:
    """Return the recipe of a row: a small one, or for a base that was not trained here the one for fine-tuning.

    From scratch, both towers learn, so that no row knows more words than the captions have.
    """
    foreign = base is not None and base.trained_split is None
    whole = load_recipe("finetune-vit-b32-deepfashion" if foreign else "small-from-scratch")
    changes = dict(system.trained or {})
    if base is not None and not foreign:
        changes["learning_rate"] = FINE
    patches = 64 if base else 0  # the rows with re-ranking all have a base
    model = dataclasses.replace(whole.model, text_base="", text_layers=2, vocabulary=4096, patches=patches)
    sizes = {"epochs": data.epochs, "batch_size": data.batch_size, "head_steps": 120, "cross_steps": 240}
    optimizer = dataclasses.replace(whole.optimizer, **{**sizes, "ema_decay": 0.98, **changes})
    return Recipe("reproduce", model, dataclasses.replace(whole.data, train_share=data.share), optimizer)


def checkpoint_of(system: System, data: Data, work: Path) -> tuple[Checkpoint, float]:
    """Return a system's checkpoint and the seconds that its training took; train it if that has not been done."""
    base = find_checkpoint(system.base) if system.base else None
    if system.trained is None:
        assert base is not None
        return base, 0.0
    recipe = recipe_for(system, data, base)
    origin = base.fingerprint[:12] if base else "scratch"
    out = work / f"{origin}-{recipe.optimizer.loss}-{recipe.optimizer.epochs}"
    took = out / "seconds.json"
    if not took.exists():
        resumed = (out / "last.pt").exists()
        started = time.monotonic()
        train(recipe, [data.source], out, base=base, resume=resumed)
        took.write_text(json.dumps(None if resumed else time.monotonic() - started))
    seconds = json.loads(took.read_text())
    return find_checkpoint(str(out / "checkpoint")), float("nan") if seconds is None else float(seconds)


def rank(system: System, data: Data, items: Sequence[Item], work: Path) -> Ranking:
    """Rank the photographs of the test part ``items`` for the first caption of each."""
    checkpoint, training_s = checkpoint_of(system, data, work)
    encoder = load_encoder(checkpoint, "cpu")
    images, patches = embed_photographs(encoder, data.examined, items)
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
    model = PooledAttention(encoder.checkpoint.dimension)
    path = work / f"pooled-attention-{encoder.checkpoint.fingerprint[:12]}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    items = data.training_items()[:4000]
    images, _ = embed_photographs(encoder, data.source, items)
    captions = [item.captions[0] for item in items]
    texts = np.concatenate([encoder.encode_texts(captions[i : i + 256]) for i in range(0, len(captions), 256)])
    torch.set_num_threads(1)  # training may have left it at all cores, and this is too small for them
    fit(model, images, texts, captions, steps=200)
    torch.save(model.state_dict(), path)
    return model
