"""Training: the loss, the tokenizer, one real small run, and its checkpoint."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_clip import make_tiny_clip
from workshop import Retold, Shop, loud, paint

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.cross import cross_scores
from engine.encoder import OnnxEncoder, TorchEncoder, encode_image, load_encoder
from engine.errors import CheckpointError, SourceError, StoreFull, UsageError
from engine.records import Item, point_id
from engine.search import Page, Query, search
from engine.store.edge import EdgeStore
from ingest.decode import decode
from ingest.lookbook.draw import draw_lookbook
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train import parallel
from train.augment import augment, draw_variation
from train.card import write_card
from train.cores import PATIENCE, Cores
from train.cross_attention import PooledAttention, fit, rerank
from train.cross_encoder import CrossEncoder, export_cross_encoder, matching
from train.curves import tensorboard_log
from train.export import export_checkpoint
from train.frozen import extend, pooled
from train.gradcache import backward_in_chunks
from train.kept import kept_array
from train.loss import Alike, Others, contrastive_loss, sigmoid_loss
from train.memory import Memory
from train.mix import best_mixture
from train.model import build_model
from train.origins import Origins
from train.pairs import Pairs, build_pairs, describe
from train.quantize import quantize_image_tower
from train.recipe import (
    LEAST_VOCABULARY,
    RECIPES,
    DataRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    inherit,
    load_recipe,
)
from train.reranker import Chosen, marks_of_order
from train.resume import load, save
from train.run import Progress, Run
from train.schedule import learning_rate, parameter_groups
from train.teacher import taught_images
from train.token_states import TokenStates
from train.tokenizer import train_tokenizer
from train.towers import preprocessing_of, towers_of
from train.trainer import train
from train.validation import marks_of, relevant_of

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


PAGES = """
import resource
from train.cores import keep_memory

keep_memory()
import torch

