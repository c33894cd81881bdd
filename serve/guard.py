"""Who may ask, how much, and how many at once: one ASGI layer around the application."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import problem
from serve.stages import Stages

OPEN_PATHS = ("/healthz", "/readyz")
"""Answered to everybody, without a key: who watches over the server has to know."""
SHELL = re.compile("/|/page/.*", re.DOTALL)
"""The page itself holds no data; what it asks for needs the key."""
LIGHT_PATHS = (*OPEN_PATHS, "/metrics")
"""Answered however busy the server is, as the page is: these take no worker thread."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?", re.IGNORECASE)
BODY_WITHIN_S, BYTES_PER_S = 20.0, 50_000
"""A body has so long to come, and a second more for every so many bytes of it that have come."""
GONE = 499
"""nginx's status of a request whose caller left before it was answered."""


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
    """Wraps an ASGI application: API key, size and pace of bodies, number of requests at once, counting."""

    def __init__(self, app: ASGIApp, limits: Limits, stages: Stages) -> None:
        self._app, self._limits, self._stages = app, limits, stages
        self._running = self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, route, status = time.perf_counter(), "refused", 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if scope["method"] == "HEAD":  # the answer of a GET, whose body the server that runs us leaves out
            scope = {**scope, "method": "GET"}
        try:
            self._check(scope)
            async with self._whole_body(receive) as body:
                with self._at_work(scope["path"]):
                    try:
                        await self._app(scope, body, noted)
                    finally:
                        route = getattr(scope.get("route"), "path", "other")
        except HTTPException as error:
            await problem(error.status_code, error.detail, error.headers)(scope, receive, noted)
        except ClientDisconnect:
            status = GONE
        except asyncio.CancelledError:  # by the end of the server, which would log it with a traceback
            if status:
                raise
            stopped = problem(503, "this server is being stopped: ask again when it is back", {"Retry-After": "1"})
            await stopped(scope, receive, noted)
        except Exception:
            status = status or 500
            raise
        finally:
            self._stages.ended(route, status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        """Refuse by its head a request that is not let in. Raises: HTTPException."""
        path, headers = scope["path"], Headers(scope=scope)
        if path not in OPEN_PATHS:
            self._check_caller(path, headers)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body_bytes:
            raise self._too_large()
        self._check_room(path)

    def _check_caller(self, path: str, headers: Headers) -> None:
        if self._limits.key is None:
            host = headers.get("host", "")
            if not LOCAL_HOST.fullmatch(host):  # a foreign page that lets its own name point here (DNS rebinding)
                raise HTTPException(
                    403, f"host {host[:80]!r} is not this machine: start the server with a key to be reached so"
                )
        elif not SHELL.fullmatch(path) and not self._knows_key(headers):
            asked = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, "give the API key: Authorization: Bearer KEY, or X-API-Key: KEY", asked)

    def _knows_key(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode(errors="replace"), (self._limits.key or "").encode())

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body may have {self._limits.body_bytes} bytes: send a smaller photograph")

    @asynccontextmanager
    async def _whole_body(self, receive: Receive) -> AsyncIterator[Receive]:
        """Wait until all of a body has come, so that one that stalls takes nobody's place; give it to be received.

        What is held of all bodies together is never more than the requests that may be at work could hold.

        Raises:
            HTTPException: it comes too slowly, is too large, or more than can be held comes at once.
            ClientDisconnect: who sent it has left.
        """
        came: deque[Message] = deque()
        size, begun = 0, asyncio.get_running_loop().time()

        async def again() -> Message:
            return came.popleft() if came else await receive()

        try:
            while not came or came[-1].get("more_body"):
                try:
                    async with asyncio.timeout_at(begun + BODY_WITHIN_S + size / BYTES_PER_S):
                        message = await receive()
                except TimeoutError:
                    close = {"Connection": "close"}
                    raise HTTPException(408, "the body comes too slowly: send it again", close) from None
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = len(message.get("body", b""))
                size, self._held = size + part, self._held + part
                if size > self._limits.body_bytes:
                    raise self._too_large()
                if self._held > self._limits.in_flight * self._limits.body_bytes:
                    raise _busy()
                came.append(message)
            yield again
        finally:
            self._held -= size

    def _check_room(self, path: str) -> None:
        light = path in LIGHT_PATHS or SHELL.fullmatch(path)
        if not light and self._running >= self._limits.in_flight:
            raise _busy()

    @contextmanager
    def _at_work(self, path: str) -> Iterator[None]:
        """Count a request as one that is being answered. Raises: HTTPException 429."""
        self._check_room(path)
        self._running += 1
        self._stages.in_flight.set(self._running)
        try:
            yield
        finally:
            self._running -= 1
            self._stages.in_flight.set(self._running)


def _busy() -> HTTPException:
    return HTTPException(429, "more requests than this server can answer: try again", {"Retry-After": "1"})


def with_security_headers(app: ASGIApp) -> ASGIApp:
    """Return ``app`` with the headers that keep foreign scripts and frames out, on every answer."""

    async def safe(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, send_safely)

    return safe
