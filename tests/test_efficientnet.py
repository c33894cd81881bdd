"""EfficientNet-Lite as the image tower: its gradients, its pretrained weights, and what other loaders make of it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import leave_out_onnx
from transformers import AutoModel, EfficientNetModel
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetSqueezeExciteLayer

from engine.checkpoint import find_checkpoint
from engine.encoder import OnnxEncoder, TorchEncoder
from engine.errors import CheckpointError
from ingest.sources.source import Source
from train.depthwise import Depthwise, learn_fast
from train.efficientnet import MOMENTUM, hasten, lite_config, load_lite, start_lite
from train.recipe import ModelRecipe, OptimizerRecipe, Recipe
from train.schedule import parameter_groups, size_at
from train.trainer import train

RECIPE = Recipe(
    "tiny",
    ModelRecipe(
        image_height=64,
        image_width=48,
        vision="efficientnet",
        text_width=16,
        text_layers=1,
        text_heads=2,
        vocabulary=700,
        dimension=12,
    ),
    optimizer=OptimizerRecipe(batch_size=12, epochs=2, learning_rate=1e-3, coarse_share=0.5),
)


@pytest.fixture(scope="module")
def tower() -> EfficientNetModel:
    torch.manual_seed(3)
    made = EfficientNetModel(lite_config(64, 0.0))
    start_lite(made)
    return made


def elsewhere(tower: EfficientNetModel) -> dict[str, Tensor]:
    """Return the weights of a tower under the names of EfficientNet-PyTorch."""

    def names() -> Iterator[tuple[str, str]]:
        yield from (("embeddings.convolution", "_conv_stem"), ("embeddings.batchnorm", "_bn0"))
        yield from (("encoder.top_conv", "_conv_head"), ("encoder.top_bn", "_bn1"))
        for block in range(16):
            ours, theirs = f"encoder.blocks.{block}", f"_blocks.{block}"
            yield f"{ours}.expansion.expand_conv", f"{theirs}._expand_conv"
            yield f"{ours}.expansion.expand_bn", f"{theirs}._bn0"
            yield f"{ours}.depthwise_conv.depthwise_conv", f"{theirs}._depthwise_conv"
            yield f"{ours}.depthwise_conv.depthwise_norm", f"{theirs}._bn1"
            yield f"{ours}.projection.project_conv", f"{theirs}._project_conv"
            yield f"{ours}.projection.project_bn", f"{theirs}._bn2"

    state = tower.state_dict()
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{theirs}.{part}": state[f"{ours}.{part}"]
        for ours, theirs in names()
        for part in parts
        if f"{ours}.{part}" in state
    }


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (3, 2, 1), (5, 1, 2), (5, 2, 0)])
@pytest.mark.parametrize("sides", [(13, 10), (12, 11)])
def test_gradients_of_depthwise_convolutions_are_those_of_torch(
    size: int, stride: int, padding: int, sides: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    values = torch.randn(3, 4, *sides, requires_grad=True)
    kernels = torch.randn(4, 1, size, size, requires_grad=True)
    usual = F.conv2d(values, kernels, stride=stride, padding=padding, groups=4)
    fast = Depthwise.apply(values, kernels, stride, padding)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(fast, usual)
    towards = torch.randn_like(usual)
    for one, two in zip(
        torch.autograd.grad(fast, (values, kernels), towards),
        torch.autograd.grad(usual, (values, kernels), towards),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_only_depthwise_convolutions_without_a_bias_are_changed() -> None:
    plain = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 8, 3, groups=2, bias=False),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
    )
    changed = copy.deepcopy(plain).train()
    learn_fast(changed)
    assert ["forward" in vars(part) for part in changed] == [False, False, True]
    values = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(changed(values), plain(values))
    torch.testing.assert_close(changed.eval()(values), plain(values))


def test_leaving_out_the_layers_that_multiply_by_one_changes_nothing(tower: EfficientNetModel) -> None:
    whole, short = copy.deepcopy(tower).eval(), copy.deepcopy(tower).eval()
    hasten(short)
    values = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        torch.testing.assert_close(short(values).pooler_output, whole(values).pooler_output)
    assert not any(
        weight.requires_grad
        for part in short.modules()
        if isinstance(part, EfficientNetSqueezeExciteLayer)
        for weight in part.parameters()
    )


def test_layers_that_do_more_than_multiply_by_one_are_kept() -> None:
    torch.manual_seed(4)
    real = EfficientNetModel(lite_config(64, 0.0)).eval()  # as transformers makes it: they learn
    values = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        before = real(values).pooler_output
        hasten(real)
        torch.testing.assert_close(real(values).pooler_output, before)
    assert all(weight.requires_grad for weight in real.parameters())


def test_pretrained_weights_in_other_names_give_the_same_tower(tower: EfficientNetModel, tmp_path: Path) -> None:
    torch.save(elsewhere(tower), tmp_path / "lite0.pth")
    torch.manual_seed(9)
    other = EfficientNetModel(lite_config(64, 0.0))
    start_lite(other)
    load_lite(other, tmp_path / "lite0.pth")
    values = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(values).pooler_output, tower.eval()(values).pooler_output)


def test_a_file_that_is_no_efficientnet_lite0_is_refused_by_name(tower: EfficientNetModel, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    weights = elsewhere(tower)
    del weights["_blocks.7._depthwise_conv.weight"]
    torch.save(weights, tmp_path / "gap.pth")
    weights["_blocks.7._depthwise_conv.weight"] = torch.zeros(3)
    torch.save(weights, tmp_path / "shape.pth")
    for name in ("absent.pth", "text.pth", "shape.pth"):
        with pytest.raises(CheckpointError, match=f"{name} is no EfficientNet-Lite0"):
            load_lite(copy.deepcopy(tower), tmp_path / name)
    with pytest.raises(CheckpointError, match="depthwise_conv"):
        load_lite(copy.deepcopy(tower), tmp_path / "gap.pth")


def test_deeper_layers_of_it_learn_more_slowly_if_the_recipe_says_so(tower: EfficientNetModel) -> None:
    groups = parameter_groups(nn.ModuleDict({"vision_model": tower}), 0.1, 0.5)
    scales = {id(weight): group["scale"] for group in groups for weight in group["params"]}
    first, last = (tower.encoder.blocks[number].projection.project_conv.weight for number in (0, 15))
    assert scales[id(first)] < scales[id(last)] < 1


def test_photographs_are_smaller_for_the_share_of_steps_that_the_recipe_says() -> None:
    sizes = [size_at(step, 10, 0.3, (128, 96)) for step in range(10)]
    assert sizes == [(80, 64)] * 3 + [(128, 96)] * 7
    assert size_at(0, 10, 1.0, (16, 16)) == (16, 16)


def test_a_trained_checkpoint_gives_the_same_embeddings_by_every_way(
    tower: EfficientNetModel, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(elsewhere(tower), tmp_path / "lite0.pth")
    model = dataclasses.replace(RECIPE.model, vision_base=str(tmp_path / "lite0.pth"))
    recipe = dataclasses.replace(RECIPE, model=model)
    folder = train(recipe, [look_book], tmp_path / "run", threads=1)
    checkpoint = find_checkpoint(str(folder))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 48, 3)).astype(np.uint8)
    ours = TorchEncoder(checkpoint, "cpu", precise=True).encode_pixels(pixels)
    np.testing.assert_allclose(OnnxEncoder(checkpoint).encode_pixels(pixels), ours, atol=1e-4)
    spec = checkpoint.preprocessing
    mean, std = (torch.tensor(part).reshape(3, 1, 1) * 255 for part in (spec.mean, spec.std))
    values = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std
    loaded = AutoModel.from_pretrained(folder).eval()
    assert loaded.vision_model.embeddings.batchnorm.momentum == MOMENTUM, "whoever goes on from it learns as it did"
    with torch.inference_mode():
        plain = loaded.get_image_features(pixel_values=values).pooler_output
    np.testing.assert_allclose(F.normalize(plain, dim=-1).numpy(), ours, atol=1e-4)
    again = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, epochs=1, learning_rate=1e-9))
    leave_out_onnx(monkeypatch)
    second = train(again, [look_book], tmp_path / "second", base=checkpoint, threads=1)
    gentle = TorchEncoder(find_checkpoint(str(second)), "cpu", precise=True).encode_pixels(pixels)
    assert float((gentle * ours).sum(axis=1).min()) > 0.9, "only the statistics of batch normalisation have moved"
