"""Training: the loss, the tokenizer, one real small run, and its checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.checkpoint import find_checkpoint
from engine.encoder import OnnxEncoder, load_encoder
from engine.errors import SourceError, UsageError
from ingest.lookbook.draw import draw_lookbook
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.augment import augment, draw_variation
from train.cores import PATIENCE, Cores
from train.loss import contrastive_loss, same_key
from train.recipe import DataRecipe, ModelRecipe, OptimizerRecipe, Recipe, load_recipe
from train.schedule import learning_rate
from train.tokenizer import train_tokenizer
from train.trainer import train

TINY = Recipe(
    "tiny",
    ModelRecipe(32, 32, (8, 16), (1, 1), 0.05, "", 16, 1, 2, 700, 77, 12),
    DataRecipe(),
    OptimizerRecipe(batch_size=12, epochs=2, learning_rate=1e-3),
)


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("train") / "look-book"
    draw_lookbook(folder, count=60, seed=3)
    return open_source(folder)


def test_the_loss_equals_a_slow_sum_over_pairs() -> None:
    torch.manual_seed(1)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    same = same_key(["a", "b", "a", "c", "d"])
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


def test_augmentation_gives_the_asked_size_and_varies_with_the_seed_alone() -> None:
    pixels = torch.randint(0, 256, (6, 20, 16, 3), dtype=torch.uint8)
    first, again, other = (
        augment(pixels, draw_variation(6, np.random.default_rng(seed), DataRecipe()), (16, 8)) for seed in (1, 1, 2)
    )
    assert first.shape == (6, 3, 16, 8)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_of_strength_zero_only_mirrors() -> None:
    pixels = torch.randint(0, 256, (6, 20, 16, 3), dtype=torch.uint8)
    nothing = DataRecipe(crop_scale=1.0, brightness=0.0, erase=0.0)
    still = augment(pixels, draw_variation(6, np.random.default_rng(4), nothing), (20, 16))
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
    assert 0 <= told[-1].validation["recall@10"] <= 1
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
    gentle = dataclasses.replace(TINY, optimizer=dataclasses.replace(TINY.optimizer, epochs=1, learning_rate=1e-9))
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

    one = dataclasses.replace(TINY, optimizer=dataclasses.replace(TINY.optimizer, epochs=1))
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
        "[data]\ntrain_share = nan",
    ):
        (tmp_path / "odd.toml").write_text(text)
        with pytest.raises(UsageError, match=r"odd\.toml"):
            load_recipe(str(tmp_path / "odd.toml"))
    assert load_recipe("small-from-scratch").model.dimension == 256


def test_a_broken_photograph_is_left_out_of_training(tmp_path: Path) -> None:
    folder = tmp_path / "look-book"
    draw_lookbook(folder, count=40, seed=5)
    (next((folder / "images").iterdir())).write_bytes(b"not a photograph")
    Image.new("RGB", (30, 40), "red").save(folder / "images" / "extra.png")
    one = dataclasses.replace(TINY, optimizer=dataclasses.replace(TINY.optimizer, epochs=1, batch_size=8))
    assert train(one, [open_source(folder)], tmp_path / "run", threads=1).is_dir()
