"""What training writes: weights that load everywhere, ONNX towers that say the same, a card."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import make_tiny_clip
from training import TINY, leave_out_onnx, shop_of, tiny
from workshop import killed

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.encoder import OnnxEncoder, TorchEncoder, load_encoder
from engine.errors import CheckpointError, UsageError
from ingest.sources.source import Source
from train.card import write_card
from train.export import export_checkpoint
from train.frozen import extend, pooled
from train.origins import Origins
from train.pairs import build_pairs
from train.quantize import quantize_image_tower
from train.run import Progress
from train.token_states import TokenStates
from train.towers import towers_of
from train.trainer import train
from train.validation import marks_of


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    """What the run behind `made` reports."""
    return []


@pytest.fixture(scope="module")
def made(look_book: Source, told: list[Progress], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of two epochs, in the run's folder; not to be changed."""
    wide = dataclasses.replace(
        TINY.model, text_width=64, vision_widths=(16, 32, 64)
    )  # so that weights outweigh graphs
    out = tmp_path_factory.mktemp("made") / "run"
    return train(dataclasses.replace(TINY, model=wide), [look_book], out, threads=1, report=told.append)


def test_a_run_makes_a_checkpoint_that_answers_without_torch(made: Path, told: list[Progress]) -> None:
    encoder = load_encoder(find_checkpoint(str(made)))
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.encode_texts(["a red dress", "jeans"]).shape == (2, 12)
    assert encoder.encode_pixels(np.zeros((3, 32, 32, 3), dtype=np.uint8)).shape == (3, 12)
    losses = [progress.loss for progress in told if progress.validation is None]
    assert losses[-1] < losses[0]
    assert told[-1].validation
    assert 0 <= told[-1].validation["hit@10"] <= 1
    log = [json.loads(line) for line in (made.parent / "log.jsonl").read_text().splitlines()]
    assert len(log) == len(told)


def test_a_tower_that_integers_would_not_make_smaller_keeps_its_numbers(made: Path) -> None:
    assert Checkpoint(made).notes["hit@10 by arithmetic of the image tower"].keys() == {"float32"}


