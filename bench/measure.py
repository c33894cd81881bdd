"""What the benchmarks share: timing of whole processes, and the table of results.

Standard library only: a child's peak memory counts from that of the process which started it, so that one stays small.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUERY = "long sleeve denim"


@dataclass(frozen=True)
class Row:
    """One line of the table. ``passed`` is None where nothing is required. ``values``: the bare numbers."""

    what: str
    figure: str
    required: str
    passed: bool | None
    how: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """Where a benchmark works, on how many photographs at most (0: all there are), and how often it repeats."""

    work: Path
    photographs: int = 0
    runs: int = 7


@dataclass(frozen=True)
class Process:
    """A process that has ended: wall-clock seconds from start to end, peak memory in bytes, and what it printed."""

    seconds: float
    peak_bytes: int
    output: str


def run_process(*arguments: str | Path) -> Process:
    """Run a command from start to end; raises RuntimeError with its last words if it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as talk:
        started = time.perf_counter()
        child = subprocess.Popen([str(argument) for argument in arguments], stdout=out, stderr=talk)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        if child.returncode:
            words = (out.read() + talk.read())[-2000:]
            raise RuntimeError(f"{' '.join(map(str, arguments))}: exit code {child.returncode}\n{words}")
        unit = 1 if sys.platform == "darwin" else 1024
        return Process(seconds, usage.ru_maxrss * unit, out.read())


def engine(*arguments: str | Path) -> Process:
    """Run the program `engine` of this Python's environment."""
    script = Path(sys.executable).with_name("engine")
    program = [script] if script.exists() else [sys.executable, "-m", "engine.cli.main"]
    return run_process(*program, *arguments)


def python(script: str, *arguments: str | Path) -> Process:
    """Run one of the scripts beside this one in a process of its own."""
    return run_process(sys.executable, HERE / script, *arguments)


def main(measure: Callable[[Bench], list[Row]]) -> None:
    """Run one benchmark as a script of its own: print its table, or with ``--json`` its rows."""
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    with working_folder(arguments.work) as work:
        rows = measure(Bench(work, arguments.photographs, arguments.runs))
    print(json.dumps([asdict(row) for row in rows]) if arguments.json else table(rows))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every benchmark has."""
    parser.add_argument("--work", type=Path, help="folder to work in and to leave there; default: a temporary one")
    parser.add_argument("--photographs", type=int, default=0, help="at most so many; default: all")
    parser.add_argument("--runs", type=int, default=7, help="runs of whose times the median counts")


@contextmanager
def working_folder(folder: Path | None) -> Iterator[Path]:
    """Give ``folder``, or a temporary one that is deleted afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="engine-bench-") as temporary:
        yield Path(temporary)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    words = {True: "pass", False: "**fail**", None: "-"}
    lines = ["| what | figure | required | verdict | how measured |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.figure} | {row.required} | {words[row.passed]} | {row.how} |" for row in rows]
    return "\n".join(lines)
