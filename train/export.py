"""A trained model to a checkpoint folder: Hugging Face weights, and both towers as ONNX beside them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checkpoint import Preprocessing
from train.recipe import Recipe

OPSET = 20
"""The first with GELU as one operator."""


def export_checkpoint(
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    preprocessing: Preprocessing,
    recipe: Recipe,
    metrics: dict[str, float],
    folder: Path,
) -> Path:
    """Write ``folder`` so that transformers, sentence-transformers and this program load it; return it.

    The weights are kept as float16 on disk and said to be float32: every loader widens them, so that the folder is
    half as large and all loaders get the same numbers. The ONNX towers are made from those same numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to("cpu", memory_format=torch.contiguous_format).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    _write_weights(model, folder)
    _write_processor(tokenizer, preprocessing, folder)
    _write_sentence_transformers(folder)
    entries = {"recipe": dataclasses.asdict(recipe), "validation": metrics}
    (folder / "training.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    export_towers(model, preprocessing, folder)
    return folder


def export_towers(model: Any, preprocessing: Preprocessing, folder: Path) -> None:  # noqa: ANN401
    """Export both towers of a CLIP to ``folder``/onnx: weights as float16 in the file, arithmetic in float32.

    ``text.onnx`` takes input_ids and attention_mask, int64 (n, l); ``image.onnx`` takes pixels, uint8 (n, height,
    width, 3), and normalises them itself. Both give unit float32 rows (n, d).
    """
    target = folder / "onnx"
    target.mkdir(exist_ok=True)
    batch, length = torch.export.Dim("n", min=1, max=4096), torch.export.Dim("l", min=2, max=77)
    ids = torch.ones(2, 5, dtype=torch.int64)
    ids[:, 4] = model.config.text_config.eos_token_id
    _export(
        _Text(model),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        target / "text.onnx",
    )
    pixels = torch.zeros(2, preprocessing.height, preprocessing.width, 3, dtype=torch.uint8)
    _export(_Image(model, preprocessing), {"pixels": pixels}, {"pixels": {0: batch}}, target / "image.onnx")


class _Text(nn.Module):
    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        output = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return F.normalize(output.pooler_output, dim=-1)


class _Image(nn.Module):
    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model
        self.mean = nn.Buffer(torch.tensor(preprocessing.mean).reshape(3, 1, 1) * 255)
        self.std = nn.Buffer(torch.tensor(preprocessing.std).reshape(3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        values = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return F.normalize(self.model.get_image_features(pixel_values=values).pooler_output, dim=-1)


def _export(module: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, Any], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            module.eval(), (), kwargs=inputs, dynamic_shapes=shapes, opset_version=OPSET, dynamo=True, verbose=False
        )
    assert program is not None
    program.optimize()
    model = program.model_proto
    _halve_weights(model)
    path.write_bytes(model.SerializeToString())


def _halve_weights(model: Any) -> None:  # noqa: ANN401
    """Keep large float32 initializers as float16, each widened by a Cast, which the runtime folds when it loads."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < 256:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}.float16"))
        casts.append(helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def _write_weights(model: Any, folder: Path) -> None:  # noqa: ANN401
    from safetensors.torch import load_file, save_file

    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    halves = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _write_processor(tokenizer: Any, preprocessing: Preprocessing, folder: Path) -> None:  # noqa: ANN401
    tokenizer.save_pretrained(folder)
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
    _write_json(folder / "preprocessor_config.json", entries)
    _write_json(
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
    _write_json(folder / "modules.json", chain)
    _write_json(folder / "sentence_bert_config.json", entries)
    _write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    (folder / "1_Normalize").mkdir(exist_ok=True)
    names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    _write_json(folder / "1_Normalize" / "config.json", names)


def _write_json(path: Path, entries: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
