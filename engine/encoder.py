"""Texts and photographs to unit vectors, with whichever engine the checkpoint and the machine allow.

The exported ONNX towers are used where they lie beside the weights and no accelerator is asked for; any other CLIP in
Hugging Face form runs through torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.checkpoint import TOKENIZER_FILES, Checkpoint
from engine.errors import CheckpointError, UsageError
from engine.records import Vector

if TYPE_CHECKING:
    from PIL import Image

DEVICES = ("auto", "cpu", "cuda", "mps")


class Encoder(Protocol):
    """Both towers of one checkpoint. ``parallel``: how many calls may usefully run side by side."""

    checkpoint: Checkpoint
    parallel: bool

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """Return unit float32 rows of shape (n, d)."""

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        """Return unit float32 rows (n, d) for uint8 pixels of shape (n, height, width, 3)."""

    def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
        """Return the same, and patches (n, p, t) as unit float32 rows; None from a checkpoint without token heads."""

    def encode_words(self, text: str) -> Vector:
        """Return unit float32 rows (l, t), one for each token; only of a checkpoint with token heads."""

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has, start and end included, before it is cut."""


def load_encoder(checkpoint: Checkpoint, device: str = "auto", *, texts: bool = False) -> Encoder:
    """Load the towers of a checkpoint for ``device``: one of ``auto``, ``cpu``, ``cuda``, ``mps``.

    ``texts``: the exported text tower at once, and not when the first text comes.

    Raises:
        CheckpointError: weights that cannot be loaded.
        UsageError: a device that this machine does not have.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    pads_texts = "siglip" in str(checkpoint.config.get("model_type"))  # which the exported tower is not given
    if device in ("auto", "cpu") and checkpoint.tower("text") and checkpoint.tower("image") and not pads_texts:
        return OnnxEncoder(checkpoint, texts=texts)
    return TorchEncoder(checkpoint, device)


def encode_image(encoder: Encoder, image: Image.Image) -> Vector:
    """Return the unit vector, shape (d,), of one upright RGB photograph."""
    row: Vector = encoder.encode_pixels(encoder.checkpoint.preprocessing.pixels(image)[None])[0]
    return row


class OnnxEncoder:
    """The exported towers, each loaded when it is first used, or that of the texts at once."""

    parallel = True

    def __init__(self, checkpoint: Checkpoint, *, texts: bool = False) -> None:
        self.checkpoint = checkpoint
        if texts:
            _ = self._text

    @cached_property
    def _text(self) -> Any:  # noqa: ANN401
        from engine.towers import TextTower

        return TextTower(self.checkpoint)

    @cached_property
    def _image(self) -> Any:  # noqa: ANN401
        from engine.towers import ImageTower

        return ImageTower(self.checkpoint)

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """See `Encoder`."""
        rows: Vector = self._text.encode_texts(texts)
        return rows

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        """See `Encoder`."""
        rows: Vector = self._image.encode_pixels(pixels)
        return rows

    def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
        """See `Encoder`."""
        found: tuple[Vector, Vector | None] = self._image.encode_photographs(pixels)
        return found

    def encode_words(self, text: str) -> Vector:
        """See `Encoder`."""
        words: Vector = self._text.encode_words(text)
        return words

    def count_tokens(self, text: str) -> int:
        """See `Encoder`."""
        count: int = self._text.count_tokens(text)
        return count


class TorchEncoder:
    """Any CLIP in Hugging Face form through `transformers`, on a CPU, on CUDA or on Apple's MPS.

    On an accelerator, and on a CPU with native bfloat16, the towers run in bfloat16 (unless ``precise``), elsewhere
    in float32; the embeddings are float32 in any case. Never float16 on a CPU: it is emulated there, hundreds of
    times slower.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "auto", *, precise: bool = False) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # what matters of its talk is raised below
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.checkpoint = checkpoint
        self._torch = torch
        self._tokenizing = Lock()  # a tokenizer is told anew for each call how to cut and to fill
        self._device = pick_device(torch, device)
        self.parallel = self._device == "cpu"
        if self.parallel:
            torch.set_num_threads(1)  # callers run several calls side by side; threads within one only spin
        if not any((checkpoint.folder / name).exists() for name in TOKENIZER_FILES):
            raise CheckpointError(f"{checkpoint.folder} has no tokenizer (tokenizer.json): it is an incomplete copy")
        try:
            model, loaded = AutoModel.from_pretrained(
                checkpoint.folder,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
            self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{checkpoint.folder} cannot be loaded ({reason}): get it again") from error
        # transformers would fill what is missing with random numbers
        if unset := sorted({*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}):
            raise CheckpointError(
                f"{checkpoint.folder} lacks weights of the size that its config.json says ({unset[0]}): get it again"
            )
        if not hasattr(model, "get_image_features"):
            raise CheckpointError(f"{checkpoint.folder} holds a {type(model).__name__}, not a CLIP with two towers")
        self._model = model.eval().to(self._device)
        self._heads: Any = None
        if checkpoint.token_heads:
            from engine.token_heads import load_token_heads

            self._heads = load_token_heads(checkpoint)
            self._heads.to(self._device)
        self._bfloat16 = not precise and (self._device != "cpu" or native_bfloat16(torch))
        if self._bfloat16:  # as autocast would, but once for all instead of in every call
            for module in model.modules():
                if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                    module.to(torch.bfloat16)
        spec = checkpoint.preprocessing
        self._mean = torch.tensor(spec.mean, device=self._device).mul(255)
        self._std = torch.tensor(spec.std, device=self._device).mul(255)
        # SigLIP was trained with every text padded to the full context, CLIP was not.
        self._padding = "max_length" if "siglip" in str(model.config.model_type) else "longest"

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """See `Encoder`."""
        return self._unit_rows(self._model.get_text_features, **self._batch(texts))

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        """See `Encoder`."""
        return self._unit_rows(self._model.get_image_features, pixel_values=self._values(pixels))

    def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
        """See `Encoder`."""
        if self._heads is None:
            return self.encode_pixels(pixels), None
        from engine.token_heads import cells_of

        with self._torch.inference_mode(), self._cast():
            output = self._model.vision_model(pixel_values=self._values(pixels))
            rows = self._model.visual_projection(output.pooler_output)
            patches = self._heads.patches(cells_of(output))
        return self._unit(rows), patches.float().cpu().numpy()

    def encode_words(self, text: str) -> Vector:
        """See `Encoder`."""
        if self._heads is None:
            raise CheckpointError(f"{self.checkpoint.folder} has no token heads: it cannot re-rank")
        batch = self._batch([text])
        with self._torch.inference_mode(), self._cast():
            states = self._model.text_model(**batch, output_hidden_states=True).hidden_states[self._heads.text_layer]
            words: Vector = self._heads.words(states)[0].float().cpu().numpy()
        return words

    def count_tokens(self, text: str) -> int:
        """See `Encoder`."""
        with self._tokenizing:
            return len(self._tokenizer(text)["input_ids"])

    def _batch(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        with self._tokenizing:
            batch = self._tokenizer(
                list(texts),
                padding=self._padding,
                truncation=True,
                max_length=self.checkpoint.context,
                return_tensors="pt",
            )
        return batch.to(self._device)

    def _values(self, pixels: npt.NDArray[np.uint8]) -> Any:  # noqa: ANN401
        values = (self._torch.tensor(pixels, device=self._device).float() - self._mean) / self._std
        return values.permute(0, 3, 1, 2)

    def _cast(self) -> AbstractContextManager[Any]:
        return self._torch.autocast(self._device, self._torch.bfloat16) if self._bfloat16 else nullcontext()

    def _unit_rows(self, tower: Any, **inputs: Any) -> Vector:  # noqa: ANN401
        with self._torch.inference_mode(), self._cast():
            output = tower(**inputs)
        return self._unit(getattr(output, "pooler_output", output))

    def _unit(self, rows: Any) -> Vector:  # noqa: ANN401
        unit: Vector = self._torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy()
        return unit


def pick_device(torch: Any, device: str) -> str:  # noqa: ANN401
    """Return the torch device that ``device`` means on this machine; raises UsageError where it has none such."""
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if has[name])
    if not has[device]:
        raise UsageError(f"this machine has no {device}: leave out --device, or choose cpu")
    return device


def native_bfloat16(torch: Any) -> bool:  # noqa: ANN401
    """Say whether the processor multiplies bfloat16 itself; emulated, it is slower than float32."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