def step():
    blocks = [torch.ones(40 << 20, dtype=torch.uint8) for _ in range(2)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the disk be full, as far as this process can tell, when a file has so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def same_key(*keys: str) -> torch.Tensor:
    """Return which of some texts are equal, bool (n, n)."""
    every = torch.arange(len(keys))
    return Alike([keys])(every, every)


def tiny(**choices: object) -> Recipe:
    """Return the tiny recipe with other choices of how it learns."""
    return dataclasses.replace(TINY, optimizer=dataclasses.replace(TINY.optimizer, **choices))


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("train") / "look-book"
    draw_lookbook(folder, count=60, seed=3)
    return open_source(folder)


def test_the_loss_equals_a_slow_sum_over_pairs() -> None:
    torch.manual_seed(1)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    same = same_key("a", "b", "a", "c", "d")
    scale = torch.tensor(1.3)

    def slow(left: torch.Tensor, right: torch.Tensor) -> float:
        total = 0.0
        for i in range(5):
            logits = [math.exp(1.3) * float(left[i] @ right[j]) for j in range(5)]
            normaliser = math.log(sum(math.exp(value) for value in logits))
            answers = [j for j in range(5) if same[i, j]]
            total -= sum(logits[j] - normaliser for j in answers) / len(answers)
        return total / 5

    expected = (slow(images, texts) + slow(texts, images)) / 2
    assert float(contrastive_loss(images, texts, scale, same)) == pytest.approx(expected, rel=1e-5)


def test_the_temperature_gets_a_gradient() -> None:
    scale = torch.tensor(1.0, requires_grad=True)
    rows = torch.nn.functional.normalize(torch.randn(4, 3), dim=1)
    contrastive_loss(rows, rows, scale, torch.eye(4, dtype=torch.bool)).backward()
    assert scale.grad is not None
    assert float(scale.grad) < 0  # a sharper softmax is right where the pairs match


def test_every_byte_is_a_token_and_every_text_ends_once() -> None:
    tokenizer = train_tokenizer(["red dress", "blue dress"], vocabulary=600, context=77)
    for text in ("50% off", "été 北京 🧥", "", "\x00\x7f", "a" * 40):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(tokenizer.eos_token_id) == 1
        assert ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    assert len(tokenizer("dress")["input_ids"]) == 3


def test_augmentation_keeps_the_size_and_varies_with_the_seed_alone() -> None:
    pixels = torch.randint(0, 256, (6, 20, 16, 3), dtype=torch.uint8)
    first, again, other = (
        augment(pixels, draw_variation(6, np.random.default_rng(seed), DataRecipe())) for seed in (1, 1, 2)
    )
    assert first.shape == (6, 3, 20, 16)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_of_strength_zero_only_mirrors() -> None:
    pixels = torch.randint(0, 256, (6, 20, 16, 3), dtype=torch.uint8)
    nothing = DataRecipe(crop_scale=1.0, brightness=0.0, erase=0.0)
    still = augment(pixels, draw_variation(6, np.random.default_rng(4), nothing))
    for one, two in zip(still, pixels.permute(0, 3, 1, 2).float(), strict=True):
        assert torch.allclose(one, two, atol=0.1) or torch.allclose(one, two.flip(2), atol=0.1)


def test_a_step_takes_all_cores_only_after_nobody_else_computed_for_some_time(tmp_path: Path) -> None:
    loadavg = tmp_path / "loadavg"
    cores, everything = Cores(loadavg), len(os.sched_getaffinity(0))
    assert cores.idle() == 1, "the system does not tell"
    loadavg.write_text("0.5 0.4 0.3 1/80 1234\n")
    assert cores.idle() == everything
    loadavg.write_text("0.5 0.4 0.3 2/80 1234\n")
    assert cores.idle() == 1
    loadavg.write_text("0.5 0.4 0.3 1/80 1234\n")
    assert [cores.idle() for _ in range(PATIENCE)] == [1] * (PATIENCE - 1) + [everything]


def test_a_daemon_that_runs_for_a_moment_takes_no_core_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0, 3, 0, 0, 0, 1, 1, 1])
    monkeypatch.setattr(Cores, "_others", lambda self: next(looks))
    cores = Cores(tmp_path)
    assert [cores.idle(), cores.idle()] == [len(os.sched_getaffinity(0)), 1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_a_run_takes_the_same_memory_in_every_step_and_no_new_pages() -> None:
    faults = int(
        subprocess.run([sys.executable, "-c", PAGES], check=True, capture_output=True, text=True).stdout.split()[-1]
    )
    assert faults < 8 * 2 * 40 * 256 / 3, "pages of 4 KiB; all of them anew would be thrice that"


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[100] == pytest.approx(0.0, abs=1e-9)


def test_a_run_makes_a_checkpoint_that_answers_without_torch(drawings: Source, tmp_path: Path) -> None:
    told = []
    folder = train(TINY, [drawings], tmp_path / "run", threads=1, report=told.append)
    encoder = load_encoder(find_checkpoint(str(folder)))
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.encode_texts(["a red dress", "jeans"]).shape == (2, 12)
    assert encoder.encode_pixels(np.zeros((3, 32, 32, 3), dtype=np.uint8)).shape == (3, 12)
    losses = [progress.loss for progress in told if progress.validation is None]
    assert losses[-1] < losses[0]
    assert told[-1].validation
    assert 0 <= told[-1].validation["hit@10"] <= 1
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(log) == len(told)


def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights_bit_for_bit(
    drawings: Source, tmp_path: Path
) -> None:
    class PulledPlugError(Exception):
        pass

    def pull_the_plug(progress: object) -> None:
        if progress.epoch > 1:  # type: ignore[attr-defined]
            raise PulledPlugError

    whole = train(TINY, [drawings], tmp_path / "whole", threads=1)
    with pytest.raises(PulledPlugError):
        train(TINY, [drawings], tmp_path / "parts", threads=1, report=pull_the_plug)
    parts = train(TINY, [drawings], tmp_path / "parts", threads=1, resume=True)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    again = train(TINY, [drawings], tmp_path / "parts", threads=1, resume=True)
    assert (whole / "training.json").read_text() == (again / "training.json").read_text(), "nothing was left to do"


def test_training_goes_on_from_a_base_checkpoint(drawings: Source, tmp_path: Path) -> None:
    base = train(TINY, [drawings], tmp_path / "first", threads=1)
    gentle = tiny(epochs=1, learning_rate=1e-9)
    second = train(gentle, [drawings], tmp_path / "second", base=find_checkpoint(str(base)), threads=1)
    texts = ["blue denim jacket"]
    before, after = (load_encoder(find_checkpoint(str(folder))).encode_texts(texts) for folder in (base, second))
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_training_never_sees_a_held_out_product(drawings: Source, tmp_path: Path) -> None:
    from engine.records import Item
    from eval.split import split

    read = []

    class Watched:
        kind, root, description = drawings.kind, drawings.root, drawings.description
        fields, items = drawings.fields, drawings.items

        def read(self, item: Item) -> bytes:
            read.append(item.id)
            return drawings.read(item)

    one = tiny(epochs=1)
    train(one, [Watched()], tmp_path / "run", threads=1)
    held_out = {item.id for item in split((i for i in drawings.items() if isinstance(i, Item)), "test")}
    assert held_out
    assert read
    assert not held_out & set(read)


def test_a_run_folder_in_use_too_few_photographs_and_unknown_recipes_are_refused(
    drawings: Source, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="fewer than one batch"):
        train(Recipe("large"), [drawings], tmp_path / "few", threads=1)
    with pytest.raises(UsageError, match="leave out --resume"):
        train(TINY, [drawings], tmp_path / "none", resume=True)
    with pytest.raises(UsageError, match="small-from-scratch"):
        load_recipe("no-such-recipe")
    (tmp_path / "odd.toml").write_text("[model]\nimage_hight = 3\n")
    with pytest.raises(UsageError, match="unknown entry 'image_hight'"):
        load_recipe(str(tmp_path / "odd.toml"))
    for text in (
        "model = 3",
        "[optimizer]\nbatch_size = 0",
        "[optimizer]\nbatch_size = 'x'",
        "[optimizer]\nloss = 'hinge'",
        "[data]\ntrain_share = nan",
    ):
        (tmp_path / "odd.toml").write_text(text)
        with pytest.raises(UsageError, match=r"odd\.toml"):
            load_recipe(str(tmp_path / "odd.toml"))
    assert load_recipe("small-from-scratch").model.dimension == 256
    for recipe in RECIPES.glob("*.toml"):
        assert load_recipe(recipe.stem).name == recipe.stem


@pytest.mark.parametrize(
    ("section", "entry", "allowed"),
    [
        ("data", "crop_scale = 1.5", "above 0 and at most 1"),
        ("data", "crop_scale = 0", "above 0 and at most 1"),
        ("data", "brightness = 2", "between 0 and 1"),
        ("data", "erase = 1.1", "between 0 and 1"),
        ("data", "word_dropout = 7.0", "between 0 and 1"),
        ("data", "train_share = 0", "above 0 and below 1"),
        ("data", "train_share = 1", "above 0 and below 1"),
        ("data", "split_seed = -1", "whole number from 0 on"),
        ("model", "vision_dropout = 1.0", "at least 0 and below 1"),
        ("model", "text_heads = 0", "at least 1"),
        ("model", "text_width = 0", "at least 1"),
        ("model", "context = 2", "at least 3"),
        ("model", "dimension = 0", "at least 1"),
        ("model", "image_height = 0", "at least 1"),
        ("model", "vision_stem = 0", "at least 1"),
        ("model", "vision_widths = [8, 0, 64]", "at least 1"),
        ("model", "vision_depths = [0]", "at least 1"),
        ("model", "vision = 'vit'", "one of 'hybrid', 'convnext', 'efficientnet'"),
        ("optimizer", "ema_decay = 1.0", "at least 0 and below 1"),
        ("optimizer", "warmup_share = 5", "between 0 and 1"),
        ("optimizer", "coarse_share = 1.01", "between 0 and 1"),
        ("optimizer", "seed = 9223372036854775808", r"below 2\*\*63"),
        ("optimizer", f"learning_rate = 1{'0' * 400}", "a number from 0 on"),
        ("optimizer", "wise_ft = 1", "true or false"),
    ],
)
def test_a_number_that_no_run_could_use_is_named_with_its_section_and_what_is_allowed(
    section: str, entry: str, allowed: str, tmp_path: Path
) -> None:
    (tmp_path / "odd.toml").write_text(f"[{section}]\n{entry}\n")
    with pytest.raises(
        UsageError, match=rf"odd\.toml \[{section}\]: {entry.split()[0]} cannot be .*, only .*{allowed}"
    ):
        load_recipe(str(tmp_path / "odd.toml"))


@pytest.mark.parametrize(
    ("sizes", "choices", "message"),
    [
        ({"vocabulary": 513}, {}, "vocabulary cannot be 513 without text_base, only at least 514"),
        ({"text_width": 18, "text_heads": 4}, {}, "text_width cannot be 18 with text_heads 4, only a multiple"),
        ({"vision": "convnext", "vision_widths": (8, 16)}, {}, "each stage has one of either"),
        ({"vision": "convnext", "image_width": 8}, {}, "convnext tower of 3 stages, only at least 16"),
        ({"vision_base": "lite.pth"}, {}, "vision_base 'lite.pth' is for vision = \"efficientnet\", not 'hybrid'"),
        (
            {},
            {"freeze": "image"},
            "freeze = 'image' would lock a tower that has learnt nothing: give a --base, or vis",
        ),
        ({}, {"freeze": "text"}, "freeze = 'text' would lock a tower that has learnt nothing: give a --base, or text"),
    ],
)
def test_choices_that_make_no_towers_together_are_refused_before_a_photograph_is_opened(
    sizes: dict[str, Any], choices: dict[str, Any], message: str, drawings: Source, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(tiny(**choices), model=dataclasses.replace(TINY.model, **sizes))
    with pytest.raises(UsageError, match=message):
        train(recipe, [drawings], tmp_path / "run", threads=1)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lit").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_recipe("lit").name == "lit"
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="no recipe 'mine': give a"):
        load_recipe("mine")


def test_the_smallest_vocabulary_is_that_of_the_bytes_and_knows_no_word() -> None:
    assert len(train_tokenizer(["red dress"], LEAST_VOCABULARY, 77)) == LEAST_VOCABULARY
    assert len(train_tokenizer(["red dress"], LEAST_VOCABULARY - 4, 77)) == LEAST_VOCABULARY
    assert len(train_tokenizer(["red dress"], LEAST_VOCABULARY, 77)("red")["input_ids"]) == 2 + len("red")


def test_smaller_photographs_for_a_tower_that_sees_one_size_only_are_refused(drawings: Source, tmp_path: Path) -> None:
    sizes = {"vision": "hybrid", "image_height": 32, "image_width": 32}
    hybrid = dataclasses.replace(
        tiny(coarse_share=0.5),
        model=dataclasses.replace(TINY.model, vision_widths=(8, 16, 64), vision_depths=(1, 1, 1), **sizes),  # type: ignore[arg-type]
    )
    with pytest.raises(UsageError, match="coarse_share needs a convolutional tower"):
        train(hybrid, [drawings], tmp_path / "run", threads=1)


def test_a_broken_photograph_is_left_out_of_training(tmp_path: Path) -> None:
    folder = tmp_path / "look-book"
    draw_lookbook(folder, count=40, seed=5)
    (next((folder / "images").iterdir())).write_bytes(b"not a photograph")
    Image.new("RGB", (30, 40), "red").save(folder / "images" / "extra.png")
    one = tiny(epochs=1, batch_size=8)
    assert train(one, [open_source(folder)], tmp_path / "run", threads=1).is_dir()


def test_a_sigmoid_loss_equals_a_slow_sum_over_pairs_and_leaves_out_what_nobody_knows() -> None:
    torch.manual_seed(2)
    images, texts = (torch.nn.functional.normalize(torch.randn(4, 3), dim=1) for _ in range(2))
    same, known = same_key("a", "b", "a", "c"), torch.ones(4, 4, dtype=torch.bool)
    known[0, 3] = False
    scale, bias = torch.tensor(1.1), torch.tensor(-2.0)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            logit = math.exp(1.1) * float(images[i] @ texts[j]) - 2.0
            if known[i, j]:
                expected += math.log1p(math.exp(-logit if same[i, j] else logit))
    found = sigmoid_loss(images, texts, scale, bias, same, known)
    assert float(found) == pytest.approx(expected / 4, rel=1e-5)


def test_pairs_of_which_nobody_knows_do_not_change_the_loss() -> None:
    torch.manual_seed(3)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    known = torch.ones(5, 5, dtype=torch.bool)
    known[:3, 3:] = known[3:, :3] = False
    same = torch.eye(5, dtype=torch.bool)
    alike = same.clone()
    alike[0, 4] = alike[4, 0] = True  # which nobody knows
    assert contrastive_loss(images, texts, torch.tensor(2.0), alike, known) == contrastive_loss(
        images, texts, torch.tensor(2.0), same, known
    )
    whole = contrastive_loss(images, texts, torch.tensor(2.0), same, known)
    parts = [
        contrastive_loss(images[a:b], texts[a:b], torch.tensor(2.0), same[a:b, a:b]) * (b - a)
        for a, b in ((0, 3), (3, 5))
    ]
    assert float(whole) == pytest.approx(float(sum(parts)) / 5, rel=1e-5)


def test_pairs_of_earlier_steps_are_wrong_answers_like_those_of_the_batch_but_right_answers_to_nothing() -> None:
    torch.manual_seed(5)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    scale, same = torch.tensor(1.2), torch.eye(4, dtype=torch.bool)
    wrong = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    found = contrastive_loss(images[:4], texts[:4], scale, same, others=Others(images[4:], texts[4:], wrong))
    expected = 0.0
    for here, there in ((images, texts), (texts, images)):
        for i in range(4):
            counted = [*range(4), *(4 + j for j in range(2) if wrong[i, j])]
            logits = [math.exp(1.2) * float(here[i] @ there[j]) for j in counted]
            expected += math.log(sum(map(math.exp, logits))) - logits[i]
    assert float(found) == pytest.approx(expected / 8, rel=1e-5)


def test_a_memory_keeps_the_newest_pairs() -> None:
    memory = Memory(3, "cpu")
    for start in (0, 2):
        rows = torch.tensor([start, start + 1])
        memory.remember(rows, rows[:, None].float(), -rows[:, None].float())
    assert memory.rows.tolist() == [2, 3, 0]
    assert memory.images.flatten().tolist() == [2, 3, 0]
    assert memory.titles.flatten().tolist() == [-2, -3, 0]


def test_a_batch_in_chunks_gives_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(4)
    tower, data = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Dropout(0.0)), torch.randn(8, 6)
    scale = torch.nn.Parameter(torch.tensor(1.0))

    def rows(start: int, stop: int) -> torch.Tensor:
        return torch.nn.functional.normalize(tower(data[start:stop]), dim=1)

    def loss(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(left, right.flip(1), scale, torch.eye(8, dtype=torch.bool))

    learning = [*tower.parameters(), scale]
    found = []
    for spans in ([(0, 8)], [(0, 3), (3, 6), (6, 8)]):
        for parameter in learning:
            parameter.grad = None
        chunks = [partial(rows, start, stop) for start, stop in spans]
        backward_in_chunks([chunks, chunks], loss)
        found.append([parameter.grad.clone() for parameter in learning if parameter.grad is not None])
    assert len(found[0]) == len(found[1]) == 3
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts)


