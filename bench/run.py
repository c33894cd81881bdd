"""Run the benchmarks on an otherwise idle machine and write one table of ratios, required and measured.

    python bench/run.py [--only NAME ...] [--out bench.md]

Each benchmark is a process of its own, and works in a folder that is deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from machine import machine
from measure import HERE, Bench, Row, add_options, python, run_process, table, working_folder
from photographs import described

NAMES = (
    "ingest_rate",
    "query_time",
    "search_time",
    "rerank_time",
    "vit_rate",
    "vit_tower",
    "train_rate",
    "serve_time",
    "served_ingest",
    "page_time",
)
CHECKS = {
    "fuzz": ("the API under generated requests (schemathesis)", 1),
    "hostile": ("ingest of a folder with hostile files", 2),
    "kill": ("ingest, killed at random moments and run again", 6),
}
"""Scripts that tell by their exit code whether a promise holds: which, and how many last lines sum up."""


def main() -> None:
    """Run what is asked for; exit code 1 if something that is required was not reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*NAMES, *CHECKS], default=[*NAMES, *CHECKS], metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("bench.md"), help="the table; beside it the same as .json")
    add_options(parser)
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where `engine` lies
    facts = machine()
    started = time.perf_counter()
    rows: list[Row] = []
    with working_folder(arguments.work) as work:
        bench = Bench(work, arguments.photographs, arguments.runs)
        facts["photographs"] = described(bench)
        for name in arguments.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += _rows(name, bench) if name in NAMES else _check(name)
    facts["took"] = f"{(time.perf_counter() - started) / 60:.1f} minutes"
    _write(arguments.out, facts, rows)
    print(table(rows))
    sys.exit(any(row.passed is False for row in rows))


def _rows(name: str, bench: Bench) -> list[Row]:
    options = ["--work", str(bench.work), "--photographs", str(bench.photographs), "--runs", str(bench.runs)]
    try:
        found = python(f"{name}.py", "--json", *options).output
    except RuntimeError as error:
        return [Row(name, "could not be measured", "-", False, _line(error))]
    return [Row(**row) for row in json.loads(found)]


def _check(name: str) -> list[Row]:
    script, (promise, lines) = HERE / f"{name}.py", CHECKS[name]
    if not script.exists():
        return []
    try:
        output = run_process(sys.executable, script).output.splitlines()
    except RuntimeError as error:
        return [Row(promise, "does not hold", "holds", False, _line(error))]
    return [Row(promise, "holds", "holds", True, f"bench/{name}.py: {_cell('; '.join(output[-lines:]))}")]


def _write(path: Path, facts: dict[str, str], rows: list[Row]) -> None:
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    path.write_text("\n".join(["# Benchmarks", "", *lines, "", table(rows), ""]), encoding="utf-8")
    content = {"about": facts, "rows": [asdict(row) for row in rows]}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _line(error: RuntimeError) -> str:
    """Return a failure on one line: the command and its last words."""
    first, *rest = str(error).splitlines()
    return _cell(f"{first}: {rest[-1]}" if rest else first)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    main()
