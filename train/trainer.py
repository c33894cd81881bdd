"""LEARN: captions --split--> pairs --train--> checkpoint."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import AutoModel, AutoTokenizer

from engine.checkpoint import BICUBIC, CLIP_MEAN, CLIP_STD, Checkpoint, Preprocessing
from engine.encoder import native_bfloat16, pick_device
from engine.errors import SourceError, UsageError
from engine.records import FieldKind, Item
from eval.metrics import hit_at, ranks_of_relevant, reciprocal_rank
from eval.split import split
from ingest.sources.source import Source
from train.augment import augment
from train.export import export_checkpoint
from train.loss import MAX_LOGIT_SCALE, contrastive_loss, same_key
from train.model import build_model
from train.pairs import Pairs, build_pairs
from train.recipe import Recipe
from train.tokenizer import adopt_vocabulary, train_tokenizer

MAX_BAD_STEPS = 20
"""So many steps with a loss that is no number, and the run is given up: the recipe is at fault, not chance."""

TEXT_CHUNK = 128


@dataclass(frozen=True)
class Progress:
    """What a run says of itself after a step or an epoch."""

    epoch: float
    step: int
    steps: int
    loss: float
    temperature: float
    images_per_s: float
    validation: dict[str, float] | None = None


def train(
    recipe: Recipe,
    sources: Sequence[Source],
    out: Path,
    *,
    base: Checkpoint | None = None,
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    report: Callable[[Progress], None] = lambda progress: None,
) -> Path:
    """Train on the training part of ``sources``, from scratch or from ``base``; return the folder ``out``/checkpoint.

    ``out`` keeps the log (`log.jsonl`), the decoded photographs, and after every epoch the whole state (`last.pt`),
    from which ``resume`` goes on.

    Raises:
        SourceError: too few photographs for one batch.
        UsageError: the run folder is in use, or nothing is there to resume.
    """
    if threads:
        torch.set_num_threads(threads)
    state_file = out / "last.pt"
    if state_file.exists() != resume:
        hint = "give --resume to go on with it, or another --out" if not resume else "leave out --resume to start it"
        raise UsageError(f"{state_file} {'exists already' if not resume else 'does not exist'}: {hint}")
    out.mkdir(parents=True, exist_ok=True)
    learning, validation = _gather(recipe, sources, out / "pixels")
    if len(learning) < recipe.optimizer.batch_size:
        raise SourceError(
            f"{len(learning)} photographs are fewer than one batch ({recipe.optimizer.batch_size}): "
            "give more --data, or a smaller batch_size in the recipe"
        )
    torch.manual_seed(recipe.optimizer.seed)
    model, tokenizer = _towers(recipe, base, learning)
    run = _Run(recipe, model, tokenizer, len(learning), pick_device(torch, device))
    if resume:
        run.restore(torch.load(state_file, map_location=run.device, weights_only=True))
    marks = run.examine(validation) if run.epoch >= recipe.optimizer.epochs else {}  # resumed when all was done
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while run.epoch < recipe.optimizer.epochs:
            for progress in run.one_epoch(learning):
                log.write(json.dumps(asdict(progress)) + "\n")
                report(progress)
            marks = run.examine(validation) if len(validation) else {}
            ended = Progress(run.epoch, run.step, run.steps, math.nan, run.temperature, 0.0, marks)
            log.write(json.dumps(asdict(ended)) + "\n")
            log.flush()
            report(ended)
            torch.save(run.state(), state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
    return export_checkpoint(run.average.module, tokenizer, preprocessing(recipe), recipe, marks, out / "checkpoint")


class _Run:
    """Everything that changes while training: model, optimizer, average, counters, random states."""

    def __init__(self, recipe: Recipe, model: Any, tokenizer: Any, size: int, device: str) -> None:  # noqa: ANN401
        choices = recipe.optimizer
        self.recipe, self.tokenizer, self.device = recipe, tokenizer, device
        self.model = model.to(device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(choices.ema_decay))  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.model, choices.weight_decay), betas=(0.9, 0.98))
        self.epoch = self.step = self.bad_steps = 0
        self.steps_per_epoch = size // choices.batch_size
        self.steps = self.steps_per_epoch * choices.epochs
        mean, std = torch.tensor(CLIP_MEAN) * 255, torch.tensor(CLIP_STD) * 255
        self.mean, self.std = mean.to(device), std.to(device)

    @property
    def temperature(self) -> float:
        """The learnt temperature, by which cosines are divided."""
        return float(torch.exp(-self.model.logit_scale.detach()))

    def one_epoch(self, pairs: Pairs) -> Iterator[Progress]:
        """Train on every pair once, in an order that depends on seed and epoch only."""
        choices = self.recipe.optimizer
        seeds = np.random.SeedSequence([choices.seed, self.epoch]).spawn(2)
        arrays, words = np.random.default_rng(seeds[0]), random.Random(int(seeds[1].generate_state(1)[0]))
        torch.manual_seed(int(arrays.integers(2**31)))
        order = arrays.permutation(len(pairs))
        self.model.train()
        for number in range(self.steps_per_epoch):
            started = time.perf_counter()
            rows = np.sort(order[number * choices.batch_size : (number + 1) * choices.batch_size])
            loss = self._one_step(pairs, rows, arrays, words)
            rate = len(rows) / (time.perf_counter() - started)
            progress = self.epoch + (number + 1) / self.steps_per_epoch
            yield Progress(progress, self.step, self.steps, loss, self.temperature, rate)
        self.epoch += 1

    def _one_step(self, pairs: Pairs, rows: Any, arrays: np.random.Generator, words: random.Random) -> float:  # noqa: ANN401
        choices, data = self.recipe.optimizer, self.recipe.data
        photographs = augment(np.asarray(pairs.pixels[rows]), arrays, data.crop_margin, data.brightness)
        titles = [pairs.title(row, words, data.word_dropout) for row in rows.tolist()]
        chosen = [pairs.some_attributes(row, words) for row in rows.tolist()]
        same_title = same_key([pairs.keys[row] for row in rows.tolist()]).to(self.device)
        has, asked = torch.from_numpy(pairs.attributes[rows]).float(), torch.zeros(len(rows), len(pairs.words))
        for index, values in enumerate(chosen):
            asked[index, values] = 1.0
        same_attributes = ((has @ asked.t()) >= asked.sum(dim=1)).to(self.device)  # [i, j]: photo i has all of text j

        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, choices.learning_rate, choices.warmup_share)
        with _autocast(self.device):
            images = self.embed_images(self.model, photographs)
            texts = self.embed_texts(self.model, titles + [pairs.attribute_text(values) for values in chosen])
        scale = self.model.logit_scale
        loss = contrastive_loss(images, texts[: len(rows)], scale, same_title)
        loss = loss + choices.attribute_weight * contrastive_loss(images, texts[len(rows) :], scale, same_attributes)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), choices.clip_norm)
        self.step += 1
        if not torch.isfinite(norm):
            self.bad_steps += 1
            if self.bad_steps > MAX_BAD_STEPS:
                raise UsageError(
                    f"{self.bad_steps} steps gave no number: lower learning_rate; last.pt is the last good state"
                )
            return math.nan
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)
        self.average.update_parameters(self.model)
        return float(loss.detach())

    def examine(self, pairs: Pairs) -> dict[str, float]:
        """Return Recall@1, Recall@10 (hit) and MRR of the averaged model, captions to photographs of ``pairs``."""
        model = self.average.module.eval()
        with torch.inference_mode():
            images = torch.cat(
                [self.embed_images(model, pairs.pixels[i : i + 256]) for i in range(0, len(pairs), 256)]
            )
            captions = [
                item.captions[0] if item.captions else pairs.attribute_text(np.flatnonzero(has).tolist())
                for item, has in zip(pairs.items, pairs.attributes, strict=True)
            ]
            texts = torch.cat([self.embed_texts(model, captions[i : i + 256]) for i in range(0, len(pairs), 256)])
        keys = {key: np.array([i for i, k in enumerate(pairs.keys) if k == key]) for key in dict.fromkeys(pairs.keys)}
        ranks = ranks_of_relevant((texts @ images.t()).cpu().numpy(), [keys[key] for key in pairs.keys])
        return {
            "gallery": len(pairs),
            "recall@1": float(hit_at(ranks, 1).mean()),
            "recall@10": float(hit_at(ranks, 10).mean()),
            "mrr": float(reciprocal_rank(ranks).mean()),
        }

    def embed_images(self, model: Any, pixels: Any) -> Tensor:  # noqa: ANN401
        """Return unit rows (n, d) for uint8 pixels (n, height, width, 3)."""
        values = (torch.tensor(np.asarray(pixels)).to(self.device).float() - self.mean) / self.std
        values = values.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return F.normalize(model.get_image_features(pixel_values=values).pooler_output.float(), dim=-1)

    def embed_texts(self, model: Any, texts: Sequence[str]) -> Tensor:  # noqa: ANN401
        """Return unit rows (n, d) for texts; those of like length go together, since padding costs as much as text."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows = []
        for start in range(0, len(order), TEXT_CHUNK):
            chunk = [texts[index] for index in order[start : start + TEXT_CHUNK]]
            batch = self.tokenizer(chunk, padding=True, truncation=True, return_tensors="pt").to(self.device)
            rows.append(model.get_text_features(**batch).pooler_output)
        back = torch.tensor(order, device=self.device).argsort()
        return F.normalize(torch.cat(rows)[back].float(), dim=-1)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on as if nothing had happened."""
        parts = {"model": self.model, "average": self.average, "optimizer": self.optimizer}
        counters = {"epoch": self.epoch, "step": self.step, "bad_steps": self.bad_steps}
        return {name: part.state_dict() for name, part in parts.items()} | counters

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; raises UsageError where it belongs to another recipe."""
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(f"last.pt belongs to another recipe or data: {str(error).splitlines()[0]}") from error
        self.epoch, self.step, self.bad_steps = state["epoch"], state["step"], state["bad_steps"]


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the rate of a step: linear warm-up to ``peak``, then a cosine down to zero."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def preprocessing(recipe: Recipe) -> Preprocessing:
    """Return how a model made by ``recipe`` wants its pixels: resized to its size, whatever their shape."""
    return Preprocessing(recipe.model.image_height, recipe.model.image_width, None, BICUBIC, CLIP_MEAN, CLIP_STD)


