"""The index passport refuses the wrong model, and names the cause."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tiny_clip import make_tiny_clip

from engine.checkpoint import find_checkpoint
from engine.encoder import Encoder, TorchEncoder, load_encoder
from engine.errors import PassportError
from engine.passport import (
    check_fingerprint,
    check_golden_images,
    check_golden_texts,
    golden_images,
    make_passport,
)
from engine.records import Vector


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(find_checkpoint("fashion-small"))


def test_the_checkpoint_that_made_an_index_is_let_in(encoder: Encoder) -> None:
    passport = json.loads(json.dumps(make_passport(encoder)))
    check_fingerprint(passport, encoder.checkpoint)
    check_golden_texts(passport, encoder)
    check_golden_images(passport, encoder)


def test_torch_and_onnx_pass_each_others_control(encoder: Encoder) -> None:
    other = TorchEncoder(encoder.checkpoint, "cpu")
    check_golden_texts(make_passport(encoder), other)
    check_golden_images(make_passport(encoder), other)


def test_another_checkpoint_is_refused_by_name(encoder: Encoder, tmp_path: Path) -> None:
    other = find_checkpoint(str(make_tiny_clip(tmp_path / "tiny-clip")))
    with pytest.raises(PassportError, match=r"made by checkpoint 'fashion-small' .* not by 'tiny-clip'.*--model"):
        check_fingerprint(make_passport(encoder), other)


def test_another_checkpoint_of_the_same_name_and_dimension_is_refused(encoder: Encoder) -> None:
    with pytest.raises(PassportError, match=r"'fashion-small' \(000000000000\), not by 'fashion-small'"):
        check_fingerprint({**make_passport(encoder), "fingerprint": 64 * "0"}, encoder.checkpoint)


def test_a_tower_that_computes_something_else_is_refused(encoder: Encoder) -> None:
    class Damaged:
        checkpoint, parallel = encoder.checkpoint, True

        def encode_texts(self, texts: list[str]) -> Vector:
            return encoder.encode_texts([text[::-1] for text in texts])

        def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
            return np.full((len(pixels), encoder.checkpoint.dimension), np.nan, dtype=np.float32)

        def count_tokens(self, text: str) -> int:
            return 0

    passport = make_passport(encoder)
    with pytest.raises(PassportError, match="text tower gives other embeddings"):
        check_golden_texts(passport, Damaged())
    with pytest.raises(PassportError, match="image tower gives other embeddings"):
        check_golden_images(passport, Damaged())


def test_every_collection_gets_an_id_of_its_own(encoder: Encoder) -> None:
    assert make_passport(encoder)["collection_id"] != make_passport(encoder)["collection_id"]


def test_the_golden_drawings_never_change() -> None:
    assert [int(np.asarray(image, dtype=np.int64).sum()) for image in golden_images()] == [2633785, 3404160]
