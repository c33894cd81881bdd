"""The open store for other processes of this program: ingest, facets, status and the rest while the page is served.

`engine.store.remote.RemoteStore` is the other side. Not part of the public API: both sides are of one version.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.errors import UsageError
from engine.store.protocol import Store
from engine.store.wire import HEADER, READING, VERSION, WRITING, pack, unpack
from serve.messages import Asked
from serve.problems import logger
from serve.stages import Stages


class Call(Asked):
    """A call of one of the store's methods, its arguments packed by `engine.store.wire`."""

    arguments: list[Any]
    named: dict[str, Any]


def store_routes(app: FastAPI, store: Store, stages: Stages, *, writes: bool) -> None:
    """Let ``app`` answer calls of the store's methods; those that write only with ``writes``."""
    allowed = READING | WRITING if writes else READING

    @app.post("/v1/store/{operation}", include_in_schema=False)
    def call(
        operation: str,
        asked: Call,
        version: Annotated[str, Header(alias=HEADER)] = "",
        origin: Annotated[str, Header()] = "",
    ) -> JSONResponse:
        if origin:
            raise HTTPException(403, "no web page has business here")
        if version != VERSION:
            raise HTTPException(403, f"give the header {HEADER}: {VERSION}; caller and server must be of one version")
        if operation not in allowed:
            if operation in WRITING:
                raise HTTPException(403, "this server only reads: start it with --writes to write through it")
            raise HTTPException(404, f"a store has no call {operation!r}")
        try:
            arguments, named = unpack(asked.arguments), unpack(asked.named)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"the arguments of {operation} cannot be read: {type(error).__name__}") from error
        with stages.stage("store"):
            try:
                result = getattr(store, operation)(*arguments, **named)
            except (TypeError, AttributeError, ValueError, KeyError, RecursionError) as error:
                logger.exception("the store's %s failed", operation)  # it may be our fault
                raise UsageError(f"{operation} does not take these arguments: {type(error).__name__}") from error
        return JSONResponse({"result": pack(result)})
