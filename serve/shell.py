"""The search page's own files, read once: they need neither store nor worker thread, so the page always comes."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from serve.content import Content

PAGE = Path(__file__).parent / "page"
ALWAYS_ASK = "no-cache"
"""Else a browser puts modules of two versions together after an upgrade; who has a file already gets a 304."""


def page_routes(app: FastAPI) -> None:
    """Let ``app`` answer with the page at `/`, and with what it is made of below `/page/`."""
    files = {
        path.name: Content.of(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")
        for path in PAGE.iterdir()
    }

    @app.get("/", include_in_schema=False)
    async def page(if_none_match: Annotated[str, Header()] = "") -> Response:
        return files["index.html"].answer(if_none_match, ALWAYS_ASK)

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
        if name not in files:
            raise HTTPException(404, f"the page has no file {name[:80]!r}")
        return files[name].answer(if_none_match, ALWAYS_ASK)