def test_dropout_falls_alike_both_times_that_a_chunk_is_embedded() -> None:
    seen: list[torch.Tensor] = []
    dropout, data = torch.nn.Dropout(0.5), torch.randn(4, 6, requires_grad=True)

    def rows(start: int, stop: int) -> torch.Tensor:
        seen.append(dropout(data[start:stop]))
        return seen[-1]

    chunks = [partial(rows, 0, 2), partial(rows, 2, 4)]
    backward_in_chunks([chunks], lambda all_rows: all_rows.square().sum())
    first, second = seen[:2], seen[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_layers_far_from_the_output_learn_more_slowly_and_norms_do_not_decay(tmp_path: Path) -> None:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(make_tiny_clip(tmp_path / "clip"))
    scale = {
        id(parameter): (group["scale"], group["weight_decay"])
        for group in parameter_groups(model, 0.1, 0.5)
        for parameter in group["params"]
    }
    assert len(scale) == len(list(model.parameters()))
    vision = model.vision_model
    assert scale[id(model.visual_projection.weight)] == (1.0, 0.1)
    assert scale[id(vision.encoder.layers[1].mlp.fc1.weight)] == (0.5, 0.1)
    assert scale[id(vision.encoder.layers[0].mlp.fc1.weight)] == (0.25, 0.1)
    assert scale[id(vision.embeddings.patch_embedding.weight)] == (0.125, 0.1)
    assert scale[id(vision.encoder.layers[1].layer_norm1.weight)] == (0.5, 0.0)
    assert scale[id(model.logit_scale)] == (1.0, 0.0)


def test_in_a_hybrid_tower_the_transformer_is_above_the_stages() -> None:
    model = build_model(TINY.model, train_tokenizer(["a dress"], 600, 77))
    scale = {id(one): group["scale"] for group in parameter_groups(model, 0.1, 0.5) for one in group["params"]}
    tower = model.vision_model
    backbone = tower.embeddings.backbone
    inwards = [
        tower.pooler.dense.weight,
        tower.encoder.layer[0].intermediate.dense.weight,
        backbone.encoder.stages[2].layers[0].layer[0].convolution.weight,
        backbone.encoder.stages[0].layers[0].layer[0].convolution.weight,
        backbone.embedder.embedder.convolution.weight,
    ]
    assert [scale[id(one)] for one in inwards] == [1.0, 0.5, 0.25, 0.0625, 0.03125]


def test_the_best_mixture_of_weights_is_found_and_loaded() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    before = {"weight": torch.tensor([[0.0]])}
    torch.nn.init.constant_(model.weight, 1.0)
    alpha = best_mixture(model, before, lambda: -abs(model.weight.item() - 0.62))
    assert alpha == 0.6
    assert model.weight.item() == pytest.approx(0.6)


def _vectors(folder: Path, texts: list[str], pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    encoder = TorchEncoder(find_checkpoint(str(folder)), "cpu", precise=True)
    return encoder.encode_texts(texts), encoder.encode_pixels(pixels)


def test_a_fine_tuned_clip_keeps_its_activation_and_loads_everywhere(drawings: Source, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    base = find_checkpoint(str(make_tiny_clip(tmp_path / "clip")))
    gentle = dataclasses.replace(TINY.optimizer, epochs=1, wise_ft=True, layer_decay=0.8, micro_batch=5)
    folder = train(dataclasses.replace(TINY, optimizer=gentle), [drawings], tmp_path / "run", base=base, threads=1)
    made = find_checkpoint(str(folder))
    assert made.config["text_config"]["hidden_act"] == made.config["vision_config"]["hidden_act"] == "quick_gelu"
    assert made.preprocessing == base.preprocessing
    texts = ["a red dress", "jeans"]
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 32, 3), np.uint8)) for n in range(3)]
    pixels = np.stack([made.preprocessing.pixels(image) for image in images])
    ours = _vectors(folder, texts, pixels)
    onnx = load_encoder(made)
    assert isinstance(onnx, OnnxEncoder)
    np.testing.assert_allclose(onnx.encode_texts(texts), ours[0], atol=1e-4)
    theirs = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts), ours[0], atol=1e-4)
    np.testing.assert_allclose(theirs.encode(images), ours[1], atol=2e-2)  # it resizes by itself
    alpha = json.loads((folder / "training.json").read_text())["validation"]["wise_ft_alpha"]
    assert 0 <= alpha <= 1


