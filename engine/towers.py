"""The two towers through ONNX Runtime: the fast path, which imports neither torch nor transformers.

A process that answers one query spends its time on imports; this module needs onnxruntime and tokenizers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.records import Vector

ONCE = 3
"""So many runs of the text tower a single query takes: the passport's golden texts, its own, its words for MaxSim."""
CHUNK = 16
"""So many photographs at once leave the activations in the processor's cache: a tenth faster than 64 at once."""

ort.disable_telemetry_events()  # on Windows, where the environment (`engine`) says nothing to it


class TextTower:
    """Texts to embeddings, through the exported text tower."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Load the tower and the tokenizer of ``checkpoint``.

        Raises:
            CheckpointError: the exported text tower or its tokenizer is missing or damaged.
        """
        self._checkpoint, self._runs, self._once, self._counting = checkpoint, 0, True, Lock()
        self._session = onnx_session(checkpoint, "text", once=True)
        self._rows = self._session.get_outputs()[0].name
        path = checkpoint.folder / "tokenizer.json"
        if not path.exists():
            raise CheckpointError(f"{path} is missing: get the checkpoint again")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise CheckpointError(f"{path} cannot be read ({error}): get the checkpoint again") from error
        self._tokenizer.enable_truncation(checkpoint.context)
        end = self._tokenizer.encode("").ids[-1]
        self._tokenizer.enable_padding(pad_id=end, pad_token=self._tokenizer.id_to_token(end))
        self._path = str(path)

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """Return unit float32 rows of shape (n, d); a text longer than the context is cut."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        (rows,) = self._run([self._rows], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(rows, dtype=np.float32)

    def encode_words(self, text: str) -> Vector:
        """Return unit float32 rows (l, t), one for each token of a text, for a tower that was exported with them."""
        one = self._tokenizer.encode(text)
        ids, mask = (np.array([part], dtype=np.int64) for part in (one.ids, one.attention_mask))
        (words,) = self._run(["words"], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(words[0], dtype=np.float32)

    def _run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:  # noqa: ANN401
        """Run the tower; who needs more than one query takes gets weights that are widened once for all."""
        with self._counting:
            self._runs += 1
            if self._once and self._runs > ONCE:
                self._session, self._once = onnx_session(self._checkpoint, "text"), False
        return self._session.run(outputs, inputs)

    @cached_property
    def _counter(self) -> Any:  # noqa: ANN401
        counter = Tokenizer.from_file(self._path)
        counter.no_truncation()
        counter.no_padding()
        return counter

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has, start and end included, before it is cut."""
        return len(self._counter.encode(text).ids)


class ImageTower:
    """Pixels to embeddings, through the exported image tower; safe to call from several threads at once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Load the image tower of ``checkpoint``; it computes on one core per call."""
        self._session = onnx_session(checkpoint, "image")

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        """Return unit float32 rows (n, d) for uint8 pixels of shape (n, height, width, 3)."""
        return self.encode_photographs(pixels)[0]

    def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
        """Return the same, and patches (n, p, t) as unit float32 rows if the tower was exported with them."""
        chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        found = [self._session.run(None, {"pixels": chunk}) for chunk in chunks]
        rows, *patches = (np.concatenate(parts).astype(np.float32, copy=False) for parts in zip(*found, strict=True))
        return rows, patches[0] if patches else None


def onnx_session(checkpoint: Checkpoint, kind: str, *, once: bool = False) -> Any:  # noqa: ANN401
    """Load a network of a checkpoint, ``kind``.onnx, for one core a call.

    ``once``: ready at once, but every run widens the float16 weights that it needs anew. Loading the bundled text
    tower takes 0.01 s so, against 0.13 s; a run takes 9 ms, against 3.
    """
    path = checkpoint.tower(kind)
    if path is None:
        raise CheckpointError(f"{checkpoint.folder} has no {kind}.onnx: load it through torch, or export it")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # callers run several calls side by side; threads within one only spin
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    left_out = []
    if once:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        left_out = ["ConstantFolding"]
    try:
        return ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=left_out
        )
    except Exception as error:
        raise CheckpointError(f"{path} cannot be loaded ({error}): get the checkpoint again") from error