def test_onnx_towers_have_no_weights_of_their_own_and_move_with_their_folder(made: Path, tmp_path: Path) -> None:
    assert (made / "text.onnx").stat().st_size < (made / "model.safetensors").stat().st_size / 2
    texts = ["a red dress"]
    elsewhere = shutil.copytree(made, tmp_path / "deep" / "elsewhere")
    before, after = (load_encoder(find_checkpoint(str(each))).encode_texts(texts) for each in (made, elsewhere))
    assert (before == after).all()
    (elsewhere / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        load_encoder(find_checkpoint(str(elsewhere))).encode_texts(texts)


@pytest.mark.usefixtures("without_onnx")
def test_a_run_of_no_epochs_writes_its_towers_untrained(look_book: Source, tmp_path: Path) -> None:
    folder = train(tiny(epochs=0), [look_book], tmp_path / "run", threads=1)
    assert load_encoder(find_checkpoint(str(folder))).encode_texts(["a red dress"]).shape == (1, 12)


def _vectors(folder: Path, texts: list[str], pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    encoder = TorchEncoder(find_checkpoint(str(folder)), "cpu", precise=True)
    return encoder.encode_texts(texts), encoder.encode_pixels(pixels)


def test_a_fine_tuned_clip_keeps_its_activation_and_loads_everywhere(look_book: Source, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    base = find_checkpoint(str(make_tiny_clip(tmp_path / "clip")))
    gentle = dataclasses.replace(TINY.optimizer, epochs=1, wise_ft=True, layer_decay=0.8, micro_batch=5)
    folder = train(dataclasses.replace(TINY, optimizer=gentle), [look_book], tmp_path / "run", base=base, threads=1)
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


def test_a_frozen_sentence_encoder_learns_only_in_its_new_layers(
    look_book: Source, sentence_encoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel

    sizes = dataclasses.replace(TINY.model, text_base=str(sentence_encoder), text_layers=1, vocabulary=13)
    folder = train(dataclasses.replace(TINY, model=sizes), [look_book], tmp_path / "run", threads=1)
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


@pytest.mark.usefixtures("without_onnx")
def test_a_shared_space_is_cut_to_its_largest_directions_and_then_ranks_as_before(
    look_book: Source, tmp_path: Path
) -> None:
    wide = 200  # the towers have 64 and 16 numbers, so that embeddings lie in 80 directions at most
    recipe = dataclasses.replace(tiny(epochs=1), model=dataclasses.replace(TINY.model, dimension=wide))
    cut = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, reduced_dimension=80))
    folders = [train(one, [look_book], tmp_path / f"{number}", threads=1) for number, one in enumerate((recipe, cut))]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    texts = ["red dress", "blue denim"]
    scores = []
    for folder in folders:
        encoder = TorchEncoder(Checkpoint(folder), "cpu", precise=True)
        scores.append(encoder.encode_texts(texts) @ encoder.encode_pixels(pixels).T)
    assert [Checkpoint(folder).dimension for folder in folders] == [wide, 80]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)  # weights are kept as float16


@pytest.mark.usefixtures("without_onnx")
def test_a_checkpoint_says_what_it_is_what_it_learnt_from_and_what_was_measured(
    look_book: Source, tmp_path: Path
) -> None:
    folder = train(tiny(epochs=1), [look_book], tmp_path / "run")
    card = (folder / "README.md").read_text(encoding="utf-8")
    checkpoint = Checkpoint(folder)
    assert checkpoint.notes["data"] == [look_book.description]
    marks = checkpoint.notes["validation"]
    for words in (
        look_book.description,
        checkpoint.fingerprint[:12],
        f"| mrr | {marks['mrr']:.4g} |",
        "epochs 1, batch size",
    ):
        assert words in card
    assert f"embeddings of {checkpoint.dimension} numbers" in card
    assert f"{checkpoint.preprocessing.width} x {checkpoint.preprocessing.height} pixels" in card
    assert str(tmp_path) not in card, "where somebody keeps photographs is nobody's business"


def test_the_card_of_a_checkpoint_names_a_source_whose_name_is_no_unicode(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_book, "description", "photographs of caf\udce9")
    folder = make_tiny_clip(tmp_path / "clip")
    write_card(folder, [look_book])
    assert "- photographs of caf\\udce9\n" in (folder / "README.md").read_text(encoding="utf-8")
    assert Checkpoint(folder).notes["data"] == ["photographs of caf\udce9"]


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("without_onnx")
def test_a_run_killed_while_it_writes_its_checkpoint_leaves_the_one_before_whole(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(folder: Path) -> bool:
        return any("checkpoint" in path.name for path in folder.iterdir())

    run, one = tmp_path / "run", tiny(epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr("train.trainer.write_card", killed)
        with pytest.raises(KeyboardInterrupt):
            train(one, [look_book], run, threads=1)
    assert not seen(run)
    folder = train(one, [look_book], run, threads=1, resume=True)
    (folder / "heads.of.an.earlier.run").touch()
    before = content(folder)
    monkeypatch.setattr("train.trainer.quantize_image_tower", killed)
    with pytest.raises(KeyboardInterrupt):
        train(one, [look_book], run, threads=1, resume=True)
    assert content(folder) == before
    monkeypatch.setattr("train.trainer.quantize_image_tower", lambda *_: {})
    train(one, [look_book], run, threads=1, resume=True)
    assert content(folder).keys() == before.keys() - {"heads.of.an.earlier.run"}


def test_after_too_many_steps_without_a_number_the_last_good_epoch_is_a_checkpoint(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        leave_out_onnx(patch)
        good = train(tiny(epochs=1), [look_book], tmp_path / "good", threads=1)
    text_base = find_checkpoint(str(good))
    recipe = dataclasses.replace(tiny(epochs=5), model=dataclasses.replace(TINY.model, text_base=str(good)))
    told: list[Progress] = []
    monkeypatch.setattr("train.run.MAX_BAD_STEPS", 1)

    def spoil(progress: Progress) -> None:
        told.append(progress)
        if progress.validation:
            monkeypatch.setattr("train.run.contrastive_loss", lambda images, *_: images.sum() * math.nan)

    with pytest.raises(UsageError, match=r"2 steps gave no number: .*checkpoint is that of the last good epoch"):
        train(recipe, [look_book], tmp_path / "run", threads=1, report=spoil)
    assert told[-1].skipped == 1
    saved = find_checkpoint(str(tmp_path / "run" / "checkpoint"))
    assert saved.notes["epochs"] == 1
    assert load_encoder(saved, "cpu").encode_texts(["dress"]).shape == (1, 12)
    assert {path.name for path in saved.folder.iterdir()} >= {"model.safetensors", "text.onnx", "image.onnx"}
    assert good != saved.folder
    card = (saved.folder / "README.md").read_text(encoding="utf-8")
    assert look_book.description in card and saved.fingerprint[:12] in card
    assert saved.notes["text_base"] == {"fingerprint": text_base.fingerprint, "recipe": text_base.recipe}
    for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.fixture(scope="module")
def wide_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose image tower is large enough for integers to pay; not to be changed."""
    folder = tmp_path_factory.mktemp("wide")
    base = find_checkpoint(str(make_tiny_clip(folder / "clip", width=128)))
    towers = towers_of(base, "cpu")
    return export_checkpoint(towers.model, towers.tokenizer, base.preprocessing, {}, folder / "checkpoint", base)


def test_a_tower_too_large_for_one_file_keeps_its_numbers(
    wide_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(shutil.copytree(wide_clip, tmp_path / "checkpoint"))
    origins = Origins([shop_of(tmp_path / "shop", "1", "2", "3")])
    pairs = build_pairs(origins.items, origins, checkpoint.preprocessing, tmp_path / "pixels")
    texts = load_encoder(checkpoint, "cpu").encode_texts(pairs.first_captions())
    parameters = towers_of(checkpoint, "cpu").model.vision_model.parameters()
    size = 4 * sum(parameter.numel() for parameter in parameters)
    before = content(checkpoint.folder)
    monkeypatch.setattr("train.quantize.LARGEST", size // 2)
    assert quantize_image_tower(checkpoint, pairs, pairs, texts).keys() == {"float32"}
    assert content(checkpoint.folder) == before
    monkeypatch.setattr("train.quantize.LARGEST", 2 * size)
    assert quantize_image_tower(checkpoint, pairs, pairs, texts).keys() == {"float32", "int8"}


@pytest.mark.parametrize(("may_cost", "approved"), [(1.0, True), (-1.0, False)])
def test_integers_take_the_place_of_the_image_tower_when_they_are_approved_and_not_before(
    wide_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_cost: float, approved: bool
) -> None:
    checkpoint = Checkpoint(shutil.copytree(wide_clip, tmp_path / "checkpoint"))
    spec = checkpoint.preprocessing
    origins = Origins([shop_of(tmp_path / "shop", "1", "2", "3")])
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
