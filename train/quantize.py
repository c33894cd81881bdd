"""The image tower in 8-bit integers, where that finds as well: half the time of a photograph on processors with VNNI.

Static quantization: the ranges of the activations are measured once, on training photographs. Dynamic quantization
would take them from each batch, so that an embedding would depend on its neighbours, and on where a run was killed.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from engine.checkpoint import Checkpoint
from engine.replacing import replacing
from engine.towers import CHUNK, ImageTower
from train.pairs import Pairs
from train.teacher import on_all_cores
from train.validation import marks_of

MAX_LOSS = 0.003
"""Of hit@10 on validation, that the integers may cost."""
LARGEST = 2**31 - 2**20
"""Bytes of float32 weights that fit into one ONNX file: those of a ViT-H do not."""
CALIBRATION = 512
"""Photographs on which ranges are measured."""


def quantize_image_tower(checkpoint: Checkpoint, learning: Pairs, validation: Pairs, texts: Any) -> dict[str, float]:
    """Replace `image.onnx` by its quantized form if validation finds as well with it.

    ``texts`` are unit rows (n, d) for the first captions of ``validation``. Returns hit@10 on validation by
    arithmetic, ``float32`` and, if it was tried, ``int8``.
    """
    marks = {"float32": _hit_at_10(checkpoint, validation, texts)}
    if _weights_size(checkpoint.folder / "image.onnx") > LARGEST:
        return marks
    with TemporaryDirectory() as folder:
        whole, quantized = Path(folder) / "whole.onnx", Path(folder) / "image.onnx"
        _write_whole(checkpoint.folder / "image.onnx", whole)
        _write_quantized(whole, learning, quantized)
        if quantized.stat().st_size > whole.stat().st_size / 2:
            return marks  # mostly convolutions, which stay as they are: there is nothing to gain
        marks["int8"] = _hit_at_10(Checkpoint(quantized.parent), validation, texts)
        if arithmetic(marks) == "int8":
            with replacing(checkpoint.folder / "image.onnx") as part:
                shutil.copyfile(quantized, part)
    return marks


def arithmetic(marks: Mapping[str, float]) -> str:
    """Return by which arithmetic an image tower computes, ``float32`` or ``int8``, of which these were the marks."""
    return "int8" if marks.get("int8", -1.0) >= marks["float32"] - MAX_LOSS else "float32"


def _hit_at_10(checkpoint: Checkpoint, pairs: Pairs, texts: Any) -> float:
    images = on_all_cores(ImageTower(checkpoint).encode_pixels, pairs.pixels, CHUNK)
    return marks_of(pairs, images, texts)["hit@10"]


def _weights_size(tower: Path) -> int:
    import onnx

    graph = onnx.load(str(tower), load_external_data=False).graph
    return sum(4 * math.prod(weight.dims) for weight in graph.initializer)


def _write_whole(tower: Path, path: Path) -> None:
    """Write ``tower`` with float32 weights of its own: the runtime reads and widens those of `model.safetensors`."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(tower), str(path), skip_symbolic_shape=True)


def _write_quantized(whole: Path, learning: Pairs, path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    rows = learning.sample(CALIBRATION)
    batches: Iterator[dict[str, Any]] = iter(
        [{"pixels": np.asarray(learning.pixels[part])} for part in np.array_split(rows, max(1, len(rows) // 32))]
    )

    class Photographs(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            return next(batches, None)

    quantize_static(
        str(whole),
        str(path),
        Photographs(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        extra_options={"MatMulConstBOnly": True},  # not those of attention, which have no weights to read
        reduce_range=True,  # else 16-bit sums overflow on processors without VNNI
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
