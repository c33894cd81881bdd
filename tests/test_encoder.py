"""Checkpoints and encoders: any CLIP in Hugging Face form, and the fast path that needs no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import make_tiny_clip

from engine.checkpoint import find_checkpoint
from engine.encoder import OnnxEncoder, TorchEncoder, encode_image, load_encoder, native_bfloat16
from engine.errors import CheckpointError, UsageError

TEXTS = ["red dress", "Long-sleeve DENIM jacket, 50% off! é", "", "x " * 200]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(0, 256, (90, 61, 3), dtype=np.uint8))


def test_any_clip_folder_gives_unit_float32_rows(tiny: Path, photograph: Image.Image) -> None:
    encoder = load_encoder(find_checkpoint(str(tiny)), "cpu")
    rows = np.vstack([encoder.encode_texts(TEXTS), encode_image(encoder, photograph)[None]])
    assert rows.dtype == np.float32
    assert rows.shape == (5, 24)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_the_embedding_is_that_of_transformers_own_processor(tiny: Path, photograph: Image.Image) -> None:
    from transformers import AutoModel, CLIPImageProcessorPil

    encoder = TorchEncoder(find_checkpoint(str(tiny)), "cpu", precise=True)
    values = CLIPImageProcessorPil.from_pretrained(tiny)(photograph, return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModel.from_pretrained(tiny).get_image_features(**values).pooler_output
    theirs = torch.nn.functional.normalize(theirs, dim=-1).numpy()[0]
    np.testing.assert_allclose(encode_image(encoder, photograph), theirs, atol=1e-4)


def test_a_photograph_resized_to_a_given_height_and_width_is_cropped_as_transformers_does(
    tmp_path: Path, tiny: Path, photograph: Image.Image
) -> None:
    from transformers import CLIPImageProcessorPil

    folder = shutil.copytree(tiny, tmp_path / "zoomed")
    entries = json.loads((folder / "preprocessor_config.json").read_text())
    entries |= {"size": {"height": 41, "width": 37}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(entries))
    theirs = CLIPImageProcessorPil.from_pretrained(folder)(photograph, do_normalize=False, do_rescale=False)
    checkpoint = find_checkpoint(str(folder))
    ours = checkpoint.preprocessing.pixels(photograph)
    assert (ours == np.moveaxis(np.asarray(theirs["pixel_values"][0]), 0, -1)).all()
    assert checkpoint.fingerprint != find_checkpoint(str(tiny)).fingerprint


def test_sentence_transformers_gives_the_same_embeddings(tiny: Path, photograph: Image.Image) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their deprecations are not ours
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(tiny), device="cpu")
        texts = model.encode(TEXTS[:2], normalize_embeddings=True)
        images = model.encode([photograph], normalize_embeddings=True)
    encoder = TorchEncoder(find_checkpoint(str(tiny)), "cpu", precise=True)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS[:2]), texts, atol=1e-4)
    np.testing.assert_allclose(encode_image(encoder, photograph), images[0], atol=1e-4)


def test_the_bundled_checkpoint_is_the_same_through_onnx_and_through_torch(photograph: Image.Image) -> None:
    checkpoint = find_checkpoint("fashion-small")
    fast, slow = load_encoder(checkpoint), TorchEncoder(checkpoint, "cpu", precise=True)
    assert isinstance(fast, OnnxEncoder)
    np.testing.assert_allclose(fast.encode_texts(TEXTS), slow.encode_texts(TEXTS), atol=1e-4)
    assert float(encode_image(fast, photograph) @ encode_image(slow, photograph)) > 0.998, "it may be in integers"
    assert [fast.count_tokens(text) for text in TEXTS] == [slow.count_tokens(text) for text in TEXTS]


def test_the_bundled_checkpoint_loads_in_sentence_transformers_as_unit_vectors(photograph: Image.Image) -> None:
    checkpoint = find_checkpoint("fashion-small")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(checkpoint.folder), device="cpu")
        texts, images = model.encode(TEXTS[:2]), model.encode([photograph])
    encoder = TorchEncoder(checkpoint, "cpu", precise=True)
    np.testing.assert_allclose(texts, encoder.encode_texts(TEXTS[:2]), atol=1e-4)
    np.testing.assert_allclose(images[0], encode_image(encoder, photograph), atol=1e-4)


def test_a_batch_gives_what_its_members_give_alone(photograph: Image.Image) -> None:
    encoder = load_encoder(find_checkpoint("fashion-small"))
    pixels = encoder.checkpoint.preprocessing.pixels
    batch = np.stack([pixels(photograph), pixels(photograph.rotate(90)), pixels(photograph)])
    rows = encoder.encode_pixels(batch)
    np.testing.assert_allclose(rows[1], encoder.encode_pixels(batch[1:2])[0], atol=1e-5)
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)
    texts = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(texts[0], encoder.encode_texts(TEXTS[:1])[0], atol=1e-5)


def test_a_query_imports_neither_torch_nor_transformers_nor_the_qdrant_client() -> None:
    code = (
        "import sys; from engine.checkpoint import find_checkpoint; from engine.encoder import load_encoder\n"
        "import engine.search, engine.cli.query, engine.store.edge, engine.filters, engine.passport\n"
        "rows = load_encoder(find_checkpoint('fashion-small')).encode_texts(['red dress'])\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'qdrant_client', 'pydantic', 'pyarrow', 'scipy'}\n"
        "print(rows.shape[0], sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "1 []"


def test_embedding_tells_nobody_about_it(tmp_path: Path) -> None:
    code = (
        "from engine.checkpoint import find_checkpoint; from engine.encoder import load_encoder\n"
        "load_encoder(find_checkpoint('fashion-small')).encode_texts(['red dress'])"
    )
    # ONNX Runtime keeps in the user's cache what it has yet to tell, and a device's id; in a CI it keeps still.
    kept = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith(("ORT_", "XDG_"))}
    subprocess.run([sys.executable, "-c", code], check=True, env={**kept, "HOME": str(tmp_path)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_bfloat16_changes_an_embedding_little(tiny: Path, photograph: Image.Image) -> None:
    checkpoint = find_checkpoint(str(tiny))
    precise, rough = TorchEncoder(checkpoint, "cpu", precise=True), TorchEncoder(checkpoint, "cpu", precise=True)
    rough._bfloat16 = True  # also on processors that only emulate it
    assert float(encode_image(precise, photograph) @ encode_image(rough, photograph)) > 0.999


@pytest.mark.skipif(not native_bfloat16(torch), reason="this processor has no bfloat16")
def test_weights_converted_once_give_what_autocast_gives_each_time(tiny: Path, photograph: Image.Image) -> None:
    converted = TorchEncoder(find_checkpoint(str(tiny)), "cpu")
    cast = TorchEncoder(find_checkpoint(str(tiny)), "cpu", precise=True)
    cast._bfloat16 = True
    assert (encode_image(converted, photograph) == encode_image(cast, photograph)).all()
    assert (converted.encode_texts(TEXTS) == cast.encode_texts(TEXTS)).all()


def test_the_fingerprint_tells_weights_activation_and_preprocessing_apart(tiny: Path, tmp_path: Path) -> None:
    original = find_checkpoint(str(tiny)).fingerprint
    assert original == find_checkpoint(str(shutil.copytree(tiny, tmp_path / "copy"))).fingerprint
    others = {
        make_tiny_clip(tmp_path / "weights", seed=1),
        make_tiny_clip(tmp_path / "activation", hidden_act="gelu"),
        shutil.copytree(tiny, tmp_path / "preprocessing"),
    }
    path = tmp_path / "preprocessing" / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"resample": 3', '"resample": 2'))
    assert len({original, *(find_checkpoint(str(folder)).fingerprint for folder in others)}) == 4


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (200, 33), (1, 1), (500, 400)])
def test_preprocessing_gives_the_towers_shape_for_any_photograph(tiny: Path, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "red")
    assert find_checkpoint(str(tiny)).preprocessing.pixels(image).shape == (32, 32, 3)
    assert find_checkpoint("fashion-small").preprocessing.pixels(image).dtype == np.uint8


def test_a_folder_that_is_no_checkpoint_is_refused_with_the_reason(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        find_checkpoint("./nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    with pytest.raises(CheckpointError, match="holds a bert, not a CLIP"):
        _ = find_checkpoint(str(tmp_path)).dimension
    broken = shutil.copytree(tiny, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_encoder(find_checkpoint(str(broken)), "cpu")


def test_an_incomplete_or_damaged_checkpoint_is_never_filled_up_in_silence(tmp_path: Path, tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    unread = shutil.copytree(tiny, tmp_path / "unread")
    for path in unread.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_encoder(find_checkpoint(str(unread)), "cpu")
    partial = shutil.copytree(tiny, tmp_path / "partial")
    weights = load_file(partial / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights .*text_projection"):
        load_encoder(find_checkpoint(str(partial)), "cpu")
    other = shutil.copytree(tiny, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "projection_dim": 25}))
    with pytest.raises(CheckpointError, match=r"lacks weights .*projection"):
        load_encoder(find_checkpoint(str(other)), "cpu")
    mangled = shutil.copytree(find_checkpoint("fashion-small").folder, tmp_path / "mangled")
    (mangled / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_encoder(find_checkpoint(str(mangled)), "cpu").encode_texts(["red"])


@pytest.mark.parametrize(
    "entries",
    [
        {"size": {"shortest_edge": "x"}},
        {"size": {"height": 32, "width": 32}, "image_mean": [1, 2]},
        {"size": {"height": 32, "width": 32}, "image_std": None},
        {"size": {"shortest_edge": 32}, "crop_size": {}},
    ],
)
def test_preprocessing_that_cannot_be_understood_is_refused(
    tmp_path: Path, tiny: Path, entries: dict[str, object]
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "odd")
    (folder / "preprocessor_config.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match="cannot be understood"):
        _ = find_checkpoint(str(folder)).preprocessing


def test_what_a_configuration_leaves_to_its_kind_is_filled_in(tmp_path: Path) -> None:
    for kind, dimension, context in (("siglip", 768, 64), ("clip", 512, 77)):
        folder = tmp_path / kind
        folder.mkdir()
        towers = {f"{tower}_config": {"model_type": f"{kind}_{tower}_model"} for tower in ("text", "vision")}
        (folder / "config.json").write_text(json.dumps({"model_type": kind, **towers}))
        checkpoint = find_checkpoint(str(folder))
        assert (checkpoint.dimension, checkpoint.context) == (dimension, context)


def test_a_siglip_whose_texts_are_padded_to_the_full_context_answers_through_torch_though_it_was_exported(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.encoder.TorchEncoder", lambda checkpoint, device: "through torch")
    folder = shutil.copytree(tiny, tmp_path / "exported")
    for tower in ("text", "image"):
        (folder / f"{tower}.onnx").touch()
    assert isinstance(load_encoder(find_checkpoint(str(folder)), "cpu"), OnnxEncoder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    assert load_encoder(find_checkpoint(str(folder)), "cpu") == "through torch"


def test_an_unknown_device_is_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        load_encoder(find_checkpoint(str(tiny)), "tpu")
