"""What the document of the API says beyond its routes: how callers show the key, and how every failure is told."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serve.answers import Problem

PLACE = "#/components/schemas/{model}"
KEY = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The server's key."},
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
NO_KEY: dict[str, Any] = {"security": []}
"""For a route that everybody may ask."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": PLACE.format(model=Problem.__name__)}}},
    }
    for status, description in (
        (400, "What was asked for cannot be meant"),
        (401, "The key is missing or wrong"),
        (403, "Without a key only this machine is served"),
        (404, "There is no such thing"),
        (405, "The address knows other methods: see Allow"),
        (408, "The body came too slowly"),
        (413, "The body is too large"),
        (422, "A value of the wrong form"),
        (429, "Too many requests at once: try again after Retry-After seconds"),
        (500, "A bug of the server: its log has the details"),
        (503, "The store or the model cannot answer now: try again after Retry-After seconds"),
    )
}
"""What every route may answer instead."""


def bytes_of(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that gives bytes with an ETag."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}
    return {
        200: {"description": "The photograph", "content": content},
        304: {"description": "It is as If-None-Match says"},
    }


def complete(app: FastAPI, *, keyed: bool) -> None:
    """Add to the document of ``app``, whose routes are all there, what FastAPI does not know."""
    document = app.openapi()
    components = document["components"]
    problem = Problem.model_json_schema(ref_template=PLACE)
    components["schemas"] |= problem.pop("$defs") | {Problem.__name__: problem}
    components["securitySchemes"] = KEY
    document["security"] = [{name: []} for name in KEY] + ([] if keyed else [{}])
