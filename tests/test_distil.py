"""One checkpoint of several: it sees and reads as they do together, by photographs and texts of the training part."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_clip import make_tiny_clip
from workshop import Retold, killed, loud

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.encoder import load_encoder
from engine.errors import SourceError, UsageError
from ingest.sources.source import Source
from train import distil as module
from train.distil import distil, mixed
from train.joined import Joined, fit_projection
from train.model import build_model, without_chance
from train.recipe import ModelRecipe
from train.run import Progress
from train.synonyms import Synonyms
from train.tokenizer import train_tokenizer

WORDS = Synonyms(["quux => trousers"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return [find_checkpoint(str(make_tiny_clip(folder / f"clip-{seed}", seed=seed))) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 12)
    monkeypatch.setattr(module, "TEXT_EPOCHS", 2)


def test_the_pupil_comes_nearer_to_all_of_them_in_seeing_and_reading(
    pair: list[Checkpoint], look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit_projection", lambda linear, rows, goals: linear)  # else hardly a way is left
    told: list[Progress] = []
    folder = distil(pair, WORDS, [look_book], tmp_path / "run", epochs=6, report=told.append)
    examined = [progress.validation for progress in told if progress.validation]
    assert len(examined) == 1 + 6 + 2, "before, and after every epoch over photographs and over texts"
    assert examined[6]["cosine"] > examined[0]["cosine"]
    assert examined[8]["cosine"] > examined[7]["cosine"]
    pupil = find_checkpoint(str(folder))
    assert pupil.notes["distilled"] == {"from": [each.fingerprint for each in pair], "phrases": 1}
    assert pupil.fingerprint not in {each.fingerprint for each in pair}
    encoder, joined = load_encoder(pupil, "cpu"), Joined(pair, "cpu")
    assert encoder.encode_texts(["red trousers"]).shape == (1, pair[0].dimension)
    assert joined.directions is None
    assert load_file(folder / "model.safetensors").keys() == load_file(pair[0].folder / "model.safetensors").keys()


@pytest.mark.usefixtures("without_onnx")
def test_a_run_that_was_killed_and_resumed_gives_the_same_checkpoint(
    pair: list[Checkpoint], look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "mixed", lambda pictures, rng: pictures + torch.rand_like(pictures))  # torch's chance

    def killed_after_an_epoch(progress: Progress) -> None:
        if progress.epoch == 1 and progress.validation:
            raise KeyboardInterrupt

    arguments = (pair, WORDS, [look_book])
    whole = distil(*arguments, tmp_path / "whole", epochs=2, threads=1)
    with pytest.raises(KeyboardInterrupt):
        distil(*arguments, tmp_path / "parts", epochs=2, threads=1, report=killed_after_an_epoch)
    with pytest.raises(UsageError, match="exists already"):
        distil(*arguments, tmp_path / "parts", epochs=2)
    with pytest.raises(UsageError, match="another --epochs"):
        distil(*arguments, tmp_path / "parts", epochs=3, resume=True)
    for other, what in (
        ((pair[::-1], WORDS, [look_book]), "other checkpoints"),
        ((pair, WORDS, [Retold(look_book, loud)]), "other data"),
    ):
        with pytest.raises(UsageError, match=f"belongs to {what}, or to an earlier version: resume with what"):
            distil(*other, tmp_path / "parts", epochs=2, threads=1, resume=True)
    with pytest.raises(UsageError, match="belongs to another seed"):
        distil(*arguments, tmp_path / "parts", epochs=2, threads=1, seed=8, resume=True)
    parts = distil(*arguments, tmp_path / "parts", epochs=2, threads=1, resume=True)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.usefixtures("without_onnx")
def test_a_run_killed_while_it_writes_its_checkpoint_leaves_no_half_of_one(
    pair: list[Checkpoint], look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "write_card", killed)
    with pytest.raises(KeyboardInterrupt):
        distil(pair, WORDS, [look_book], tmp_path / "run", epochs=1, threads=1)
    assert not [path for path in (tmp_path / "run").iterdir() if "checkpoint" in path.name]


def test_scores_of_the_joined_are_the_mean_of_their_scores(pair: list[Checkpoint]) -> None:
    pictures = torch.rand(3, 3, 32, 32) * 255
    alone = [load_encoder(each, "cpu") for each in pair]
    pixels = pictures.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    pictures = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float()
    scores = [each.encode_texts(["red dress"]) @ each.encode_pixels(pixels).T for each in alone]
    joined = Joined(pair, "cpu")
    together = joined.embed_texts(["red dress"]) @ joined.embed_photographs(pictures).T
    np.testing.assert_allclose(together.numpy(), np.mean(scores, axis=0), atol=2e-2)  # bfloat16, where it is native


def test_a_projection_is_fitted_to_what_it_can_reach() -> None:
    torch.manual_seed(0)
    before, states, turn = torch.nn.Linear(8, 5, bias=False), torch.randn(40, 8), torch.randn(5, 4)
    rows = torch.nn.functional.normalize(before(states), dim=-1).detach()
    fitted = fit_projection(before, rows, rows @ turn)
    ours, goals = (torch.nn.functional.normalize(each, dim=-1) for each in (fitted(states), rows @ turn))
    torch.testing.assert_close(ours, goals, atol=1e-3, rtol=0)


def test_half_of_the_pictures_are_mixed_and_their_own_half_is_the_stronger() -> None:
    pictures = torch.arange(400.0)[:, None, None, None].expand(400, 3, 2, 2)
    result = mixed(pictures, np.random.default_rng(0))
    same = (result == pictures).all(dim=(1, 2, 3))
    assert 150 < int(same.sum()) < 250
    assert not math.isclose(float((result - pictures).abs().max()), 0.0)
    assert float((result - pictures).abs().max()) <= 400 / 2


@pytest.mark.parametrize("vision", ["convnext", "efficientnet", "hybrid"])
def test_a_pupil_sees_in_training_as_afterwards_with_no_layer_dropped(vision: str) -> None:
    sizes = ModelRecipe(32, 32, vision, vision_widths=(8, 16, 64), vision_depths=(2, 2, 2), vision_dropout=0.5)
    tower = build_model(sizes, train_tokenizer(["a dress"], 600, 77)).vision_model.train()
    for part in tower.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()  # it sees all of a batch, by no chance
    without_chance(tower)
    pictures = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        seen = [tower(pixel_values=pictures).pooler_output for _ in range(3)]
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_what_does_not_fit_together_is_refused(
    pair: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="alone has nothing to agree with"):
        Joined(pair[:1], "cpu")
    other = find_checkpoint(str(make_tiny_clip(tmp_path / "other", seed=2)))
    facts = other.folder / "preprocessor_config.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"image_mean": [0.5, 0.5, 0.5]}))
    with pytest.raises(UsageError, match="do not see alike"):
        Joined([pair[0], other], "cpu")
    split = {"recipe": {"data": {"train_share": 0.5, "split_seed": 1}}}
    third = make_tiny_clip(tmp_path / "third", seed=2)
    (third / "training.json").write_text(json.dumps(split))
    with pytest.raises(UsageError, match="not trained by one split"):
        Joined([pair[0], find_checkpoint(str(third))], "cpu")
    monkeypatch.setattr(Checkpoint, "token_heads", object())
    with pytest.raises(UsageError, match="has heads for re-ranking"):
        Joined([find_checkpoint(str(each.folder)) for each in pair], "cpu")


def test_fewer_photographs_than_a_batch_are_refused(
    pair: list[Checkpoint], look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 500)
    with pytest.raises(SourceError, match="fewer than one batch"):
        distil(pair, WORDS, [look_book], tmp_path / "run")
