"""What a running server tells of itself: how long each stage of an answer takes, and how requests ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds: a text embedding takes about 0.003, a search over 41,000 photographs about 0.002."""

REQUEST_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
"""Seconds: uploads over slow lines and a store that is slow to answer, too."""


class Stages:
    """Prometheus' view of one server; several servers in one process do not share it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            *("engine_stage_seconds", "Seconds per stage of an answer."),
            labelnames=["stage"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            *("engine_requests", "Requests by route and status."),
            labelnames=["route", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            *("engine_request_seconds", "Seconds per request, from its head to the end of its answer."),
            labelnames=["route"],
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge("engine_in_flight", "Requests that are being answered.", registry=self._registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent within as one observation of the stage ``name``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(name).observe(time.perf_counter() - started)

    def ended(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered; ``route`` is the path as declared, so that ids make no series.

        Or `refused`: not let in, whatever its address; or `other`: no route.
        """
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
