"""What watches over a server may ask however busy it is: no answer here waits for one of the worker threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from engine.encoder import Encoder
from engine.errors import EngineError, StoreUnavailable
from engine.passport import check_fingerprint, check_golden_texts
from engine.store.protocol import Store
from serve.answers import Alive, Ready
from serve.openapi import NO_KEY
from serve.stages import Stages

READY_WITHIN_S = 2.0
"""Those who ask give up after a few seconds themselves."""


def watch_routes(app: FastAPI, store: Store, encoder: Encoder, stages: Stages, instance: str) -> None:
    """Let ``app`` say whether it lives, whether it can answer searches, and what it counted."""
    readiness = Readiness(store, encoder)

    @app.get("/healthz", response_model=Alive, tags=["watch"], openapi_extra=NO_KEY)
    async def healthz() -> JSONResponse:
        """Say that the process lives, and what it calls itself."""
        return JSONResponse({"status": "ok", "instance": instance})

    @app.get("/readyz", response_model=Ready, tags=["watch"], openapi_extra=NO_KEY)
    async def readyz() -> JSONResponse:
        """Say whether searches can be answered: the store can be reached and was made by this very model."""
        try:
            return JSONResponse(await readiness.within(READY_WITHIN_S))
        except EngineError as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error

    @app.get("/metrics", tags=["watch"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and histograms for Prometheus."""
        return Response(stages.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


class Readiness:
    """Checks in a thread of its own whether searches can be answered; all who ask meanwhile share the outcome."""

    def __init__(self, store: Store, encoder: Encoder) -> None:
        self._store, self._encoder = store, encoder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._checking: Future[dict[str, Any]] | None = None

    async def within(self, seconds: float) -> dict[str, Any]:
        """Return what makes it ready.

        Raises:
            StoreUnavailable: the store has not said yes by then; the check goes on.
            EngineError: it is not ready, and why.
        """
        if self._checking is None or self._checking.done():
            self._checking = self._thread.submit(self._check)
        checking = asyncio.wrap_future(self._checking)
        await asyncio.wait([checking], timeout=seconds)  # which cancels nothing
        if not checking.done():
            raise StoreUnavailable(f"the store has not answered within {seconds:g} s")
        return checking.result()

    def _check(self) -> dict[str, Any]:
        points, passport = self._store.count(), self._store.spec().passport
        check_fingerprint(passport, self._encoder.checkpoint)
        check_golden_texts(passport, self._encoder)
        return {"status": "ready", "points": points, "checkpoint": self._encoder.checkpoint.fingerprint[:12]}
