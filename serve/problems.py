"""Errors as RFC 9457 `application/problem+json`: what a user sent never makes a 500."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from engine.errors import EngineError, ImageError, StoreError, UsageError

STATUS: tuple[tuple[type[EngineError], int], ...] = (
    (UsageError, 400),
    (ImageError, 400),
    (StoreError, 503),
    (EngineError, 503),
)
"""By kind of error, the first that fits."""
logger = logging.getLogger("engine.serve")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """Return an answer that says what is wrong and what to do next; ``more``: further members of the document."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, dict(headers or {}), "application/problem+json")


async def only_known(request: Request) -> None:
    """Refuse a parameter that the API's route does not know: a slip must not be a silence."""
    if not request.url.path.startswith("/v1/"):  # the page's own address is its state
        return
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    if unknown := [name for name in request.query_params if name not in known]:
        raise UsageError(f"{unknown[0][:80]!r} is no parameter here; these are: {', '.join(sorted(known)) or 'none'}")


def _methods(route: BaseRoute, scope: Scope) -> set[str]:
    """Return the methods by which ``route`` would answer at the address of ``scope``."""
    matches = route.matches(scope)[0] is not Match.NONE
    return set(getattr(route, "methods", None) or ()) if matches else set()


def handle_problems(app: FastAPI) -> None:
    """Let ``app`` answer every failure with a problem document; all async, so that none waits for a worker thread."""

    @app.exception_handler(EngineError)
    async def engine_error(request: Request, error: EngineError) -> Response:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        headers = {"Retry-After": "1"} if status == 503 else {}
        return problem(status, str(error), headers, kind=type(error).__name__)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
        return problem(422, f"{found[0]['where']}: {found[0]['what']}", errors=found)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allowed = {method for route in app.routes for method in _methods(route, request.scope)}
            known = ", ".join(sorted(allowed))
            return problem(405, f"this address knows {known}", {"Allow": known})
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "something went wrong here that we did not foresee; the log has the details")
