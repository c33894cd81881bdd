"""Recipes, and the models that they describe: what is refused, and that it is before a photograph is opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from training import TINY, tiny

from engine.errors import SourceError, UsageError
from ingest.sources.source import Source
from train.model import build_model
from train.recipe import LEAST_VOCABULARY, RECIPES, Recipe, load_recipe
from train.tokenizer import train_tokenizer
from train.trainer import train


def test_a_run_folder_in_use_too_few_photographs_and_unknown_recipes_are_refused(
    look_book: Source, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="fewer than one batch"):
        train(Recipe("large"), [look_book], tmp_path / "few", threads=1)
    with pytest.raises(UsageError, match="leave out --resume"):
        train(TINY, [look_book], tmp_path / "none", resume=True)
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
    sizes: dict[str, Any], choices: dict[str, Any], message: str, look_book: Source, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(tiny(**choices), model=dataclasses.replace(TINY.model, **sizes))
    with pytest.raises(UsageError, match=message):
        train(recipe, [look_book], tmp_path / "run", threads=1)
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


def test_smaller_photographs_for_a_tower_that_sees_one_size_only_are_refused(
    look_book: Source, tmp_path: Path
) -> None:
    sizes = {"vision": "hybrid", "image_height": 32, "image_width": 32}
    hybrid = dataclasses.replace(
        tiny(coarse_share=0.5),
        model=dataclasses.replace(TINY.model, vision_widths=(8, 16, 64), vision_depths=(1, 1, 1), **sizes),  # type: ignore[arg-type]
    )
    with pytest.raises(UsageError, match="coarse_share needs a convolutional tower"):
        train(hybrid, [look_book], tmp_path / "run", threads=1)


def test_a_shared_space_cannot_be_cut_to_more_than_it_has(look_book: Source, tmp_path: Path) -> None:
    more = dataclasses.replace(TINY.model, reduced_dimension=TINY.model.dimension)
    with pytest.raises(UsageError, match="reduced_dimension"):
        train(dataclasses.replace(TINY, model=more), [look_book], tmp_path / "run", threads=1)
    assert not (tmp_path / "run" / "pixels").exists()


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


def test_every_byte_is_a_token_and_every_text_ends_once() -> None:
    tokenizer = train_tokenizer(["red dress", "blue dress"], vocabulary=600, context=77)
    for text in ("50% off", "été 北京 🧥", "", "\x00\x7f", "a" * 40):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(tokenizer.eos_token_id) == 1
        assert ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    assert len(tokenizer("dress")["input_ids"]) == 3


def test_the_smallest_vocabulary_is_that_of_the_bytes_and_knows_no_word() -> None:
    assert len(train_tokenizer(["red dress"], LEAST_VOCABULARY, 77)) == LEAST_VOCABULARY
    assert len(train_tokenizer(["red dress"], LEAST_VOCABULARY - 4, 77)) == LEAST_VOCABULARY
    assert len(train_tokenizer(["red dress"], LEAST_VOCABULARY, 77)("red")["input_ids"]) == 2 + len("red")


def test_an_untrained_hybrid_tower_sees_all_cells_alike() -> None:
    tower = build_model(TINY.model, train_tokenizer(["a dress"], 600, 77)).vision_model.eval()
    attention = tower.encoder.layer[0].attention
    states = torch.randn(2, 5, 64)
    with torch.inference_mode():
        torch.testing.assert_close(attention(states), states.mean(1, keepdim=True).expand(2, 5, 64))
