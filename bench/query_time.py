"""How long a person waits: `engine --help`, and one query as a whole process, beside the obvious way to ask it."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median

from measure import QUERY, Bench, Process, Row, engine, main, python
from photographs import described, indexed

from engine.checkpoint import BUNDLED, DEFAULT_MODEL

HELP_S = 0.15
QUERY_S = 0.6
TIMES_SLOWER = 10
OBVIOUS_RUNS = 3


def measure(bench: Bench) -> list[Row]:
    """Return the rows of help and query."""
    helped = _seconds(lambda: engine("--help"), bench.runs)
    store, obvious = indexed(bench), bench.work / "obvious-store"
    if not obvious.exists():
        export = bench.work / "export.jsonl"
        engine("export", export, "--vectors", "--store", store)
        python("obvious_query.py", "build", obvious, export)
        export.unlink()

    def ours() -> Process:
        return engine("query", QUERY, "--store", store, "--jsonl")

    def theirs() -> Process:
        return python("obvious_query.py", "ask", BUNDLED / DEFAULT_MODEL, obvious, QUERY)

    same = _agreement(ours(), theirs())  # also warms the disk cache for both
    slow = _seconds(theirs, min(OBVIOUS_RUNS, bench.runs), warm=False)
    fast = _seconds(ours, bench.runs, warm=False)
    ratio = median(slow) / median(fast)
    runs = f"{bench.runs} runs after a warm-up"
    return [
        Row(
            "`engine --help`",
            _times(helped),
            f"<= {HELP_S} s",
            median(helped) <= HELP_S,
            f"whole process, {runs}; the median counts",
            {"seconds": helped},
        ),
        Row(
            f'`engine query "{QUERY}"`',
            _times(fast),
            f"<= {QUERY_S} s",
            median(fast) <= QUERY_S,
            f"whole process, {runs}; the median counts; bundled checkpoint, Edge; {described(bench)}",
            {"seconds": fast},
        ),
        Row(
            "the same query the obvious way",
            f"{ratio:.1f} times slower ({_times(slow)})",
            f">= {TIMES_SLOWER} times",
            ratio >= TIMES_SLOWER,
            f"whole process, {len(slow)} runs after a warm-up: `SentenceTransformer` + `QdrantClient(path=...)` over "
            f"the same vectors and payloads (bench/obvious_query.py); {same} of the 10 hits are the same",
            {"seconds": slow, "ratio": ratio, "same_hits": same},
        ),
    ]


def _seconds(run: Callable[[], Process], runs: int, *, warm: bool = True) -> list[float]:
    if warm:
        run()
    return [run().seconds for _ in range(runs)]


def _times(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s (least {min(seconds):.2f})"


def _agreement(ours: Process, theirs: Process) -> int:
    """Return how many of the ten hits both ways found: that both do the same work."""
    ids = [{json.loads(line)["id"] for line in one.output.splitlines()} for one in (ours, theirs)]
    return len(ids[0] & ids[1])


if __name__ == "__main__":
    main(measure)
