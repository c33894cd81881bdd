"""From plain Python to Qdrant Edge: filters in Qdrant's REST JSON, payload indexes, the shape of a shard.

Filters must have gone through `engine.filters.check_filter`: every condition is a list member with one test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import qdrant_edge as qe

from engine.errors import FilterError
from engine.records import FieldKind, FilterJSON
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME

# int8 codes, a graph with m=32, and rescoring twice as many candidates beat a float graph with m=16 on recall,
# latency and building time alike.
HNSW_M = 32
HNSW_EF_CONSTRUCT = 200
HNSW_EF = 128
FULL_SCAN_BELOW_KB = 200_000
"""Fewer vectors than that (200 000 of 256 dimensions), after the filter, are all compared by their codes and rescored:

this agrees with exact search, where the graph loses 4 to 7 % of the hits under a broad filter, and is as fast. A
collection that is smaller as a whole has no graph, whose building would take a seventh of an ingest.
"""
CODES_FROM_KB = 20_000
"""Fewer vectors than that (20 000 of 256 dimensions) are compared as they are, without codes."""
OVERSAMPLING = 2.0


def edge_config(dimension: int, patches: int, *, graph: bool = False) -> qe.EdgeConfig:
    """Return the configuration of a shard with one vector, its codes in memory, with a ``graph`` or without.

    ``patches``: their dimension, 0 for none; they have no graph, half precision, and stay on the disk until asked for.

    Codes that are only mapped would be read page by page at every opening: seconds on a slow disk, instead of 20 ms.
    """
    codes = qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=qe.Memory.Pinned)
    vectors = {
        VECTOR_NAME: qe.EdgeVectorParams(size=dimension, distance=qe.Distance.Cosine, quantization_config=codes)
    }
    if patches:
        vectors[PATCHES_NAME] = qe.EdgeVectorParams(
            size=patches,
            distance=qe.Distance.Cosine,
            multivector_config=qe.MultiVectorConfig(qe.MultiVectorComparator.MaxSim),
            hnsw_config=qe.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=FULL_SCAN_BELOW_KB),
            datatype=qe.VectorStorageDatatype.Float16,
            memory=qe.Memory.Cold,
        )
    return qe.EdgeConfig(
        vectors=vectors,
        hnsw_config=qe.HnswIndexConfig(
            m=HNSW_M if graph else 0, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=FULL_SCAN_BELOW_KB
        ),
        optimizers=qe.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=CODES_FROM_KB),
    )


def needs_graph(points: int, dimension: int) -> bool:
    """Say whether so many vectors are too many to compare with each query."""
    return points * dimension * 4 > FULL_SCAN_BELOW_KB * 1024


def search_params(exact: bool) -> qe.SearchParams:
    """Return how to search: the plain truth over every vector, or the graph with rescoring."""
    if exact:
        return qe.SearchParams(exact=True, quantization=qe.QuantizationSearchParams(ignore=True))
    rescoring = qe.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    return qe.SearchParams(hnsw_ef=HNSW_EF, quantization=rescoring)


def field_index(kind: FieldKind) -> Any:  # noqa: ANN401 - qdrant_edge has no common type of its index parameters
    """Return the payload index of a field; kept on disk, which halves the time to open a shard."""
    cold = qe.Memory.Cold
    match kind:
        case "keyword":
            return qe.KeywordIndexParams(memory=cold)
        case "integer":
            return qe.IntegerIndexParams(lookup=True, range=True, memory=cold)
        case "float":
            return qe.FloatIndexParams(memory=cold)
        case "bool":
            return qe.BoolIndexParams(memory=cold)
        case "datetime":
            return qe.DatetimeIndexParams(memory=cold)
        case "text":
            words = qe.TokenizerType.Word
            return qe.TextIndexParams(tokenizer=words, lowercase=True, phrase_matching=True, memory=cold)


def edge_filter(filter: FilterJSON | None) -> qe.Filter | None:
    """Turn a checked filter into Edge's; None stays None."""
    return _filter(filter) if filter else None


def _filter(filter: Mapping[str, Any]) -> qe.Filter:
    parts: dict[str, Any] = {
        name: [_condition(each) for each in filter[name]] for name in ("must", "should", "must_not") if name in filter
    }
    if "min_should" in filter:
        least = filter["min_should"]
        parts["min_should"] = qe.MinShould([_condition(each) for each in least["conditions"]], least["min_count"])
    return qe.Filter(**parts)


def _condition(condition: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any of six classes
    match condition:
        case {"key": key, "match": test}:
            return qe.FieldCondition(key, match=_match(test))
        case {"key": key, "range": bounds}:
            dated = any(isinstance(bound, str) for bound in bounds.values())
            return qe.FieldCondition(key, range=(qe.RangeDateTime if dated else qe.RangeFloat)(**bounds))
        case {"key": key, "values_count": bounds}:
            return qe.FieldCondition(key, values_count=qe.ValuesCount(**bounds))
        case {"is_empty": {"key": key}}:
            return qe.IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return qe.IsNullCondition(key)
        case {"has_id": ids}:
            return qe.HasIdCondition(set(ids))
        case {"nested": {"key": key, "filter": inner}}:
            return qe.NestedCondition(key.removesuffix("[]"), _filter(inner))
        case _ if not set(condition) - {"must", "should", "must_not", "min_should"}:
            return _filter(condition)
    raise FilterError(f"cannot search with the condition {dict(condition)!r}")


def _match(match: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any of six classes
    ((how, value),) = match.items()
    match how:
        case "value":
            # Edge 0.9 takes a Python bool for an integer and finds nothing; numpy's bool reaches it as a bool.
            exact: Any = np.bool_(value) if isinstance(value, bool) else value
            return qe.MatchValue(exact)
        case "any":
            return qe.MatchAny(value)
        case "except":
            return qe.MatchExcept(value)
        case "text":
            return qe.MatchText(value)
        case "text_any":
            return qe.MatchTextAny(value)
        case "phrase":
            return qe.MatchPhrase(value)
    raise FilterError(f"cannot match with {how!r}")
