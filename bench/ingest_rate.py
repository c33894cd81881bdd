"""Ingest end to end: its rate beside what the cores can do, running again, and the peak of memory."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import cores
from measure import Bench, Process, Row, engine, main, python
from photographs import count, described, photographs

RATIO = 0.9
AGAIN = 1 / 50
PEAK_GIB = 1.5
GROWTH = 0.15
SAMPLE = 1500
"""Photographs whose decoding and encoding are measured alone."""


def measure(bench: Bench) -> list[Row]:
    """Return the rows of rate, running again and memory; leaves the store for the benchmarks that search it."""
    folder = photographs(bench)
    total = count(folder)
    quarter = photographs(bench, max(1, total // 4))
    shutil.rmtree(bench.work / "store", ignore_errors=True)
    before = _ceiling(folder)
    first = _ingest(folder, bench.work / "store")
    after = _ceiling(folder)
    crowded = _ceiling_of_all_cores(folder)
    again = _ingest(folder, bench.work / "store")
    small = _ingest(quarter, bench.work / "store-of-a-quarter")
    shutil.rmtree(bench.work / "store-of-a-quarter")
    _check(again, unchanged=total)
    return [
        *_rate_rows(bench, total, first, (before, after), crowded),
        Row(
            "ingest again, nothing changed",
            f"1/{first.seconds / again.seconds:.0f} of the first time ({again.seconds:.2f} s)",
            f"<= 1/{1 / AGAIN:.0f}",
            again.seconds <= AGAIN * first.seconds,
            f"both as whole processes; the first took {first.seconds:.1f} s; {described(bench)}",
            {"first_s": first.seconds, "again_s": again.seconds},
        ),
        Row(
            "peak memory of ingest",
            f"{first.peak_bytes / 2**30:.2f} GiB",
            f"< {PEAK_GIB} GiB",
            first.peak_bytes < PEAK_GIB * 2**30,
            f"greatest resident set of the whole process; {described(bench)}",
            {"peak_bytes": first.peak_bytes},
        ),
        Row(
            "peak memory, all against a quarter",
            f"{first.peak_bytes / small.peak_bytes - 1:+.1%}",
            f"within {GROWTH:.0%}",
            abs(first.peak_bytes / small.peak_bytes - 1) <= GROWTH,
            f"as above; a quarter ({count(quarter)} photographs) took {small.peak_bytes / 2**30:.2f} GiB",
            {"all_bytes": first.peak_bytes, "quarter_bytes": small.peak_bytes},
        ),
    ]


def _rate_rows(
    bench: Bench, total: int, first: Process, alone: tuple[dict[str, float], ...], crowded: float
) -> list[Row]:
    rate = total / first.seconds
    decode_ms, encode_ms = (sum(one[key] for one in alone) / len(alone) for key in ("decode_ms", "encode_ms"))
    possible = cores() * 1000 / (decode_ms + encode_ms)
    values = {"rate": rate, "decode_ms": decode_ms, "encode_ms": encode_ms, "cores": cores(), "possible": possible}
    return [
        Row(
            "ingest end to end",
            f"{rate:.0f} photographs/s, {rate / possible:.2f} of what {cores()} cores can do",
            f">= {RATIO}",
            rate >= RATIO * possible,
            f"whole process; decoding alone takes {decode_ms:.2f} ms, encoding alone {encode_ms:.2f} ms a photograph "
            f"on one core (mean of before and after the ingest): {possible:.0f}/s at most; {described(bench)}",
            values,
        ),
        Row(
            "the same, beside all cores at once",
            f"{rate / crowded:.2f}",
            "-",
            None,
            f"decoding and encoding alone, in {cores()} processes at the same time: {crowded:.0f} photographs/s",
            {"possible_together": crowded},
        ),
    ]


def _ingest(folder: Path, store: Path) -> Process:
    return engine("ingest", folder, "--store", store, "--json")


def _ceiling(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(python("ceiling.py", folder, str(SAMPLE)).output)
    return found


def _ceiling_of_all_cores(folder: Path) -> float:
    """Return photographs/s of as many processes as there are cores: they share caches and clock."""
    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(_ceiling, [folder] * cores()))
    return sum(1000 / (one["decode_ms"] + one["encode_ms"]) for one in found)


def _check(ingested: Process, *, unchanged: int) -> None:
    """Raise RuntimeError unless the second run found everything in place: what is timed must be the real thing."""
    summary = json.loads(ingested.output)
    if summary["unchanged"] != unchanged:
        raise RuntimeError(f"{unchanged} photographs should be unchanged, not {summary['unchanged']}")


if __name__ == "__main__":
    main(measure)
