"""Ingest the obvious way: sentence-transformers over a list of pictures, then qdrant-client in local mode.

obvious_ingest.py CHECKPOINT FOLDER STORE
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from PIL import Image
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams
from sentence_transformers import SentenceTransformer


def ingest(checkpoint: str, folder: str, store: str) -> None:
    """Embed every photograph of the folder and put it into a local collection."""
    paths = sorted((Path(folder) / "images").glob("*.jpg"))
    model = SentenceTransformer(checkpoint)
    vectors = model.encode([Image.open(path) for path in paths])
    client = QdrantClient(path=store)
    client.create_collection("fashion", vectors_config=VectorParams(size=vectors.shape[1], distance=Distance.COSINE))
    points = [
        PointStruct(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, path.name)), vector=vector.tolist(), payload={"uri": str(path)}
        )
        for path, vector in zip(paths, vectors, strict=True)
    ]
    client.upsert("fashion", points)
    client.close()
    print(len(points))


if __name__ == "__main__":
    ingest(*sys.argv[1:])
