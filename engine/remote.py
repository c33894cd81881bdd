"""QUERY through a running `engine serve`: no checkpoint and no store in this process, one request a page."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from engine.errors import UsageError
from engine.records import Hit
from engine.search import Page, Query, check_numbers
from engine.store.remote import RemoteStore

PAGE = 1000
"""The most hits that the server gives at once."""
DEEPEST = 10_000
"""So many hits in all it gives for one query."""
LONGEST_SIDE = 1024
"""Pixels of a photograph that is sent; no tower sees more."""


def search_remotely(server: RemoteStore, query: Query, page: Page) -> tuple[list[Hit], dict[str, Any]]:
    """Return what `engine.search.search` would, and what the server says of it: ``tokens``, ``context`` and others.

    Raises:
        UsageError, FilterError: the server cannot mean what is asked for.
        StoreError: it cannot be reached, or its store refused.
    """
    check_numbers(query, page)
    last = page.offset + page.limit
    if last > DEEPEST:
        raise UsageError(f"a server gives the first {DEEPEST} hits, not {last}: lower --offset or -k")
    body = {
        "text": query.text,
        "unwanted": list(query.unwanted),
        "images": [_data_url(image) for image in query.images],
        "like": list(query.like),
        "unlike": list(query.unlike),
        "weights": {
            "text": query.text_weight,
            "images": query.image_weight,
            "like": query.like_weight,
            "unwanted": query.unwanted_weight,
        },
        "filter": page.filter,
        "limit": min(PAGE, last),
        "group_by": page.group_by,
        "min_score": page.min_score,
        "exact": page.exact,
        "rerank": page.rerank,
        "explain": True,
    }
    hits: list[Hit] = []
    while True:
        answer = server.post("/v1/search", body)
        hits += [_hit(entry) for entry in answer["hits"]]
        if len(hits) >= last or answer["next"] is None:
            return hits[page.offset : last], answer.get("explain") or {}
        body["cursor"] = answer["next"]


def _hit(entry: dict[str, Any]) -> Hit:
    return Hit(entry["point_id"], entry.get("score", 0.0), entry["payload"], entry.get("rerank_score"))


def _data_url(image: Image.Image) -> str:
    if max(image.size) > LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
