"""Calls to a server: tried again while that can help, and their failures in our own words.

Qdrant's client gives up on a 503 after 50 ms, and waits for ever on a 429; here both back off exponentially, with
jitter and a deadline. Failures are told apart by what they carry, so that this module needs no client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina

from engine.errors import EngineError, StoreError, StoreFull, StoreMissing, StoreUnavailable

Answer = TypeVar("Answer")

stamina.instrumentation.set_on_retry_hooks([])  # it would write a line that says nothing to a user
RETRY_FOR_S = 60.0
TRANSIENT = (429, 502, 503, 504)
_TRANSIENT_GRPC = {"UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "RESOURCE_EXHAUSTED": 429}
_STATUS_OF_GRPC = {**_TRANSIENT_GRPC, "NOT_FOUND": 404, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
_FULL = ("no space left", "not enough space", "insufficient storage", "disk full")


class Caller:
    """Makes the calls of one store; every one must be safe to repeat.

    ``where`` and ``name`` name the server in messages, ``otherwise`` is how to do without it, ``variable`` what gives
    the key. A server that never answered is not waited for.
    """

    def __init__(
        self,
        where: str,
        *,
        retry_for_s: float = RETRY_FOR_S,
        secret: str | None = None,
        name: str = "Qdrant",
        otherwise: str = "name another store",
        variable: str = "QDRANT_API_KEY",
    ) -> None:
        self._server = f"{name} at {where}"
        self._otherwise, self._variable = otherwise, variable
        self._retry_for_s = retry_for_s
        self._secret = secret
        self._met = False

    def __call__(self, function: Callable[[], Answer]) -> Answer:
        """Return what ``function`` returns.

        Raises:
            StoreUnavailable: no answer, or none but "later" until the deadline.
            StoreMissing, StoreFull, StoreError: what the server said.
        """
        try:
            for attempt in stamina.retry_context(
                on=self._again,
                attempts=None,
                timeout=self._retry_for_s,
                wait_initial=0.2,
                wait_max=8.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    answer = function()
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - the client's own, httpx's, grpc's and pydantic's errors share no parent
            raise self._translated(error) from (None if self._leaks(error) else error)
        self._met = True
        return answer

    def _again(self, error: Exception) -> bool | float:
        """Say whether to try again, or after how many seconds when the server asked for some."""
        wait = getattr(error, "retry_after_s", None)
        if wait is not None:
            return max(0.2, float(wait)) if wait <= self._retry_for_s else False
        status = _status(error)
        if status is None:
            return self._met and _network(error)
        return status in TRANSIENT

    def _translated(self, error: Exception) -> StoreError:
        status, text = _status(error), self._text(error)
        if status in TRANSIENT:
            return StoreUnavailable(f"{self._server} kept refusing ({status}: {text}): try again later")
        if status == 507 or any(words in text.lower() for words in _FULL):
            return StoreFull(f"the disk of {self._server} is full: {text}")
        if status in (401, 403):
            given = "does not accept the API key" if self._secret else "asks for an API key"
            return StoreError(f"{self._server} {given} ({status}): set {self._variable}")
        if status == 404 or (status is None and "not found" in text.lower()):
            return StoreMissing(f"{self._server}: {text}")
        if status is not None:
            return StoreError(f"{self._server} refused ({status}): {text}")
        if _network(error):
            late = "timed out" in text.lower() or "timeout" in type(_source(error)).__name__.lower()
            if late or self._met:
                return StoreUnavailable(f"{self._server} does not answer: {text}; try again later")
            return StoreUnavailable(f"no {self._server} ({text}): start it, or {self._otherwise}")
        return StoreError(f"{self._server}: {text}")

    def _text(self, error: Exception) -> str:
        """Return what went wrong, on one line and without the key."""
        content = getattr(error, "content", None)
        text = content.decode(errors="replace") if isinstance(content, bytes) else str(_source(error))
        if isinstance(content, bytes):
            try:
                said = error.structured()["status"]["error"]  # type: ignore[attr-defined]
                text = str(said)
            except (ValueError, KeyError, TypeError, AttributeError):
                pass
        details = getattr(error, "details", None)
        if callable(details):
            text = str(details())
        text = " ".join(text.split())[:300] or "without a word: is this the address of its API?"
        return text.replace(self._secret, "***") if self._secret else text

    def _leaks(self, error: Exception) -> bool:
        return bool(self._secret) and str(self._secret) in f"{error}{error!r}{_source(error)}"


def _status(error: Exception) -> int | None:
    """Return the HTTP status of a failure; those of gRPC in HTTP's numbers."""
    if getattr(error, "retry_after_s", None) is not None:
        return 429
    code = getattr(error, "code", None)
    if callable(code) and hasattr(code(), "name"):
        return _STATUS_OF_GRPC.get(code().name, 400)
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _source(error: Exception) -> Exception:
    """Return what the client wrapped."""
    source = getattr(error, "source", None)
    return source if isinstance(source, Exception) else error


def _network(error: Exception) -> bool:
    """Say whether the network failed, and not what came over it."""
    return isinstance(_source(error), OSError) or type(_source(error)).__module__.split(".")[0] in (
        "httpx",
        "httpcore",
    )
