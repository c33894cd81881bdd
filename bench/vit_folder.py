"""Make a checkpoint folder with the architecture of openai/clip-vit-base-patch32 and random weights: no network.

vit_folder.py FOLDER [--tiny]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from train.tokenizer import train_tokenizer

CONTEXT = 77
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
"""For a trial of the benchmark itself."""


def make(folder: Path, *, tiny: bool = False) -> None:
    """Write the folder. `CLIPConfig()` is that of ViT-B/32, its quick_gelu included; the tokenizer is a small one."""
    tokenizer = train_tokenizer(["a red dress", "long sleeve denim"], 1000, CONTEXT)
    text = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "max_position_embeddings": CONTEXT}
    text |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    size = TINY if tiny else {}
    config = CLIPConfig(text_config=text | size, vision_config=dict(size))
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    make(arguments.folder, tiny=arguments.tiny)