@pytest.fixture(scope="session")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a WordPiece tokenizer, as a sentence encoder is laid out."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[unused0]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "北",
        "##s",
        "##ed",
        "red",
        "dress",
        "a",
        "the",
    ]
    words += [chr(letter) for letter in range(ord("b"), ord("z") + 1)] + [f"##{chr(n)}" for n in range(97, 123)]
    words += ["zebra"]
    inner = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 3), ("[SEP]", 4)])
    BertTokenizer(tokenizer_object=inner).save_pretrained(folder)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_frozen_sentence_encoder_learns_only_in_its_new_layers(
    drawings: Source, sentence_encoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel

    sizes = dataclasses.replace(TINY.model, text_base=str(sentence_encoder), text_layers=1, vocabulary=13)
    folder = train(dataclasses.replace(TINY, model=sizes), [drawings], tmp_path / "run", threads=1)
    encoder = load_encoder(find_checkpoint(str(folder)))
    assert isinstance(encoder, OnnxEncoder)
    made, base = AutoModel.from_pretrained(folder).text_model, AutoModel.from_pretrained(sentence_encoder)
    assert made.config.num_hidden_layers == 3
    torch.testing.assert_close(
        made.encoder.layer[1].output.dense.weight, base.encoder.layer[1].output.dense.weight, atol=1e-4, rtol=1e-3
    )
    texts, pixels = ["a red dress", "the zebra"], np.zeros((1, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(encoder.encode_texts(texts), _vectors(folder, texts, pixels)[0], atol=1e-4)


def test_the_shortcut_through_the_last_layer_gives_what_the_whole_tower_gives(
    sentence_encoder: Path, tmp_path: Path
) -> None:
    corpus = ["a red dress", "the dress", "zebra zebra"]
    model, tokenizer = extend(find_checkpoint(str(sentence_encoder)), 1, 13, corpus[:2], tmp_path / "words")
    assert "zebra" not in tokenizer.get_vocab(), "neither frequent nor used"
    assert not {"北", "[unused0]"} & set(tokenizer.get_vocab())
    assert tokenizer.unk_token_id not in tokenizer("zebra")["input_ids"], "it is spelt in parts"
    states = TokenStates(model.eval(), tokenizer, corpus, 1, tmp_path / "states")
    rows = np.array([2, 0])
    with torch.inference_mode():
        whole = model(**tokenizer([corpus[row] for row in rows], padding=True, return_tensors="pt")).pooler_output
        torch.testing.assert_close(pooled(model, 1, *states.batch(rows)), whole, atol=1e-3, rtol=1e-3)


def test_onnx_towers_have_no_weights_of_their_own_and_move_with_their_folder(drawings: Source, tmp_path: Path) -> None:
    wide = dataclasses.replace(TINY.model, text_width=64, text_heads=2, vision_widths=(16, 32, 64))
    one = dataclasses.replace(TINY, model=wide, optimizer=dataclasses.replace(TINY.optimizer, epochs=1))
    folder = train(one, [drawings], tmp_path / "run", threads=1)
    weights = (folder / "model.safetensors").stat().st_size
    assert (folder / "text.onnx").stat().st_size < weights / 2
    texts = ["a red dress"]
    before = load_encoder(find_checkpoint(str(folder))).encode_texts(texts)
    after = load_encoder(find_checkpoint(str(folder.rename(tmp_path / "elsewhere")))).encode_texts(texts)
    assert (before == after).all()


@pytest.mark.parametrize("frozen", ["image", "text"])
def test_a_frozen_tower_keeps_its_weights_and_the_other_learns(drawings: Source, tmp_path: Path, frozen: str) -> None:
    from transformers import AutoModel

    base = make_tiny_clip(tmp_path / "clip")
    recipe, start = tiny(epochs=1, freeze=frozen), find_checkpoint(str(base))
    folder = train(recipe, [drawings], tmp_path / "run", base=start, threads=1)
    before, after = (AutoModel.from_pretrained(path).state_dict() for path in (base, folder))
    changed = {
        name.partition(".")[0]
        for name in before
        if not torch.allclose(before[name], after[name], atol=1e-4, rtol=1e-3)
    }
    sides = {"image": {"vision_model", "visual_projection"}, "text": {"text_model", "text_projection"}}
    other = "text" if frozen == "image" else "image"
    assert not changed & sides[frozen]
    assert changed & sides[other]


def test_a_new_image_tower_learns_beside_the_text_tower_of_a_checkpoint(drawings: Source, tmp_path: Path) -> None:
    seed = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train_share=0.7))
    first = train(seed, [drawings], tmp_path / "first", threads=1)
    sizes = dataclasses.replace(TINY.model, text_base=str(first), vision_widths=(8, 24, 64), dimension=99)
    told: list[Progress] = []
    recipe = dataclasses.replace(tiny(epochs=3, freeze="text", memory=0), model=sizes)
    second = train(recipe, [drawings], tmp_path / "second", threads=1, report=told.append)
    texts = ["a red dress", "blue denim jacket"]
    before, after = (load_encoder(find_checkpoint(str(folder))).encode_texts(texts) for folder in (first, second))
    np.testing.assert_allclose(before, after, atol=1e-4)
    losses = [progress.loss for progress in told if progress.validation is None]
    assert losses[-1] < losses[0]
    facts = json.loads((second / "training.json").read_text())
    assert facts["recipe"]["data"]["train_share"] == 0.7, "what the text tower has read is not held out"
    assert facts["text_base"]["recipe"]["name"] == "tiny"
    assert find_checkpoint(str(second)).trained_split == find_checkpoint(str(first)).trained_split
    assert facts["recipe"]["model"]["vision_widths"] == [8, 24, 64]
    texts_only = inherit(tiny(freeze="image"), find_checkpoint(str(second)))
    assert texts_only.model.vision_widths == (8, 24, 64), "the recipe tells how the tower that was taken over was made"
    near = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, teach_weight=50.0))
    third = train(near, [drawings], tmp_path / "third", threads=1)
    item = next(item for item in drawings.items() if isinstance(item, Item))
    image = decode(drawings.read(item))
    teacher, alone, pupil = (
        encode_image(load_encoder(find_checkpoint(str(folder))), image) for folder in (first, second, third)
    )
    assert float(teacher @ pupil) > float(teacher @ alone), "it learns from the image tower too"


def test_a_checkpoint_says_what_it_is_what_it_learnt_from_and_what_was_measured(
    drawings: Source, tmp_path: Path
) -> None:
    folder = train(tiny(epochs=1), [drawings], tmp_path / "run")
    card = (folder / "README.md").read_text(encoding="utf-8")
    checkpoint = Checkpoint(folder)
    assert checkpoint.notes["data"] == [drawings.description]
    marks = checkpoint.notes["validation"]
    for words in (
        drawings.description,
        checkpoint.fingerprint[:12],
        f"| mrr | {marks['mrr']:.4g} |",
        "epochs 1, batch size",
    ):
        assert words in card
    assert f"embeddings of {checkpoint.dimension} numbers" in card
    assert f"{checkpoint.preprocessing.width} x {checkpoint.preprocessing.height} pixels" in card
    assert str(tmp_path) not in card, "where somebody keeps photographs is nobody's business"


def test_the_card_of_a_checkpoint_names_a_source_whose_name_is_no_unicode(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "description", "photographs of caf\udce9")
    folder = make_tiny_clip(tmp_path / "clip")
    write_card(folder, [drawings])
    assert "- photographs of caf\\udce9\n" in (folder / "README.md").read_text(encoding="utf-8")
    assert Checkpoint(folder).notes["data"] == ["photographs of caf\udce9"]


def test_a_teacher_that_is_none_or_sees_another_size_is_refused(drawings: Source, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teach_weight needs a teacher"):
        train(tiny(teach_weight=1.0), [drawings], tmp_path / "none", threads=1)
    first = train(tiny(epochs=1), [drawings], tmp_path / "first", threads=1)
    larger = dataclasses.replace(TINY.model, text_base=str(first), image_height=48, image_width=48)
    with pytest.raises(UsageError, match="sees 32 x 32 pixels, the new tower 48 x 48"):
        train(dataclasses.replace(tiny(teach_weight=1.0), model=larger), [drawings], tmp_path / "second", threads=1)


def test_a_teacher_is_asked_anew_for_other_photographs_of_the_same_number_and_for_the_same_seen_otherwise(
    tmp_path: Path,
) -> None:
    origins = Origins([shop(tmp_path / "one", "1", "2"), shop(tmp_path / "two", "1", "2")])
    teacher = find_checkpoint(str(make_tiny_clip(tmp_path / "clip")))
    spec = teacher.preprocessing
    asked = [(origins.items[:2], spec), (origins.items[2:], spec)]
    asked.append((origins.items[:2], dataclasses.replace(spec, resample=0)))
    for items, seen in [*asked, asked[0]]:
        pairs = build_pairs(items, origins, seen, tmp_path / "pixels")
        assert taught_images(teacher, pairs, seen, tmp_path / "states").shape == (2, teacher.dimension)
    assert len(list((tmp_path / "states").iterdir())) == len(asked)


def test_a_shared_space_is_cut_to_its_largest_directions_and_then_ranks_as_before(
    drawings: Source, tmp_path: Path
) -> None:
    wide = 200  # the towers have 64 and 16 numbers, so that embeddings lie in 80 directions at most
    recipe = dataclasses.replace(tiny(epochs=1), model=dataclasses.replace(TINY.model, dimension=wide))
    cut = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, reduced_dimension=80))
    folders = [train(one, [drawings], tmp_path / f"{number}", threads=1) for number, one in enumerate((recipe, cut))]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    texts = ["red dress", "blue denim"]
    scores = []
    for folder in folders:
        encoder = OnnxEncoder(Checkpoint(folder))
        scores.append(encoder.encode_texts(texts) @ encoder.encode_pixels(pixels).T)
    assert [Checkpoint(folder).dimension for folder in folders] == [wide, 80]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)  # weights are kept as float16


def test_a_shared_space_cannot_be_cut_to_more_than_it_has(drawings: Source, tmp_path: Path) -> None:
    more = dataclasses.replace(TINY.model, reduced_dimension=TINY.model.dimension)
    with pytest.raises(UsageError, match="reduced_dimension"):
        train(dataclasses.replace(TINY, model=more), [drawings], tmp_path / "run", threads=1)
    assert not (tmp_path / "run" / "pixels").exists()


@pytest.mark.parametrize("loss", ["sigmoid", "raw"])
def test_the_other_losses_train_too(drawings: Source, tmp_path: Path, loss: str) -> None:
    told: list[Progress] = []
    train(tiny(loss=loss, epochs=2, memory=0), [drawings], tmp_path / "run", threads=1, report=told.append)
    losses = [progress.loss for progress in told if progress.validation is None]
    assert losses[-1] < losses[0]


def test_a_run_ends_when_validation_has_not_risen_for_long(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = iter([0.1, 0.3, 0.2, 0.2, 0.9])
    monkeypatch.setattr(Run, "examine", lambda self, pairs: {"mrr": next(marks)})
    told: list[Progress] = []
    train(tiny(epochs=9, patience=2), [drawings], tmp_path / "run", threads=1, report=told.append)
    assert told[-1].epoch == 4


def test_steps_that_give_no_number_are_skipped_and_too_many_end_the_run(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.run.MAX_BAD_STEPS", 3)
    monkeypatch.setattr("train.run.contrastive_loss", lambda images, *_: images.sum() * math.nan)
    made: list[tuple[Run, list[torch.Tensor]]] = []
    begin = Run.__init__

    def remembering(self: Run, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        made.append((self, [buffer.clone() for buffer in self.model.buffers()]))

    monkeypatch.setattr(Run, "__init__", remembering)
    with pytest.raises(UsageError, match="4 steps gave no number"):
        train(TINY, [drawings], tmp_path / "run", threads=1)
    run, before = made[0]
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in run.model.modules())
    for buffer, at_first in zip(run.model.buffers(), before, strict=True):
        assert not buffer.is_floating_point() or torch.equal(buffer, at_first)


def test_after_too_many_steps_without_a_number_the_last_good_epoch_is_a_checkpoint(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = train(tiny(epochs=1), [drawings], tmp_path / "good", threads=1)
    text_base = find_checkpoint(str(good))
    recipe = dataclasses.replace(tiny(epochs=5), model=dataclasses.replace(TINY.model, text_base=str(good)))
    told: list[Progress] = []
    monkeypatch.setattr("train.run.MAX_BAD_STEPS", 1)

    def spoil(progress: Progress) -> None:
        told.append(progress)
        if progress.validation:
            monkeypatch.setattr("train.run.contrastive_loss", lambda images, *_: images.sum() * math.nan)

    with pytest.raises(UsageError, match=r"2 steps gave no number: .*checkpoint is that of the last good epoch"):
        train(recipe, [drawings], tmp_path / "run", threads=1, report=spoil)
    assert told[-1].skipped == 1
    saved = find_checkpoint(str(tmp_path / "run" / "checkpoint"))
    assert saved.notes["epochs"] == 1
    assert load_encoder(saved, "cpu").encode_texts(["dress"]).shape == (1, 12)
    assert {path.name for path in saved.folder.iterdir()} >= {"model.safetensors", "text.onnx", "image.onnx"}
    assert good != saved.folder
    card = (saved.folder / "README.md").read_text(encoding="utf-8")
    assert drawings.description in card and saved.fingerprint[:12] in card
    assert saved.notes["text_base"] == {"fingerprint": text_base.fingerprint, "recipe": text_base.recipe}
    for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_photographs_that_do_not_fit_on_the_disk_are_not_begun_with(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.pairs.shutil.disk_usage", lambda folder: SimpleNamespace(free=5000))
    with pytest.raises(SourceError, match=r"the decoded photographs need .* GB, and .* has 0\.0: make room"):
        train(TINY, [drawings], tmp_path / "run")


def test_a_part_of_the_split_without_a_photograph_is_named_and_not_taken_for_broken_photographs(
    drawings: Source, tmp_path: Path
) -> None:
    single = shop(tmp_path / "single", "7")
    with pytest.raises(
        SourceError, match=r"none of 1 photographs falls into the \w+ part of the split, .* more --data"
    ):
        train(TINY, [single], tmp_path / "run")
    nothing = dataclasses.replace(TINY, data=DataRecipe(train_share=0.0))
    with pytest.raises(SourceError, match=r"falls into the train part of the split, .*train_share 0, split_seed 42"):
        train(nothing, [drawings], tmp_path / "other")


def test_a_run_killed_while_it_notes_what_it_decoded_decodes_anew(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(file: Any, array: np.ndarray) -> None:
        Path(file if isinstance(file, Path) else file.name).write_bytes(b"\x93NUM")
        raise KeyboardInterrupt

    origins, spec = Origins([drawings]), preprocessing_of(TINY.model, None)
    with monkeypatch.context() as patch:
        patch.setattr("train.kept.np.save", torn)
        with pytest.raises(KeyboardInterrupt):
            build_pairs(origins.items, origins, spec, tmp_path)
    assert len(build_pairs(origins.items, origins, spec, tmp_path)) == len(origins.items)


def test_a_cache_that_lost_its_end_is_made_anew(sentence_encoder: Path, tmp_path: Path) -> None:
    origins = Origins([shop(tmp_path / "shop", "1", "2")])
    teacher = find_checkpoint(str(make_tiny_clip(tmp_path / "clip")))
    corpus = ["a red dress", "the dress"]
    model, tokenizer = extend(find_checkpoint(str(sentence_encoder)), 1, 13, corpus, tmp_path / "words")

    def learnt() -> list[np.ndarray]:
        pairs = build_pairs(origins.items, origins, teacher.preprocessing, tmp_path / "cache")
        taught = taught_images(teacher, pairs, teacher.preprocessing, tmp_path / "cache")
        states, _ = TokenStates(model.eval(), tokenizer, corpus, 1, tmp_path / "cache").batch(np.array([0, 1]))
        return [np.array(pairs.pixels), taught.numpy(), states.numpy()]

    whole = learnt()
    files = sorted((tmp_path / "cache").iterdir())
    assert {path.suffix for path in files} == {".u8", ".npy", ".states"}
    for path in files:
        for lost in (1, path.stat().st_size):
            os.truncate(path, path.stat().st_size - lost)
            for before, after in zip(whole, learnt(), strict=True):
                np.testing.assert_array_equal(before, after)
    assert sorted((tmp_path / "cache").iterdir()) == files


def test_an_array_is_computed_once_and_anew_where_its_file_is_damaged_or_another(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.npy"
    computed: list[int] = []

    def ask(count: int) -> list[int]:
        def compute() -> npt.NDArray[np.int64]:
            computed.append(count)
            return np.arange(count)

        return kept_array(path, compute, lambda rows: rows.shape == (count,)).tolist()

    for count, so_far in ((3, [3]), (3, [3]), (4, [3, 4]), (4, [3, 4])):
        assert (ask(count), computed) == (list(range(count)), so_far)
    for damage in (b"", b"nothing", path.read_bytes()[:-8]):
        path.write_bytes(damage)
        computed.clear()
        assert ask(4) == ask(4) == [0, 1, 2, 3]
        assert computed == [4]

    def interrupted() -> npt.NDArray[np.int64]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_array(path, interrupted, lambda rows: False)
    assert ask(4) == [0, 1, 2, 3] and computed == [4], "what was there stays until the new is whole"


def test_room_that_a_killed_run_took_for_its_photographs_is_free_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins, spec = Origins([shop(tmp_path / "shop", "1", "2")]), preprocessing_of(TINY.model, None)
    needed, cache = 2 * spec.height * spec.width * 3, tmp_path / "cache"

    def usage(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=needed - sum(path.stat().st_size for path in folder.iterdir()))

    monkeypatch.setattr("train.pairs.shutil.disk_usage", usage)
    build_pairs(origins.items, origins, spec, cache)
    (noted,) = cache.glob("*.npy")
    noted.unlink()
    assert len(build_pairs(origins.items, origins, spec, cache)) == 2


def test_photographs_that_lacked_an_extra_are_decoded_once_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shop(tmp_path / "shop", "1")
    (tmp_path / "shop" / "telephone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    origins, spec = Origins([source]), preprocessing_of(TINY.model, None)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    assert len(build_pairs(origins.items, origins, spec, tmp_path / "cache")) == 1
    extra = ModuleType("pi_heif")
    extra.__spec__ = ModuleSpec("pi_heif", None)
    picture = Image.new("RGB", (8, 8))
    vars(extra)["open_heif"] = lambda *_, **__: SimpleNamespace(size=picture.size, to_pillow=picture.copy)
    monkeypatch.setitem(sys.modules, "pi_heif", extra)
    assert len(build_pairs(origins.items, origins, spec, tmp_path / "cache")) == 2


def test_equal_captions_and_photographs_of_one_product_are_right_answers_of_each_other(tmp_path: Path) -> None:
    said = [("a", "weiß dress", "1"), ("b", "dress from behind", "1"), ("c", "WEISS  Dress", "2"), ("d", "hat", "")]
    for name, caption, product in said:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(caption, encoding="utf-8")
        (tmp_path / f"{name}.json").write_text(json.dumps({"product_id": product}))
    origins = Origins([open_source(tmp_path)])
    pairs = describe(origins.items, np.zeros((4, 8, 8, 3), dtype=np.uint8), origins)
    assert [rows.tolist() for rows in relevant_of(pairs)] == [[0, 1, 2], [0, 1], [0, 2], [3]]
    every = torch.arange(4)
    same = Alike((pairs.keys, pairs.products))(every, every)
    assert same.tolist() == [[bool(row in rows) for row in range(4)] for rows in relevant_of(pairs)]


def shop(folder: Path, *products: str) -> Source:
    """Return a folder with a photograph of each of ``products``, as a source."""
    folder.mkdir()
    for number, product in enumerate(products):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"{folder.name} {number}")
        (folder / f"{number}.json").write_text(json.dumps({"product_id": product}))
    return open_source(folder)


def test_products_of_two_sources_are_never_the_same_whatever_their_numbers(tmp_path: Path) -> None:
    origins = Origins([shop(tmp_path / "one", "7", "7"), shop(tmp_path / "two", "7", "8")])
    pairs = describe(origins.items, np.zeros((4, 8, 8, 3), dtype=np.uint8), origins)
    assert [rows.tolist() for rows in relevant_of(pairs)] == [[0, 1], [0, 1], [2], [3]]


def test_a_photograph_that_two_sources_give_is_refused_with_both_of_them(tmp_path: Path) -> None:
    shop(tmp_path / "photos", "7")
    for name in ("shoes", "dresses"):
        (tmp_path / f"{name}.csv").write_text(f"id,image,title\n1,photos/0.png,{name}\n")
    tables = [open_source(tmp_path / f"{name}.csv") for name in ("shoes", "dresses")]
    with pytest.raises(SourceError, match=r"0\.png is given by both .*shoes\.csv and .*dresses\.csv: leave out one"):
        train(TINY, tables, tmp_path / "run", threads=1)


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    draw_lookbook(tmp_path / "look-book", count=60, seed=3)
    script = Path(__file__).with_name("train_once.py")
    for count in (1, 2):
        launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
        target = tmp_path / f"run-{count}"
        done = subprocess.run(
            [*launch, script, tmp_path / "look-book", target], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / f"run-{count}" / "checkpoint" / "model.safetensors") for count in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name].float(), two[name].float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_processes_wait_for_hours_while_the_first_decodes_photographs(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    group = SimpleNamespace(
        is_torchelastic_launched=lambda: True,
        is_initialized=lambda: False,
        init_process_group=lambda backend, **choices: asked.append(choices),
        get_node_local_rank=lambda: 0,
    )
    monkeypatch.setattr("train.parallel.dist", group)
    monkeypatch.setattr("torch.cuda.set_device", lambda number: None)
    parallel.join(device)
    assert [choices["timeout"].total_seconds() >= 6 * 3600 for choices in asked] == [True]


def test_low_rank_adaptation_changes_only_queries_and_values_and_leaves_no_trace(
    drawings: Source, tmp_path: Path
) -> None:
    from transformers import AutoModel

    base = make_tiny_clip(tmp_path / "clip")
    recipe, start = tiny(epochs=2, lora_rank=2, learning_rate=1e-2), find_checkpoint(str(base))
    folder = train(recipe, [drawings], tmp_path / "run", base=start, threads=1)
    before, after = (AutoModel.from_pretrained(path).state_dict() for path in (base, folder))
    assert set(before) == set(after)
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-4, rtol=1e-3)}
    assert any("q_proj.weight" in name for name in changed)
    allowed = ("q_proj.weight", "v_proj.weight", "visual_projection.weight", "text_projection.weight", "logit_scale")
    assert not [name for name in changed if not name.endswith(allowed)]


def test_towers_can_be_exported_untrained(drawings: Source, tmp_path: Path) -> None:
    untrained = tiny(epochs=0)
    folder = train(untrained, [drawings], tmp_path / "run", threads=1)
    assert load_encoder(find_checkpoint(str(folder))).encode_texts(["a red dress"]).shape == (1, 12)


def test_untrained_attention_over_pooled_embeddings_changes_no_order_and_training_lowers_its_loss() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(64, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = rows + 0.3 * rng.normal(size=rows.shape).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    torch.manual_seed(0)
    model = PooledAttention(8, layers=2, heads=2)
    assert rerank(model, texts[0], rows).tolist() == np.argsort(-(rows @ texts[0]), kind="stable").tolist()
    losses: list[float] = []
    keys = [str(n) for n in range(64)]
    fit(model, rows, texts, keys, steps=120, batch_size=16, report=lambda step, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


@pytest.fixture(scope="session")
def looking_closer(drawings: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with token heads."""
    sizes = dataclasses.replace(TINY.model, patches=8)
    choices = dataclasses.replace(TINY.optimizer, head_steps=4, cross_steps=6)
    out = tmp_path_factory.mktemp("heads") / "run"
    with pytest.MonkeyPatch.context() as patch:  # so small a model gains nothing by them
        patch.setattr("train.trainer.choose_weights", lambda *_: Chosen({"maxsim": 0.5, "cross": 0.7}, "maxsim", {}))
        return train(dataclasses.replace(TINY, model=sizes, optimizer=choices), [drawings], out, threads=1)


def test_tensorboard_reads_what_a_run_told(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard_log(tmp_path) as tell:
        tell(Progress(0.5, 3, 6, 2.5, 0.07, 100.0))
        tell(Progress(1.0, 6, 6, math.nan, 0.06, 0.0, {"hit@10": 0.25}))
    events = EventAccumulator(str(tmp_path)).Reload()  # type: ignore[no-untyped-call]
    assert [(one.step, one.value) for one in events.Scalars("training/loss")] == [(3, 2.5)]  # type: ignore[no-untyped-call]
    assert [(one.step, one.value) for one in events.Scalars("validation/hit@10")] == [(6, 0.25)]  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "sizes",
    [
        {"image_height": 40},
        {"image_height": 144, "image_width": 16},
        {"vision_widths": (8, 64)},
        {"vision_widths": (8, 16, 32)},
    ],
)
def test_sizes_that_fit_no_tower_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="hybrid tower"):
        build_model(dataclasses.replace(TINY.model, **sizes), train_tokenizer(["a dress"], 600, 77))


def test_an_untrained_hybrid_tower_sees_all_cells_alike() -> None:
    tower = build_model(TINY.model, train_tokenizer(["a dress"], 600, 77)).vision_model.eval()
    attention = tower.encoder.layer[0].attention
    states = torch.randn(2, 5, 64)
    with torch.inference_mode():
        torch.testing.assert_close(attention(states), states.mean(1, keepdim=True).expand(2, 5, 64))


def test_heads_that_help_nobody_are_not_kept(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.trainer.choose_weights", lambda *_: Chosen({}, "none", {}))
    sizes = dataclasses.replace(TINY.model, patches=8)
    choices = dataclasses.replace(TINY.optimizer, epochs=0, head_steps=1)
    recipe = dataclasses.replace(TINY, model=sizes, optimizer=choices)
    assert find_checkpoint(str(train(recipe, [drawings], tmp_path / "run", threads=1))).token_heads is None


def test_re_rankers_are_weighed_beside_the_towers_alone_whose_marks_are_those_of_validation(
    drawings: Source, tmp_path: Path
) -> None:
    sizes = dataclasses.replace(TINY.model, patches=8)
    choices = dataclasses.replace(TINY.optimizer, epochs=1, head_steps=2, cross_steps=2)
    folder = train(dataclasses.replace(TINY, model=sizes, optimizer=choices), [drawings], tmp_path / "run", threads=1)
    marks = find_checkpoint(str(folder)).notes["validation"]
    for mark in ("mrr", "hit@1"):
        assert marks[f"{mark}, alone"] == pytest.approx(marks[mark])
        assert {f"{mark}, maxsim", f"{mark}, cross"} <= set(marks)


def test_a_new_order_of_the_first_hits_leaves_the_others_where_they_were() -> None:
    right = np.array([[False, True, True], [False, False, False], [True, False, False]])
    scores = np.array([[1.0, 3.0, 2.0], [3.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    marks = marks_of_order(right, np.array([2, 50, 1]), scores)
    assert marks == pytest.approx({"hit@1": 1 / 3, "mrr": (1 + 1 / 50 + 1 / 2) / 3})


def test_validation_holds_no_table_of_all_captions_against_all_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("exact", "metrics"):
        monkeypatch.setattr(f"eval.{module}.CHUNK_FLOATS", 50_000)
    count, rng = 2000, np.random.default_rng(0)
    images, texts = (rng.normal(size=(count, 8)).astype(np.float32) for _ in range(2))
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, images + texts))
    names = [str(row) for row in range(count)]
    none = np.zeros(count, dtype=np.int64)
    pairs = Pairs([Item(name, name) for name in names], images, images, [], names, names, none)  # type: ignore[arg-type]
    tracemalloc.start()
    marks = marks_of(pairs, images, texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < count * count  # a quarter of such a table
    ranks = (texts @ images.T >= (texts * images).sum(axis=1)[:, None] - 1e-6).sum(axis=1)
    assert marks == {"gallery": count} | {f"hit@{k}": np.mean(ranks <= k) for k in (1, 10)} | {
        "mrr": pytest.approx(np.mean(1 / ranks))
    }


def test_heads_without_a_caption_to_learn_by_are_refused_before_the_first_step(
    drawings: Source, tmp_path: Path
) -> None:
    told: list[Progress] = []
    recipe = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, patches=8))
    silent = Retold(drawings, lambda captions: ())
    with pytest.raises(UsageError, match=r"patches 8 are for a re-ranking, .* no photograph .* has one: leave out"):
        train(recipe, [silent], tmp_path / "run", threads=1, report=told.append)
    assert not told


def test_both_engines_give_the_same_words_and_patches(looking_closer: Path) -> None:
    checkpoint = find_checkpoint(str(looking_closer))
    assert checkpoint.token_heads
    assert checkpoint.token_heads.dimension == 8
    onnx, torch_encoder = load_encoder(checkpoint), TorchEncoder(checkpoint, "cpu", precise=True)
    assert isinstance(onnx, OnnxEncoder)
    words = onnx.encode_words("a red dress")
    assert words.shape == (len(words), 8)
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(words, torch_encoder.encode_words("a red dress"), atol=1e-3)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    (rows, patches), (other_rows, other_patches) = (one.encode_photographs(pixels) for one in (onnx, torch_encoder))
    assert patches is not None and other_patches is not None
    assert patches.shape == (3, 4, 8)
    np.testing.assert_allclose(rows, other_rows, atol=0.15)  # the image tower may be in integers
    np.testing.assert_allclose(patches, other_patches, atol=0.15)
    np.testing.assert_allclose(rows, onnx.encode_pixels(pixels), atol=1e-6)


def test_a_checkpoint_with_heads_has_another_fingerprint_than_without(looking_closer: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(looking_closer, bare)
    (bare / "token_heads.json").unlink()
    assert find_checkpoint(str(bare)).fingerprint != find_checkpoint(str(looking_closer)).fingerprint
    assert find_checkpoint(str(bare)).token_heads is None
    (bare / "token_heads.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"token_heads\.json"):
        _ = find_checkpoint(str(bare)).token_heads


def test_heads_can_be_given_to_a_checkpoint_whose_towers_stay_as_they_are(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.trainer.choose_weights", lambda *_: Chosen({"maxsim": 0.5, "cross": 0.7}, "maxsim", {}))
    base = train(TINY, [drawings], tmp_path / "first", threads=1)
    sizes = dataclasses.replace(TINY.model, patches=8)
    later = dataclasses.replace(TINY.optimizer, epochs=0, head_steps=3)
    recipe = dataclasses.replace(TINY, model=sizes, optimizer=later)
    folder = train(recipe, [drawings], tmp_path / "second", base=find_checkpoint(str(base)), threads=1)
    assert (folder / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    assert find_checkpoint(str(folder)).token_heads


def test_a_query_looks_closer_at_its_first_hits_and_loses_none(looking_closer: Path, tmp_path: Path) -> None:
    encoder = load_encoder(find_checkpoint(str(looking_closer)))
    shop = Shop(tmp_path, encoder)
    for seed in range(12):
        paint(shop.photos / f"{seed}.png", seed)
    shutil.copy(shop.photos / "3.png", shop.photos / "copy.png")
    shop.ingest()
    names = {Path(str(payload["uri"])).name: item_id for item_id, payload in shop.payloads().items()}
    with EdgeStore(shop.store_folder, "fashion") as store:
        ids = [point_id(names["3.png"]), point_id(names["copy.png"])]
        own, copy = store.retrieve(ids, vectors=True, patches=True)
        assert own.patches is not None and copy.patches is not None, "a duplicate borrows them"
        np.testing.assert_array_equal(own.patches, copy.patches)
        plain = search(store, encoder, Query("a red dress"), Page(limit=13, rerank="none"))
        closer = search(store, encoder, Query("a red dress"), Page(limit=13))
        assert {hit.id for hit in plain} == {hit.id for hit in closer}
        assert all(hit.rerank_score is None for hit in plain)
        assert all(hit.rerank_score is not None for hit in closer)
        assert {hit.id: hit.score for hit in plain} == pytest.approx({hit.id: hit.score for hit in closer}, abs=1e-6)
        pages = [search(store, encoder, Query("a red dress"), Page(limit=5, offset=start)) for start in (0, 5, 10)]
        assert [hit.id for page in pages for hit in page] == [hit.id for hit in closer]
        patches = {record.id: record.patches for record in store.retrieve([hit.id for hit in plain], patches=True)}
        words = encoder.encode_words("a red dress")
        for hit in closer:
            slow = np.mean([max(float(word @ patch) for patch in patches[hit.id]) for word in words])  # type: ignore[union-attr]
            assert hit.rerank_score == pytest.approx(slow, abs=5e-3)
        for query, page in (
            (Query(like=[names["3.png"]]), Page(rerank="maxsim")),
            (Query("a red dress"), Page(rerank="maxsim", group_by="source")),
        ):
            with pytest.raises(UsageError, match="query in words alone, hits that are not grouped"):
                search(store, encoder, query, page)
        crossed = search(store, encoder, Query("a red dress"), Page(limit=13, rerank="cross"))
        assert {hit.id: hit.score for hit in plain} == pytest.approx({hit.id: hit.score for hit in crossed}, abs=1e-6)
        for hit in crossed:
            (alone,) = cross_scores(encoder.checkpoint, words, np.asarray(patches[hit.id])[None])
            assert hit.rerank_score == pytest.approx(float(alone), abs=1e-4)


def test_an_untrained_cross_encoder_finds_nothing_and_the_exported_one_what_the_trained_one_finds(
    tmp_path: Path,
) -> None:
    torch.manual_seed(3)
    cross = CrossEncoder(8, 4).eval()
    words, patches = torch.randn(5, 8), torch.randn(6, 4, 8)
    there = torch.ones(6, 7, dtype=torch.bool)
    there[:, 5:] = False
    with torch.inference_mode():
        assert float(cross(words.expand(6, 5, 8), patches).abs().max()) == 0
        torch.nn.init.normal_(cross.verdict.weight)
        expected = cross(words.expand(6, 5, 8), patches)
        padded = torch.cat([words, torch.randn(2, 8)])
        torch.testing.assert_close(cross(padded.expand(6, 7, 8), patches, there), expected)
    export_cross_encoder(cross, tmp_path)
    found = cross_scores(Checkpoint(tmp_path), words.numpy(), patches.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_negatives_are_hard_and_never_right() -> None:
    near = torch.zeros(4, 4)
    near[0, 2] = near[3, 1] = 100.0
    same = same_key("a", "b", "a", "c")
    torch.manual_seed(1)
    text, photograph, right = matching(near, same)
    pairs = list(zip(text.tolist(), photograph.tolist(), strict=True))
    assert right.tolist() == [1.0] * 4 + [0.0] * 8
    assert not any(same[one, other] for one, other in pairs[4:]), "0 and 2 are the same"
    assert pairs[4 + 3] == (3, 1)
    alike = matching(near, torch.ones(4, 4, dtype=torch.bool))
    assert alike[2].tolist() == [1.0] * 4


def test_a_run_is_not_resumed_with_another_recipe(drawings: Source, tmp_path: Path) -> None:
    one = tiny(epochs=1)
    train(one, [drawings], tmp_path / "run", threads=1)
    with pytest.raises(UsageError, match="another recipe"):
        train(TINY, [drawings], tmp_path / "run", threads=1, resume=True)


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_killed_while_it_writes_its_checkpoint_leaves_the_one_before_whole(
    drawings: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def seen(folder: Path) -> bool:
        return any("checkpoint" in path.name for path in folder.iterdir())

    run, one = tmp_path / "run", tiny(epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr("train.trainer.write_card", killed)
        with pytest.raises(KeyboardInterrupt):
            train(one, [drawings], run, threads=1)
    assert not seen(run)
    folder = train(one, [drawings], run, threads=1, resume=True)
    (folder / "heads.of.an.earlier.run").touch()
    before = content(folder)
    monkeypatch.setattr("train.trainer.quantize_image_tower", killed)
    with pytest.raises(KeyboardInterrupt):
        train(one, [drawings], run, threads=1, resume=True)
    assert content(folder) == before
    monkeypatch.setattr("train.trainer.quantize_image_tower", lambda *_: {})
    train(one, [drawings], run, threads=1, resume=True)
    assert content(folder).keys() == before.keys() - {"heads.of.an.earlier.run"}


@pytest.mark.parametrize(("may_cost", "approved"), [(1.0, True), (-1.0, False)])
def test_integers_take_the_place_of_the_image_tower_when_they_are_approved_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_cost: float, approved: bool
) -> None:
    base = find_checkpoint(str(make_tiny_clip(tmp_path / "clip", width=128)))
    towers, spec = towers_of(base, "cpu"), base.preprocessing
    checkpoint = Checkpoint(export_checkpoint(towers.model, towers.tokenizer, spec, {}, tmp_path / "checkpoint", base))
    origins = Origins([shop(tmp_path / "shop", "1", "2", "3")])
    pairs = build_pairs(origins.items, origins, spec, tmp_path / "pixels")
    before, logging_before = content(checkpoint.folder), (logging.root.level, [*logging.root.handlers])
    examined = []

    def mark(*arguments: Any) -> dict[str, float]:
        examined.append(content(checkpoint.folder) == before)
        return marks_of(*arguments)

    monkeypatch.setattr("train.quantize.marks_of", mark)
    monkeypatch.setattr("train.quantize.MAX_LOSS", may_cost)
    texts = load_encoder(checkpoint, "cpu").encode_texts(pairs.first_captions())
    marks = quantize_image_tower(checkpoint, pairs, pairs, texts)
    assert marks.keys() == {"float32", "int8"}
    assert examined == [True, True]
    assert (content(checkpoint.folder) != before) == approved
    assert (logging.root.level, logging.root.handlers) == logging_before
    rows = OnnxEncoder(checkpoint).encode_pixels(np.asarray(pairs.pixels))
    assert (rows * TorchEncoder(checkpoint).encode_pixels(np.asarray(pairs.pixels))).sum(axis=1).min() > 0.9


@pytest.fixture(scope="session")
def stopped(drawings: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs that was killed in the second; not to be changed."""

    class PulledPlugError(Exception):
        pass

    def pull_the_plug(progress: Progress) -> None:
        if progress.epoch > 1 and progress.validation is None:
            raise PulledPlugError

    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(PulledPlugError):
        train(TINY, [drawings], out, threads=1, report=pull_the_plug)
    return out


def test_a_run_is_not_resumed_with_other_data_of_the_same_size(
    drawings: Source, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    with pytest.raises(UsageError, match="belongs to other data, or to an earlier version: resume with the --data"):
        train(TINY, [Retold(drawings, loud)], tmp_path / "run", threads=1, resume=True)


@pytest.mark.parametrize("kept", [0, 1000, -1000, None])
def test_a_damaged_state_is_named_with_the_next_step(
    drawings: Source, stopped: Path, tmp_path: Path, kept: int | None
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    state = tmp_path / "run" / "last.pt"
    state.write_bytes(b"no state" if kept is None else state.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"^\S*run/last\.pt is damaged [^\n]*: start anew, .*another --out$"):
        train(TINY, [drawings], tmp_path / "run", threads=1, resume=True)


@pytest.mark.parametrize(("name", "again"), [("last.pt", "go on with --resume"), ("other.pt", "start it again")])
def test_a_state_that_the_disk_does_not_take_is_told_in_one_line_and_the_one_before_stays(
    tmp_path: Path, name: str, again: str
) -> None:
    save({"step": torch.tensor(1)}, tmp_path / name)
    with (
        files_of_at_most(10_000),
        pytest.raises(StoreFull, match=rf"{name} cannot be written \([^\n]*\): make room on its disk, then {again}$"),
    ):
        save({"step": torch.zeros(10_000)}, tmp_path / name)
    assert load(tmp_path / name, "cpu") == {"step": torch.tensor(1)}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_log_of_a_resumed_run_has_every_step_once_and_nothing_torn(
    drawings: Source, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(f'{log.read_text()}{{"epoch": 1.3, "st')
    train(TINY, [drawings], tmp_path / "run", threads=1, resume=True)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [entry["step"] for entry in entries if entry["validation"] is None]
    assert steps == list(range(1, entries[-1]["steps"] + 1))
    assert [entry["epoch"] for entry in entries if entry["validation"]] == [1, 2]


def test_what_a_base_was_trained_on_stays_out_of_the_examination(drawings: Source, tmp_path: Path) -> None:
    seen = dataclasses.replace(TINY.data, train_share=0.9, split_seed=3)
    one = dataclasses.replace(TINY.optimizer, epochs=0)
    base = train(dataclasses.replace(TINY, data=seen, optimizer=one), [drawings], tmp_path / "first", threads=1)
    folder = train(
        dataclasses.replace(TINY, optimizer=one),
        [drawings],
        tmp_path / "second",
        base=find_checkpoint(str(base)),
        threads=1,
    )
    assert find_checkpoint(str(folder)).trained_split == (0.9, 3)
