"""What is answered over HTTP, as OpenAPI describes it: the answers themselves are plain JSON, which is faster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from engine.records import Hit, Payload


class FoundItem(BaseModel):
    """A photograph that was found; ``score`` is a cosine, absent where nothing was compared."""

    id: str
    point_id: str
    score: float | None = None
    rerank_score: float | None = None
    payload: dict[str, Any]
    image: str
    thumb: str


class SearchAnswer(BaseModel):
    """Hits, best first, and where the next page begins."""

    hits: list[FoundItem]
    next: str | None = None
    explain: dict[str, Any] | None = None


class ValueCount(BaseModel):
    """How many photographs have a value."""

    value: str | int | float | bool
    count: int


class FacetsAnswer(BaseModel):
    """The kind of every field, how many photographs pass the filter, and how many of them have which value."""

    fields: dict[str, str]
    total: int
    facets: dict[str, list[ValueCount]]


class Embedding(BaseModel):
    """A unit vector: numbers, or little-endian float32 in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens of the texts that were embedded."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """OpenAI's shape, in the order of the inputs."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: Usage


class Model(BaseModel):
    """OpenAI's shape; nobody recorded when the model was made, so ``created`` is 0."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsAnswer(BaseModel):
    """OpenAI's shape; there is one model."""

    object: Literal["list"]
    data: list[Model]


class InferenceAnswer(BaseModel):
    """Unit vectors in the order of the inputs, as a Qdrant server expects them."""

    embeddings: list[list[float]]
    usage: None


class Alive(BaseModel):
    """The process lives; ``instance`` is what it calls itself."""

    status: Literal["ok"]
    instance: str


class Ready(BaseModel):
    """Searches can be answered, over so many points, by this checkpoint (of its fingerprint, the beginning)."""

    status: Literal["ready"]
    points: int
    checkpoint: str


class Mistake(BaseModel):
    """A value of the wrong form, and where it stood."""

    where: str
    what: str


class Problem(BaseModel):
    """RFC 9457: what went wrong, and what to do.

    ``kind``: which of this program's errors it was, if one of them. ``errors``: of a 422.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    kind: str | None = None
    errors: list[Mistake] | None = None


def found(point_id: str, payload: Payload, hit: Hit | None = None) -> dict[str, Any]:
    """Return an item as `FoundItem` describes it; ``hit``: how it was found, where something was compared."""
    address = f"/v1/images/{point_id}"
    scores = {} if hit is None else {"score": round(hit.score, 6)}
    if hit is not None and hit.rerank_score is not None:
        scores["rerank_score"] = round(hit.rerank_score, 6)
    parts = {"id": str(payload.get("item_id", point_id)), "point_id": point_id, **scores, "payload": payload}
    return {**parts, "image": address, "thumb": f"{address}/thumb"}
