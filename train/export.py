"""A trained model to a checkpoint folder in Hugging Face form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.checkpoint import HEAD_FACTS, HEAD_WEIGHTS, NOTES, Checkpoint, Preprocessing
from engine.token_heads import TokenHeads
from train.cross_encoder import CrossEncoder, export_cross_encoder
from train.onnx_towers import export_towers

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Reranking:
    """How the first hits are looked at more closely: token heads, perhaps cross-attention over them, their weights."""

    heads: TokenHeads
    cross: CrossEncoder | None
    weights: Mapping[str, float]
    best: str


def export_checkpoint(
    model: Any,
    tokenizer: Any,
    preprocessing: Preprocessing,
    facts: dict[str, Any],
    folder: Path,
    base: Checkpoint | None = None,
    reranking: Reranking | None = None,
) -> Path:
    """Write the new ``folder`` so that transformers, sentence-transformers and this program load it; return it.

    The weights are kept as float16 on disk and said to be float32: every loader widens them, so that the folder is
    half as large and all loaders get the same numbers. The ONNX towers compute with those same numbers. What ``base``
    says about its pixels is handed on as it is; ``facts`` about the training are noted.
    """
    folder.mkdir(parents=True)
    model = model.to("cpu", memory_format=torch.contiguous_format).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    _write_weights(model, folder)
    tokenizer.backend_tokenizer.no_truncation()  # what was asked of it last is no part of it
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)
    _write_processor(preprocessing, folder, base)
    _write_sentence_transformers(folder)
    note(folder, facts)
    if reranking is not None:
        _write_reranking(reranking, folder)
    export_towers(model, preprocessing, folder, reranking.heads if reranking else None)
    return folder


def note(folder: Path, facts: dict[str, Any]) -> None:
    """Add facts about the training to the checkpoint's `training.json`."""
    write_json(folder / NOTES, Checkpoint(folder).notes | facts)


def _write_weights(model: Any, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    learnt = {name for name, _ in model.named_parameters()}  # not the statistics of batch normalisation
    halves = {name: tensor.half() if name in learnt else tensor for name, tensor in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _write_reranking(reranking: Reranking, folder: Path) -> None:
    from safetensors.torch import save_file

    heads = reranking.heads.to("cpu")
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.copy_(parameter.half().float())
    save_file({name: value.half() for name, value in heads.state_dict().items()}, folder / HEAD_WEIGHTS)
    (folder / HEAD_WEIGHTS).chmod(0o644)
    facts = {"dimension": heads.dimension, "text_layer": heads.text_layer}
    write_json(folder / HEAD_FACTS, facts | {"weights": dict(reranking.weights), "best": reranking.best})
    if reranking.cross is not None:
        export_cross_encoder(reranking.cross, folder)


def _write_processor(preprocessing: Preprocessing, folder: Path, base: Checkpoint | None) -> None:
    if base is not None:
        for name in PROCESSOR_FILES:
            if (base.folder / name).exists():
                shutil.copyfile(base.folder / name, folder / name)
        return
    entries = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": preprocessing.height, "width": preprocessing.width},
        "resample": preprocessing.resample,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    write_json(folder / "preprocessor_config.json", entries)
    write_json(
        folder / "processor_config.json",
        {"processor_class": "VisionTextDualEncoderProcessor"} | {"image_processor": entries},
    )


def _write_sentence_transformers(folder: Path) -> None:
    """Add what sentence-transformers needs to embed both kinds and to give unit vectors without being asked to."""
    modules = "sentence_transformers.base.modules"
    chain = [
        {"idx": 0, "name": "0", "path": "", "type": f"{modules}.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{modules}.normalize.Normalize"},
    ]
    towers = {
        kind: {"method": f"get_{kind}_features", "method_output_name": "pooler_output"} for kind in ("text", "image")
    }
    entries = {
        "transformer_task": "feature-extraction",
        "modality_config": towers,
        "module_output_name": "sentence_embedding",
    }
    write_json(folder / "modules.json", chain)
    write_json(folder / "sentence_bert_config.json", entries)
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    (folder / "1_Normalize").mkdir(exist_ok=True)
    names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    write_json(folder / "1_Normalize" / "config.json", names)


def write_json(path: Path, entries: Any) -> None:
    """Write a file of a checkpoint."""
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
