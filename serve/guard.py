"""Who may ask, how much, and how many at once: one ASGI layer around the application."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import problem
from serve.stages import Stages

OPEN_PATHS = ("/healthz", "/readyz")
"""Answered without a key and however busy the server is: who watches over it has to know."""
SHELL = ("/", "/page/")
"""The page itself holds no data; what it asks for needs the key."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Limits:
    """What one server takes upon itself. ``key``: what callers must show; None: only callers on this machine.

    ``origins``: web pages that may call from a browser (CORS). ``image_urls``: fetch photographs from addresses that
    callers name. ``writes``: other processes of this program may write to the store through the server.
    ``instance``: what the server calls itself, for those that look for the owner of a store.
    """

    key: str | None = None
    body_bytes: int = 20 * 1024 * 1024
    in_flight: int = 64
    origins: tuple[str, ...] = ()
    image_urls: bool = False
    writes: bool = True
    instance: str = ""


class Guard:
    """Wraps an ASGI application: API key, body size, number of requests at once, security headers, counting."""

    def __init__(self, app: ASGIApp, limits: Limits, stages: Stages) -> None:
        self._app, self._limits, self._stages = app, limits, stages
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["method"] == "HEAD":  # the answer of a GET, whose body the server that runs us leaves out
            scope = {**scope, "method": "GET"}
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_safely)
        else:
            self._running += 1
            self._stages.in_flight.set(self._running)
            try:
                await self._app(scope, self._counted(receive), send_safely)
            except asyncio.CancelledError:  # by the end of the server, which would log it with a traceback
                if status:
                    raise
                stopped = problem(503, "this server is being stopped: ask again when it is back", {"Retry-After": "1"})
                await stopped(scope, receive, send_safely)
            except Exception:
                self._stages.ended(_route(scope), status or 500)
                raise
            finally:
                self._running -= 1
                self._stages.in_flight.set(self._running)
        self._stages.ended(_route(scope), status)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in; None: it is."""
        path, headers = scope["path"], Headers(scope=scope)
        if path in OPEN_PATHS:
            return None
        if self._limits.key is None:
            name = (
                headers.get("host", "").rsplit(":", 1)[0] if headers.get("host", "")[-1:] != "]" else headers["host"]
            )
            if name not in LOCAL_NAMES:  # a foreign page that lets its own name point here (DNS rebinding)
                return problem(403, f"host {name!r} is not this machine: start the server with a key to be reached so")
        elif not (path == SHELL[0] or path.startswith(SHELL[1])) and not self._knows_key(headers):
            return problem(
                401, "give the API key: Authorization: Bearer KEY, or X-API-Key: KEY", {"WWW-Authenticate": "Bearer"}
            )
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            return problem(413, self._size_rule())
        if self._running >= self._limits.in_flight:
            return problem(429, "more requests than this server can answer: try again", {"Retry-After": "1"})
        return None

    def _knows_key(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode(errors="replace"), (self._limits.key or "").encode())

    def _size_rule(self) -> str:
        return f"the body may have {self._limits.body_bytes} bytes: send a smaller photograph"

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._limits.body_bytes:
                raise HTTPException(413, self._size_rule())
            return message

        return counted


def _route(scope: Scope) -> str:
    path: str = getattr(scope.get("route"), "path", "other")
    return path
