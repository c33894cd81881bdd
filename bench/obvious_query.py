"""One text query the obvious way: sentence-transformers, and qdrant-client in local mode.

    obvious_query.py build STORE EXPORT.jsonl
    obvious_query.py ask CHECKPOINT STORE "long sleeve denim"

`build` takes the file of `engine export --vectors`, so that both stores hold the same vectors and payloads.
"""

from __future__ import annotations

import json
import sys

from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

COLLECTION = "fashion"
BATCH = 1000


def build(store: str, export: str) -> None:
    """Put the exported vectors and payloads into a local collection."""
    client = QdrantClient(path=store)
    points = []
    with open(export, encoding="utf-8") as lines:  # noqa: PTH123 - as anyone would write it
        for row in map(json.loads, lines):
            vector, key = row.pop("vector"), row.pop("point_id")
            points.append(PointStruct(id=key, vector=vector, payload=row))
    size = len(points[0].vector)  # type: ignore[arg-type]
    client.create_collection(COLLECTION, vectors_config=VectorParams(size=size, distance=Distance.COSINE))
    for start in range(0, len(points), BATCH):
        client.upsert(COLLECTION, points[start : start + BATCH])
    client.close()


def ask(checkpoint: str, store: str, text: str) -> None:
    """Print the ten best hits."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(checkpoint)
    client = QdrantClient(path=store)
    found = client.query_points(COLLECTION, query=model.encode(text), limit=10)
    for point in found.points:
        print(json.dumps({"id": (point.payload or {}).get("item_id"), "score": point.score}))
    client.close()


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(*sys.argv[2:])
    else:
        ask(*sys.argv[2:])
