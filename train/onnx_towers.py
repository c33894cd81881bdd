"""Both towers as ONNX, for a process that answers without importing torch.

``text.onnx`` takes input_ids and attention_mask, int64 (n, l); ``image.onnx`` takes pixels, uint8 (n, height, width,
3), and normalises them itself. Both give unit float32 rows (n, d). Their weights are those of `model.safetensors`,
which lies beside them: an ONNX file may name a range of bytes in another file of its folder.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checkpoint import Preprocessing
from engine.token_heads import TokenHeads, cells_of

OPSET = 20
"""The first with GELU as one operator."""
WEIGHTS = "model.safetensors"
SMALL, LARGE = 256, 4096
"""Weights with fewer numbers than the one stay in the graph as float32; than the other, if the file lacks them."""


def export_towers(model: Any, preprocessing: Preprocessing, folder: Path, heads: TokenHeads | None = None) -> None:
    """Write `text.onnx` and `image.onnx` into ``folder``, beside the float16 weights that they share.

    With token ``heads``, the towers have a second output each: ``words`` (n, l, t) and ``patches`` (n, p, t).
    """
    context = model.config.text_config.max_position_embeddings
    batch, length = torch.export.Dim("n", min=1, max=4096), torch.export.Dim("l", min=2, max=context)
    ids = torch.ones(2, 5, dtype=torch.int64)
    ids[:, 4] = getattr(model.config.text_config, "eos_token_id", None) or 1  # CLIP's text tower looks for it
    text = to_onnx(
        _Text(model, heads),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        ["rows", "words"] if heads else ["rows"],
    )
    share_weights(text, folder)
    (folder / "text.onnx").write_bytes(text.SerializeToString())
    image = to_onnx(
        _Image(model, preprocessing, heads),
        {"pixels": torch.zeros(2, preprocessing.height, preprocessing.width, 3, dtype=torch.uint8)},
        {"pixels": {0: batch}},
        ["rows", "patches"] if heads else ["rows"],
    )
    share_weights(image, folder)
    (folder / "image.onnx").write_bytes(image.SerializeToString())


class _Text(nn.Module):
    def __init__(self, model: Any, heads: TokenHeads | None) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        if self.heads is None:
            output = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
            return F.normalize(output.pooler_output, dim=-1)
        output = self.model.text_model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        rows = self.model.text_projection(output.pooler_output)
        return F.normalize(rows, dim=-1), self.heads.words(output.hidden_states[self.heads.text_layer])


class _Image(nn.Module):
    def __init__(self, model: Any, preprocessing: Preprocessing, heads: TokenHeads | None) -> None:
        super().__init__()
        self.model, self.heads = _without_batch_norm(model), heads
        self.mean = nn.Buffer(torch.tensor(preprocessing.mean).reshape(3, 1, 1) * 255)
        self.std = nn.Buffer(torch.tensor(preprocessing.std).reshape(3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Any:
        values = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        if self.heads is not None:
            output = self.model.vision_model(pixel_values=values)
            rows = self.model.visual_projection(output.pooler_output)
            return F.normalize(rows, dim=-1), self.heads.patches(cells_of(output))
        return F.normalize(self.model.get_image_features(pixel_values=values).pooler_output, dim=-1)


class _Affine(nn.Module):
    """Batch normalisation when all is learnt: a factor and a summand for each channel of (n, c, h, w).

    The exporter would fold it into the convolution before, whose weights could then not be shared with the other file;
    the runtime folds this one when it loads.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            summand = norm.bias - norm.running_mean * factor
        self.factor, self.summand = nn.Buffer(factor[:, None, None]), nn.Buffer(summand[:, None, None])

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor + self.summand


def _without_batch_norm(model: Any) -> Any:
    names = [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    if not names:
        return model
    model = copy.deepcopy(model)
    for name in names:
        model.set_submodule(name, _Affine(model.get_submodule(name)))
    return model


def to_onnx(module: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, Any], outputs: list[str]) -> Any:
    """Return a module as an ONNX model with all its weights inside; ``shapes`` says which dimensions may vary."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses a torchvision that nobody needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            module.eval(),
            (),
            kwargs=inputs,
            dynamic_shapes=shapes,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.optimize()
    proto = program.model_proto
    for entry in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del entry.metadata_props[:]  # where in the exporter's Python each came from
    return proto


def share_weights(proto: Any, folder: Path) -> None:
    """Let the large float32 weights of an ONNX model be those of the `model.safetensors` in ``folder``, by content.

    Each is widened by a Cast, and turned where the exporter had turned it; the runtime does both once, when it loads.
    What the weights file does not have stays in the graph; as float16 if it is large.
    """
    from onnx import TensorProto, helper, numpy_helper

    shared = _by_content(folder / WEIGHTS)
    added = []
    for weight in proto.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALL:
            continue
        name, halves = weight.name, numpy_helper.to_array(weight).astype(np.float16)
        turned = halves.ndim == 2 and _digest(halves) not in shared and _digest(halves.T) in shared
        place = shared.get(_digest(halves.T if turned else halves))
        if place is None and np.prod(weight.dims) < LARGE:
            continue  # batch normalisation, whose factors are nobody's weights
        if place is None:
            weight.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
        else:
            dims = halves.T.shape if turned else halves.shape
            weight.Clear()
            weight.name, weight.data_type, weight.data_location = (
                f"{name}.half",
                TensorProto.FLOAT16,
                TensorProto.EXTERNAL,
            )
            weight.dims.extend(dims)
            for key, value in (("location", WEIGHTS), ("offset", str(place[0])), ("length", str(place[1]))):
                weight.external_data.add(key=key, value=value)
        if turned:
            added.append(helper.make_node("Transpose", [f"{name}.half"], [f"{name}.turned"], perm=[1, 0]))
        added.append(
            helper.make_node("Cast", [f"{name}.turned" if turned else f"{name}.half"], [name], to=TensorProto.FLOAT)
        )
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*added, *nodes])


def _by_content(path: Path) -> dict[str, tuple[int, int]]:
    """Return, by the digest of its content, where in a safetensors file each float16 tensor lies: offset, length."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F16":
            continue
        start, stop = (8 + size + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[start:stop], dtype=np.float16).reshape(entry["shape"])
        found[_digest(array)] = (start, stop - start)
    return found


def _digest(array: Any) -> str:
    content = np.ascontiguousarray(array)
    return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()
