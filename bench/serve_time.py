"""How `engine serve` answers: one client, as many as it can sustain, and ten times that; load generator included."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import httpx
from measure import HERE, Bench, Row, main
from photographs import described, indexed

ONE_P50_MS, ONE_P99_MS = 12.0, 25.0
SUSTAINED_PER_S, SUSTAINED_P99_MS = 150.0, 400.0
CLIENTS, SUSTAINED_S = 32, 15
OVERLOAD, OVERLOAD_S = 10, 60
NORMAL_WITHIN_S = 2.0
MEMORY_GROWTH = 1.1
LIMIT = 24


@dataclass(frozen=True)
class Load:
    """What came of some clients who asked for some time: seconds of the answered, how many of each status."""

    seconds: list[float]
    statuses: Counter[int]
    took: float

    @property
    def per_s(self) -> float:
        """Answers with 200, each second."""
        return self.statuses[200] / self.took

    def percentile(self, percent: int) -> float:
        """Return so many per cent of the answers' milliseconds are below."""
        return 1000 * quantiles(self.seconds, n=100)[percent - 1]


def measure(bench: Bench) -> list[Row]:
    """Return the rows of a server on the collection, every query another one."""
    asked = queries()
    data = f"engine serve in a process of its own, k={LIMIT}, distinct queries; {described(bench)}"
    with served(indexed(bench)) as (address, pid):
        asyncio.run(load(address, asked, 1, 2))
        one = asyncio.run(load(address, asked, 1, 5))
        many = asyncio.run(load(address, asked, CLIENTS, SUSTAINED_S))
        before = _private_bytes(pid)
        flood = asyncio.run(load(address, asked, OVERLOAD * CLIENTS, OVERLOAD_S))
        after, ended = _private_bytes(pid), time.perf_counter()
        while (normal := asyncio.run(load(address, asked, 1, 0.2))).percentile(50) > ONE_P50_MS:
            if time.perf_counter() - ended > 10 * NORMAL_WITHIN_S:
                break
        again = time.perf_counter() - ended
    growth, refused = after / before, flood.statuses[429] / sum(flood.statuses.values())
    held = set(flood.statuses) <= {200, 429} and growth <= MEMORY_GROWTH and again <= NORMAL_WITHIN_S
    return [
        Row(
            "warm `GET /v1/search`, one client",
            f"p50 {one.percentile(50):.1f} ms, p99 {one.percentile(99):.1f} ms",
            f"p50 <= {ONE_P50_MS:g} ms, p99 <= {ONE_P99_MS:g} ms",
            one.percentile(50) <= ONE_P50_MS and one.percentile(99) <= ONE_P99_MS,
            f"{len(one.seconds)} requests; {data}",
            {"p50_ms": one.percentile(50), "p99_ms": one.percentile(99)},
        ),
        Row(
            f"sustained, {CLIENTS} clients",
            f"{many.per_s:.0f} requests/s, p99 {many.percentile(99):.0f} ms, {dict(many.statuses)}",
            f">= {SUSTAINED_PER_S:g} requests/s, no errors, p99 <= {SUSTAINED_P99_MS:g} ms",
            set(many.statuses) == {200} and many.per_s >= SUSTAINED_PER_S and many.percentile(99) <= SUSTAINED_P99_MS,
            f"{SUSTAINED_S} s on all cores, the clients beside it; {data}",
            {"per_s": many.per_s, "p99_ms": many.percentile(99)},
        ),
        Row(
            f"{OVERLOAD} times as many clients for {OVERLOAD_S} s",
            f"{dict(flood.statuses)}, {flood.per_s:.0f} answered/s, {refused:.0%} refused, memory x {growth:.2f}, "
            f"normal again after {again:.1f} s",
            f"only 200 and 429, memory <= x {MEMORY_GROWTH:g}, normal within {NORMAL_WITHIN_S:g} s",
            held,
            f"{OVERLOAD * CLIENTS} clients that ask again at once, refused or not; memory: RssAnon; "
            f"normal: p50 of one client <= {ONE_P50_MS:g} ms (last {normal.percentile(50):.1f} ms)",
            {"statuses": dict(flood.statuses), "growth": growth, "again_s": again},
        ),
    ]


async def load(address: str, queries: Iterator[str], clients: int, seconds: float) -> Load:
    """Let some clients ask for some seconds, each its next query as soon as it has its answer."""
    answered: list[float] = []
    statuses: Counter[int] = Counter()
    started = time.perf_counter()
    context = ssl.create_default_context()  # made once: it takes longer than all the rest of a client

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60, verify=context) as client:
            while time.perf_counter() - started < seconds:
                asked = time.perf_counter()
                answer = await client.get("/v1/search", params={"q": next(queries), "limit": LIMIT})
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    answered.append(time.perf_counter() - asked)

    await asyncio.gather(*(ask() for _ in range(clients)))
    return Load(answered, statuses, time.perf_counter() - started)


def queries() -> Iterator[str]:
    """Yield words that were never asked before: what a shopper types, and a number."""
    lines = (HERE / "queries.txt").read_text(encoding="utf-8").splitlines()
    return (f"{words} {number}" for number in itertools.count() for words in lines)


@contextmanager
def served(store: Path) -> Iterator[tuple[str, int]]:
    """Run `engine serve` over a store; give its address and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "engine.cli.main", "serve", "--store", str(store), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield _ready(f"http://127.0.0.1:{port}"), process.pid
    finally:
        process.terminate()
        process.wait()


def _ready(address: str, wait_s: float = 60) -> str:
    deadline = time.perf_counter() + wait_s
    while time.perf_counter() < deadline:
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return address
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"{address} did not become ready within {wait_s:g} s")


def _private_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("this system does not tell RssAnon")


if __name__ == "__main__":
    main(measure)
