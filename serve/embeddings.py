"""Embeddings for others: in OpenAI's shape, and for a Qdrant server that asks on behalf of its callers.

Qdrant does not document that a self-hosted server forwards to an inference service; its source does, since 1.12.2.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.encoder import Encoder, encode_image
from engine.errors import UsageError
from engine.passport import check_fingerprint
from engine.records import Vector
from engine.store.protocol import Store
from serve.answers import EmbeddingsAnswer, InferenceAnswer, Model, ModelsAnswer
from serve.fetch import PHOTOGRAPH, from_data_url
from serve.messages import MAX_TEXT, EmbeddingsRequest, Id, InferenceRequest


def embedding_routes(app: FastAPI, store: Store, encoder: Encoder) -> None:
    """Let ``app`` embed for others, as long as the collection is one of this very model's."""

    @app.post("/v1/embeddings", response_model=EmbeddingsAnswer, tags=["embeddings"])
    def embed(asked: EmbeddingsRequest) -> JSONResponse:
        """Embed texts, and photographs as data URLs, in the shape of OpenAI's API."""
        check_fingerprint(store.spec().passport, encoder.checkpoint)
        return JSONResponse(embeddings(encoder, asked))

    @app.get("/v1/models", response_model=ModelsAnswer, tags=["embeddings"])
    async def models() -> JSONResponse:
        """List the one model there is, in the shape of OpenAI's API."""
        return JSONResponse({"object": "list", "data": [_model(encoder)]})

    @app.get("/v1/models/{id:path}", response_model=Model, tags=["embeddings"])
    async def model(id: Id) -> JSONResponse:
        """Describe the model of a name, in the shape of OpenAI's API."""
        if not _is_model(encoder, id):
            raise HTTPException(404, f"this server has no model {id[:80]!r}, only {encoder.checkpoint.name!r}")
        return JSONResponse(_model(encoder))

    @app.post("/infer", response_model=InferenceAnswer, tags=["embeddings"])
    def infer(asked: InferenceRequest) -> JSONResponse:
        """Embed for a Qdrant server whose inference service this is (`QDRANT__INFERENCE__ADDRESS`)."""
        check_fingerprint(store.spec().passport, encoder.checkpoint)
        return JSONResponse(inferred(encoder, asked))


def embedded(encoder: Encoder, texts: Mapping[int, str], photographs: Mapping[int, str]) -> Vector:
    """Return unit float32 rows (n, d) of texts and of photographs, which are data URLs, by their places from 0 to n.

    Raises:
        UsageError: a text that is too long.
        ImageError: no data URL, or no photograph in it.
    """
    if too_long := next((text for text in texts.values() if len(text) > MAX_TEXT), None):
        raise UsageError(f"a text of {len(too_long)} characters: {MAX_TEXT} are read at most")
    rows = np.empty((len(texts) + len(photographs), encoder.checkpoint.dimension), dtype=np.float32)
    if texts:
        rows[list(texts)] = encoder.encode_texts(list(texts.values()))
    for place, url in photographs.items():
        rows[place] = encode_image(encoder, from_data_url(url))
    return rows


def embeddings(encoder: Encoder, asked: EmbeddingsRequest) -> dict[str, Any]:
    """Answer as OpenAI's `/v1/embeddings` does; the rows are of unit length.

    Raises:
        UsageError: another model is asked for than the one that made the collection, or other dimensions than its.
    """
    _check_model(encoder, asked.model)
    dimension = encoder.checkpoint.dimension
    if asked.dimensions not in (None, dimension):
        raise UsageError(f"this server's embeddings have {dimension} dimensions, not {asked.dimensions}")
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    texts = {place: one for place, one in enumerate(inputs) if not PHOTOGRAPH.match(one)}
    rows = embedded(encoder, texts, {place: one for place, one in enumerate(inputs) if place not in texts})
    tokens = sum(map(encoder.count_tokens, texts.values()))
    return {
        "object": "list",
        "model": encoder.checkpoint.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": _coded(row, asked.encoding_format)}
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def inferred(encoder: Encoder, asked: InferenceRequest) -> dict[str, Any]:
    """Answer a Qdrant server: texts, and images as data URLs.

    Raises:
        UsageError: another model is asked for than the one that made the collection.
    """
    kinds: dict[str, dict[int, str]] = {"text": {}, "image": {}}
    for place, one in enumerate(asked.inputs):
        _check_model(encoder, one.model)
        kinds[one.data_type][place] = one.data
    return {"embeddings": embedded(encoder, kinds["text"], kinds["image"]).tolist(), "usage": None}


def _model(encoder: Encoder) -> dict[str, Any]:
    return {"id": encoder.checkpoint.name, "object": "model", "created": 0, "owned_by": "fashion-search-engine"}


def _is_model(encoder: Encoder, name: str) -> bool:
    checkpoint = encoder.checkpoint
    return name in (checkpoint.name, checkpoint.fingerprint, checkpoint.fingerprint[:12])


def _check_model(encoder: Encoder, name: str) -> None:
    if name and not _is_model(encoder, name):
        raise UsageError(f"this server embeds with {encoder.checkpoint.name!r} only, not with {name!r}")


def _coded(row: Vector, form: str | None) -> str | list[float]:
    if form == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode()
    values: list[float] = row.tolist()
    return values