def _gather(recipe: Recipe, sources: Sequence[Source], cache: Path) -> tuple[Pairs, Pairs]:
    owner: dict[str, Source] = {}
    items: list[Item] = []
    fields: dict[str, FieldKind] = {}
    for source in sources:
        found = [item for item in source.items() if isinstance(item, Item)]
        owner |= {item.uri: source for item in found}
        items += found
        fields |= source.fields()
    data = recipe.data
    parts = []
    for part in ("train", "validation"):
        chosen = list(split(items, part, data.split_seed, data.train_share))
        parts.append(
            build_pairs(chosen, lambda item: owner[item.uri].read(item), fields, preprocessing(recipe), cache)
        )
    return parts[0], parts[1]


def _towers(recipe: Recipe, base: Checkpoint | None, pairs: Pairs) -> tuple[Any, Any]:
    """Return the model to train and its tokenizer: new ones, or those of ``base``."""
    learnt = None
    if base is None or recipe.data.learn_vocabulary:
        learnt = train_tokenizer(_corpus(pairs), recipe.model.vocabulary, recipe.model.context)
    if base is None:
        return build_model(recipe.model, learnt), learnt
    tokenizer = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    model = AutoModel.from_pretrained(base.folder, dtype=torch.float32, local_files_only=True)
    if learnt is not None:
        adopt_vocabulary(model, tokenizer, learnt)
    return model, learnt or tokenizer


def _corpus(pairs: Pairs) -> Iterator[str]:
    for item in pairs.items:
        yield from item.captions
    yield from pairs.words


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]  # norms, biases, the temperature
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _autocast(device: str) -> AbstractContextManager[Any]:
    """Bfloat16 over float32 weights where the processor has it; float16 never: it overflows, and CPUs emulate it."""
    return torch.autocast(device, torch.bfloat16) if device != "cpu" or native_bfloat16(torch) else nullcontext()
