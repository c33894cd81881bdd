"""A tiny CLIP in Hugging Face form, with random weights: small enough to be made anew for each test session."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from train.tokenizer import train_tokenizer


def make_tiny_clip(folder: Path, *, seed: int = 0, hidden_act: str = "quick_gelu", width: int = 32) -> Path:
    """Write a CLIP with a ViT of 32 pixels, the way OpenAI's checkpoints are laid out; return ``folder``."""
    import torch

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(["red dress", "blue denim jacket for men"], vocabulary=600, context=77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_act=hidden_act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        hidden_act=hidden_act,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    CLIPModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder
