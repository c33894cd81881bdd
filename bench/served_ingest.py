"""Searching while an ingest writes: one embedded store, served, with 8 clients and 10,000 photographs on their way."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections import Counter

from measure import Bench, Process, Row, engine, main
from photographs import count, indexed, photographs
from serve_time import load, queries, served

CLIENTS = 8
INGESTED = 10_000
TIMES_IDLE = 10.0
STEP_S = 2.0


def measure(bench: Bench) -> list[Row]:
    """Return the row: what the clients waited for, with nothing else going on and during the ingest."""
    folder, asked = photographs(bench, min(INGESTED, max(1, count(photographs(bench)) // 2))), queries()
    store = bench.work / "store-while-served"
    shutil.copytree(indexed(bench), store)
    ids = [path.stem for path in (folder / "images").iterdir()]
    for start in range(0, len(ids), 2000):
        engine("delete", *ids[start : start + 2000], "--yes", "--store", store)
    with served(store) as (address, _):
        asyncio.run(load(address, asked, CLIENTS, STEP_S))
        idle = asyncio.run(load(address, asked, CLIENTS, 4 * STEP_S))
        done: list[Process] = []

        def ingest() -> None:
            done.append(engine("ingest", folder, "--store", store))

        thread = threading.Thread(target=ingest)
        thread.start()
        seconds: list[float] = []
        statuses: Counter[int] = Counter()
        while thread.is_alive():
            busy = asyncio.run(load(address, asked, CLIENTS, STEP_S))
            seconds += busy.seconds
            statuses += busy.statuses
        thread.join()
    shutil.rmtree(store)
    if not done:
        sys.exit("the ingest failed")
    seconds.sort()
    during, before = 1000 * seconds[int(0.99 * len(seconds))], idle.percentile(99)
    return [
        Row(
            f"ingest while {CLIENTS} clients search the same embedded store",
            f"{dict(statuses)}; p99 {during:.0f} ms, {during / before:.1f} times the {before:.0f} ms before; "
            f"ingest {done[0].seconds:.1f} s",
            f"0 failed, p99 < {TIMES_IDLE:g} times that of idle clients",
            set(statuses) == {200} and during < TIMES_IDLE * before,
            f"{done[0].output.splitlines()[0]}; `engine ingest` as a process of its own, through `engine serve`",
            {"during_p99_ms": during, "idle_p99_ms": before, "ingest_s": done[0].seconds},
        )
    ]


if __name__ == "__main__":
    main(measure)
