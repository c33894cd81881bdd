"""Ingests sixty hostile files among a thousand good ones and prints what became of each.

    python bench/hostile.py

The exit code is 1 if a good file is missing from the index, or a bad one is not named with a reason.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine.store.edge import EdgeStore

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile_files import hostile_folder, picture

GOOD = 1000


def main() -> int:
    """Make the files, ingest them, print."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        home = Path(folder)
        photos, report = home / "photos", home / "report.jsonl"
        good, bad = hostile_folder(photos)
        for number in range(GOOD - len(good)):
            name = f"good-{number:04}.jpg"
            picture(1000 + number).save(photos / name)
            good.add(name)
        started = time.perf_counter()
        done = subprocess.run(
            ["engine", "ingest", str(photos), "--store", str(home / "store"), "--report", str(report), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if done.returncode != 3:
            print(f"exit code {done.returncode} instead of 3: {done.stderr}")
            return 1
        problems = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
        with EdgeStore(home / "store", "fashion") as store:
            records, _ = store.scroll(limit=10_000)
        indexed = {str((record.payload or {})["uri"]) for record in records}
        named = {problem["uri"] for problem in problems}
        lost = {name for name in good if str(photos / name) not in indexed}
        silent = {name for name in bad if str(photos / name) not in named}
        for problem in sorted(problems, key=lambda problem: problem["uri"]):
            print(f"{problem['state']:<11}  {Path(problem['uri']).relative_to(photos)!s:<32}  {problem['reason']}")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        summary = json.loads(done.stdout)
        print(f"{len(good) - len(lost)} of {len(good)} good files indexed, {len(bad) - len(silent)} of {len(bad)} bad")
        print(f"files named with a reason; {summary['found']} found; {seconds:.1f} s, {peak} MB at the peak")
        if lost or silent:
            print(f"LOST: {sorted(lost)}; SILENT: {sorted(silent)}")
        return 1 if lost or silent else 0


if __name__ == "__main__":
    sys.exit(main())
