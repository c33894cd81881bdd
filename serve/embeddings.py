"""Embeddings for others: in OpenAI's shape, and for a Qdrant server that asks on behalf of its callers.

Qdrant does not document that a self-hosted server forwards to an inference service; its source does, since 1.12.2.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.encoder import Encoder, encode_image
from engine.errors import UsageError
from engine.records import Vector
from serve.fetch import from_data_url
from serve.messages import EmbeddingsRequest, InferenceRequest


def embed(encoder: Encoder, inputs: Sequence[str]) -> Vector:
    """Return unit float32 rows (n, d) of texts, and of photographs given as data URLs."""
    rows = np.empty((len(inputs), encoder.checkpoint.dimension), dtype=np.float32)
    texts = [index for index, one in enumerate(inputs) if not one.startswith("data:")]
    if texts:
        rows[texts] = encoder.encode_texts([inputs[index] for index in texts])
    for index in set(range(len(inputs))) - set(texts):
        rows[index] = encode_image(encoder, from_data_url(inputs[index]))
    return rows


def embeddings(encoder: Encoder, asked: EmbeddingsRequest) -> dict[str, Any]:
    """Answer as OpenAI's `/v1/embeddings` does; the rows are of unit length.

    Raises:
        UsageError: another model is asked for than the one that made the collection.
    """
    checkpoint = encoder.checkpoint
    if asked.model not in ("", checkpoint.name, checkpoint.fingerprint, checkpoint.fingerprint[:12]):
        raise UsageError(f"this server embeds with {checkpoint.name!r} only, not with {asked.model!r}")
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    rows = embed(encoder, inputs)
    tokens = sum(encoder.count_tokens(one) for one in inputs if not one.startswith("data:"))
    return {
        "object": "list",
        "model": checkpoint.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": _coded(row, asked.encoding_format)}
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def inferred(encoder: Encoder, asked: InferenceRequest) -> dict[str, Any]:
    """Answer a Qdrant server: texts, and images as data URLs."""
    return {"embeddings": embed(encoder, [one.data for one in asked.inputs]).tolist(), "usage": None}


def _coded(row: Vector, form: str) -> str | list[float]:
    if form == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode()
    values: list[float] = row.tolist()
    return values
