"""A CLIP of somebody else becomes fast without a GPU, and goes on saying what it said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_clip import make_tiny_clip
from transformers import SiglipConfig
from workshop import killed

from engine.checkpoint import DEFAULT_MODEL, Checkpoint, find_checkpoint
from engine.encoder import OnnxEncoder, TorchEncoder, load_encoder
from engine.errors import SourceError, UsageError
from engine.records import Item
from eval.split import split, split_of
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train import fast_copy as module
from train.fast_copy import Copied, fast_copy
from train.pairs import Pairs, build_pairs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A CLIP as it comes from the hub, wide enough for integers to pay, with a card; not to be changed."""
    folder = make_tiny_clip(tmp_path_factory.mktemp("checkpoints") / "clip", width=128)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Somebody's CLIP\n", encoding="utf-8")
    return find_checkpoint(str(folder))


@pytest.fixture(scope="module")
def copied(base: Checkpoint, look_book: Source, tmp_path_factory: pytest.TempPathFactory) -> Copied:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.quantize.MAX_LOSS", 1.0)  # what a tiny CLIP of random numbers finds is chance
        patch.setattr(module, "FEW", 10)
        return fast_copy(base, [look_book], tmp_path_factory.mktemp("run") / "run")


def test_a_copy_embeds_without_torch_what_its_original_embeds(base: Checkpoint, copied: Copied) -> None:
    copy = find_checkpoint(str(copied.folder))
    encoder, original = load_encoder(copy), TorchEncoder(base, "cpu")
    assert isinstance(encoder, OnnxEncoder)
    height, width = base.preprocessing.height, base.preprocessing.width
    pixels = np.random.default_rng(0).integers(0, 255, (5, height, width, 3), dtype=np.uint8)
    agreement = (encoder.encode_pixels(pixels) * original.encode_pixels(pixels)).sum(axis=1)
    assert agreement.min() > 0.9
    texts = ["long sleeve denim", "a red dress"]
    np.testing.assert_allclose(encoder.encode_texts(texts), original.encode_texts(texts), atol=5e-3)
    assert copy.preprocessing == base.preprocessing
    assert copy.fingerprint != base.fingerprint


def test_a_copy_says_what_it_is_of_and_what_integers_find(base: Checkpoint, copied: Copied) -> None:
    assert (copied.hit_at_10.keys(), copied.arithmetic) == ({"float32", "int8"}, "int8")
    assert 0.9 < copied.cosine <= 1.0001
    assert min(copied.before, copied.after) > 0
    notes = Checkpoint(copied.folder).notes["copied"]
    assert notes == {"from": base.fingerprint, "cosine": copied.cosine, "hit@10": copied.hit_at_10}
    assert copied.marks == f"{copied.hit_at_10['float32']:.4f} in float32, {copied.hit_at_10['int8']:.4f} in int8"
    card = (copied.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n---\n\n# Somebody's CLIP\n\n## This copy\n")
    assert base.fingerprint[:12] in card
    assert "the image tower computes in int8" in card


@pytest.mark.usefixtures("without_onnx")
def test_a_copy_of_weights_that_are_halves_already_has_a_fingerprint_of_its_own(
    base: Checkpoint, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 10)
    folder = fast_copy(base, [look_book], tmp_path / "one").folder  # no ONNX: as if it came from the hub
    again = Checkpoint(fast_copy(Checkpoint(folder), [look_book], tmp_path / "two").folder)
    weights = [(one / "model.safetensors").read_bytes() for one in (folder, again.folder)]
    assert weights[0] == weights[1]
    assert len({base.fingerprint, Checkpoint(folder).fingerprint, again.fingerprint}) == 3
    assert load_encoder(again, "cpu").encode_texts(["red hat"]).shape == (1, base.dimension)


@pytest.mark.usefixtures("without_onnx")
def test_nothing_held_out_is_looked_at_and_of_many_photographs_some(
    base: Checkpoint, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[list[str]] = []

    def noted(items: list[Item], *rest: Any) -> Pairs:
        looked.append([item.id for item in items])
        return build_pairs(items, *rest)

    monkeypatch.setattr(module, "build_pairs", noted)
    monkeypatch.setattr(module, "CALIBRATION", 5)
    monkeypatch.setattr(module, "EXAMINED", 20)
    monkeypatch.setattr(module, "FEW", 10)
    fast_copy(base, [look_book], tmp_path / "run")
    items = [item for item in look_book.items() if isinstance(item, Item)]
    share, seed = split_of(base)
    held_out = {item.id for item in split(items, "test", seed, share)}
    calibrating, examined = map(set, looked)
    assert 0 < len(calibrating) <= 5
    assert 10 <= len(examined) <= 20 < len(items) - len(held_out)
    assert not calibrating & examined
    assert not (calibrating | examined) & held_out


@pytest.mark.usefixtures("without_onnx")
def test_what_cannot_be_copied_and_a_folder_in_use_are_refused(
    base: Checkpoint, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(80):  # which nobody described
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    with pytest.raises(SourceError, match=r"only 1 photographs .* described differently, and 50 are needed"):
        fast_copy(base, [open_source(tmp_path / "photos")], tmp_path / "run")
    with pytest.raises(UsageError, match="has ONNX towers already: no copy of it would be faster"):
        fast_copy(find_checkpoint(DEFAULT_MODEL), [look_book], tmp_path / "run")
    siglip = make_tiny_clip(tmp_path / "siglip")
    (siglip / "config.json").write_text(json.dumps(SiglipConfig().to_dict()), encoding="utf-8")
    with pytest.raises(UsageError, match="is a SigLIP"):
        fast_copy(Checkpoint(siglip), [look_book], tmp_path / "run")
    monkeypatch.setattr(module, "FEW", 10)
    monkeypatch.setattr(module, "_write_card", killed)
    with pytest.raises(KeyboardInterrupt):
        fast_copy(base, [look_book], tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
    (tmp_path / "run" / "checkpoint").mkdir()
    with pytest.raises(UsageError, match="exists already: give another --out"):
        fast_copy(base, [look_book], tmp_path / "run")
    monkeypatch.setattr(Checkpoint, "token_heads", object())
    with pytest.raises(UsageError, match="has heads for re-ranking"):
        fast_copy(Checkpoint(base.folder), [look_book], tmp_path / "other")
