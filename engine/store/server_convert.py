"""From plain Python to Qdrant's REST models and back: points, searches, records, payload indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qdrant_client import models

from engine.records import FieldKind, Hit, Point, Record, Value, Vector
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME, CollectionSpec, SearchSpec
from engine.store.schema import SCHEMA_VERSION, vector_and_patches

_INDEXES: dict[FieldKind, Any] = {
    "keyword": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
    "integer": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True),
    "float": models.FloatIndexParams(type=models.FloatIndexType.FLOAT),
    "bool": models.BoolIndexParams(type=models.BoolIndexType.BOOL),
    "datetime": models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME),
    "text": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True, phrase_matching=True
    ),
}


def vector_params(dimension: int) -> models.VectorParams:
    """Return how the server keeps the vectors: by cosine, with int8 codes in memory and a graph with m=32."""
    return models.VectorParams(
        size=dimension,
        distance=models.Distance.COSINE,
        hnsw_config=models.HnswConfigDiff(m=32, ef_construct=200),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        ),
    )


def patch_params(dimension: int) -> models.VectorParams:
    """Return how the server keeps patches: half precision, on the disk, no graph; they are looked at hit by hit."""
    return models.VectorParams(
        size=dimension,
        distance=models.Distance.COSINE,
        datatype=models.Datatype.FLOAT16,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        hnsw_config=models.HnswConfigDiff(m=0),
        on_disk=True,
    )


def field_index(kind: FieldKind) -> Any:  # noqa: ANN401 - the client has no common type of its index parameters
    """Return the payload index of a field."""
    return _INDEXES[kind]


def metadata(spec: CollectionSpec) -> dict[str, Any]:
    """Return what the collection carries of its spec."""
    return {"schema_version": SCHEMA_VERSION, "passport": dict(spec.passport), "fields": dict(spec.fields)}


def to_point(point: Point) -> models.PointStruct:
    """Return a point as the server takes it."""
    vectors = {VECTOR_NAME: point.vector.tolist()}
    if point.patches is not None:
        vectors[PATCHES_NAME] = point.patches.tolist()
    return models.PointStruct(id=point.id, vector=vectors, payload=dict(point.payload))


def to_query(spec: SearchSpec, limit: int, *, with_params: bool) -> models.QueryRequest:
    """Return the request for the best ``limit`` hits of a search whose filter has been checked."""
    return models.QueryRequest(
        query=np.asarray(spec.vector, np.float32).tolist(),
        using=VECTOR_NAME,
        filter=models.Filter.model_validate(spec.filter) if spec.filter else None,
        params=_search_params(spec.exact) if with_params else None,
        score_threshold=spec.min_score,
        limit=limit,
        with_payload=True,
    )


def to_max_sim(spec: SearchSpec, words: Vector, *, with_params: bool) -> models.QueryRequest:
    """Return the request that looks at the hits of a search more closely, word by word."""
    first = to_query(spec, spec.limit, with_params=with_params)
    prefetch = models.Prefetch(
        query=first.query,
        using=first.using,
        filter=first.filter,
        params=first.params,
        limit=first.limit,
    )
    return models.QueryRequest(
        prefetch=[prefetch], query=words.tolist(), using=PATCHES_NAME, limit=first.limit, with_payload=False
    )


def to_hits(answer: models.QueryResponse) -> list[Hit]:
    """Return the hits of one answer, in its order."""
    return [Hit(str(hit.id), hit.score, _payload(hit.payload)) for hit in answer.points]


def to_record(found: models.Record) -> Record:
    """Return a point as the server gave it back."""
    vectors: Any = found.vector
    return Record(str(found.id), found.payload, *vector_and_patches(vectors))


def _search_params(exact: bool) -> models.SearchParams:
    if exact:
        return models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
    rescoring = models.QuantizationSearchParams(rescore=True, oversampling=2.0)
    return models.SearchParams(hnsw_ef=128, quantization=rescoring)


def _payload(payload: Mapping[str, Any] | None) -> dict[str, Value]:
    return dict(payload or {})
