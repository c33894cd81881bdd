"""A small CLIP, from scratch or from pretrained towers, made only of parts that `transformers` loads by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPTextConfig,
    ConvNextConfig,
    DPTConfig,
    EfficientNetConfig,
    ResNetConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from engine.errors import UsageError
from train.efficientnet import lite_config, load_lite, start_lite
from train.loss import INITIAL_LOGIT_SCALE
from train.recipe import ModelRecipe

STRIDE = 16
"""Pixels to a cell of the last feature map of a ResNet with three stages."""
HEAD_WIDTH = 64


def build_model(recipe: ModelRecipe, tokenizer: Any, text_model: Any = None) -> Any:
    """Return a `VisionTextDualEncoderModel`: a new image tower beside ``text_model`` or one like CLIP's.

    Convolutions learn far more from tens of thousands of photographs than a vision transformer of their size, and with
    batch normalisation twice as much in the first epochs as without.

    Raises:
        UsageError: the sizes in the recipe fit no tower.
    """
    vision = {"hybrid": _hybrid, "convnext": _convnext, "efficientnet": _efficientnet}[recipe.vision](recipe)
    text = text_model.config if text_model is not None else _text_config(recipe, tokenizer)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, text, projection_dim=recipe.dimension, logit_scale_init_value=INITIAL_LOGIT_SCALE
    )
    model = VisionTextDualEncoderModel(config, text_model=text_model)
    if recipe.vision == "hybrid":
        _start_as_mean(model.vision_model)
    elif recipe.vision == "efficientnet":
        start_lite(model.vision_model)
        if recipe.vision_base:
            load_lite(model.vision_model, Path(recipe.vision_base))
    return model


def _start_as_mean(tower: Any) -> None:
    """Let the first token start as the mean of all cells: attention that has not learnt where to look hides them."""
    with torch.no_grad():
        nn.init.kaiming_normal_(tower.embeddings.projection.weight, nonlinearity="linear")
        nn.init.eye_(tower.pooler.dense.weight)
        for attention in (layer.attention for layer in tower.encoder.layer):
            start_uniform(attention.attention.query, attention.attention.value, attention.output.dense)


def start_uniform(query: nn.Linear, value: nn.Linear, output: nn.Linear) -> None:
    """Let an attention start as the mean of what it attends to."""
    nn.init.zeros_(query.weight)
    nn.init.eye_(value.weight)
    nn.init.eye_(output.weight)


def _hybrid(recipe: ModelRecipe) -> DPTConfig:
    """Return a ResNet (He et al. 2016, basic layers) whose last cells a transformer's first token attends to.

    `transformers` has this form as the encoder of DPT-Hybrid (Ranftl et al. 2021). It wants a square table of
    positions, which it stretches over the cells; hence a patch as many times in the width as in the height.
    """
    height, width, rows = recipe.image_height, recipe.image_width, recipe.image_height // STRIDE
    across = next((step for step in range(1, width + 1) if width // step == rows), 0)
    if height % STRIDE or width % STRIDE or not across:
        raise UsageError(
            f"a hybrid tower sees no {height} x {width} pixels: take multiples of {STRIDE}, near a square"
        )
    if not len(recipe.vision_widths) == len(recipe.vision_depths) == 3 or recipe.vision_widths[-1] % HEAD_WIDTH:
        raise UsageError(
            f"a hybrid tower has three vision_widths and vision_depths, the last width a multiple of {HEAD_WIDTH}; "
            f"got {list(recipe.vision_widths)} and {list(recipe.vision_depths)}"
        )
    last = recipe.vision_widths[-1]
    return DPTConfig(
        is_hybrid=True,
        backbone_config=ResNetConfig(
            layer_type="basic",
            embedding_size=recipe.vision_stem,
            hidden_sizes=list(recipe.vision_widths),
            depths=list(recipe.vision_depths),
            out_features=["stage1", "stage2", "stage3"],  # type: ignore[call-arg]  # of every backbone
        ),
        backbone_featmap_shape=[1, last, rows, width // STRIDE],
        image_size=[height, width],
        patch_size=[STRIDE, across],
        hidden_size=last,
        intermediate_size=2 * last,
        num_hidden_layers=recipe.vision_layers,
        num_attention_heads=last // HEAD_WIDTH,
        hidden_dropout_prob=recipe.vision_dropout,
        layer_norm_eps=1e-6,
        pooler_act="linear",
        neck_ignore_stages=[],
    )


def _convnext(recipe: ModelRecipe) -> ConvNextConfig:
    """Return a ConvNeXt (Liu et al. 2022), which normalises each photograph by itself, whatever else is in its batch.

    Layer scale is off: it slows the first epochs, and few blocks do not need it.
    """
    return ConvNextConfig(
        hidden_sizes=list(recipe.vision_widths),
        depths=list(recipe.vision_depths),
        num_stages=len(recipe.vision_depths),
        hidden_size=recipe.vision_widths[-1],  # type: ignore[call-arg]  # read by VisionTextDualEncoderModel
        image_size=recipe.image_height,
        layer_scale_init_value=0.0,
        drop_path_rate=recipe.vision_dropout,
    )


def _efficientnet(recipe: ModelRecipe) -> EfficientNetConfig:
    return lite_config(recipe.image_height, recipe.vision_dropout)


def _text_config(recipe: ModelRecipe, tokenizer: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=4 * recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=recipe.text_heads,
        max_position_embeddings=recipe.context,
        projection_dim=recipe.dimension,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def without_chance(model: nn.Module) -> None:
    """Let a model see in training as it does afterwards: nothing is dropped, neither numbers nor whole layers."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif hasattr(part, "drop_prob"):  # the drop path of ConvNeXt, which is no module of torch
            part.drop_prob = 0.0  # type: ignore[assignment]
