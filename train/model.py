"""A small CLIP from scratch, made only of parts that `transformers` loads by itself."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPTextConfig,
    ConvNextConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from train.loss import INITIAL_LOGIT_SCALE
from train.recipe import ModelRecipe


def build_model(recipe: ModelRecipe, tokenizer: Any, text_model: Any = None) -> Any:
    """Return a `VisionTextDualEncoderModel`: a new ConvNeXt (Liu et al. 2022) beside ``text_model`` or CLIP's.

    A convolutional image tower learns far more from tens of thousands of photographs than a vision transformer of
    its size. Layer scale is off: it slows the first epochs, and few blocks do not need it.
    """
    vision = ConvNextConfig(
        hidden_sizes=list(recipe.vision_widths),
        depths=list(recipe.vision_depths),
        num_stages=len(recipe.vision_depths),
        hidden_size=recipe.vision_widths[-1],  # type: ignore[call-arg]  # read by VisionTextDualEncoderModel
        image_size=recipe.image_height,
        layer_scale_init_value=0.0,
        drop_path_rate=recipe.drop_path,
    )
    text = text_model.config if text_model is not None else _text_config(recipe, tokenizer)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, text, projection_dim=recipe.dimension, logit_scale_init_value=INITIAL_LOGIT_SCALE
    )
    return VisionTextDualEncoderModel(config, text_model=text_model)


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
