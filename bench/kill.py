"""Kills an ingest at 50 random moments, runs it to its end, and compares with a run that was never killed.

    python bench/kill.py [--moments 50] [--drawings 600] [--seed 1]

Killed by SIGKILL, in half of the cases soon after the ledger has grown, in the others at any time. Prints what was
found; the exit code is 1 if ids, payloads or vectors (beyond 1e-5) differ.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np

from engine.records import Record
from engine.store.edge import EdgeStore

TOLERANCE = 1e-5


def main() -> int:
    """Kill, finish, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--drawings", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        home = Path(folder)
        photos = home / "look-book"
        subprocess.run(["engine", "sample", photos, "--count", str(options.drawings)], check=True, capture_output=True)
        spoil(photos)
        started = time.perf_counter()
        run_to_the_end(photos, home / "whole")
        whole_s = time.perf_counter() - started
        whole = contents(home / "whole")
        fates, differences = kill_often(photos, home, options.moments, whole_s, random.Random(options.seed), whole)
        print(
            f"kills: {sum(fates.values())} ({', '.join(f'{count} {fate}' for fate, count in sorted(fates.items()))})"
        )
        print(f"runs brought to their end and compared with the unkilled one: {len(differences)}")
        print(f"points: {len(whole)}; ids in one only, payloads that differ, largest difference in a vector:")
        for only, payloads, farthest in sorted(set(differences)):
            print(f"  {only}, {payloads}, {farthest:.1e}")
        equal = all(not only and not payloads and far <= TOLERANCE for only, payloads, far in differences)
        print("equal" if equal else "DIFFERENT")
        return 0 if equal else 1


def spoil(photos: Path) -> None:
    """Add exact copies and a broken file, so that the order of things matters."""
    images = sorted((photos / "images").glob("*.*"))
    for n, path in enumerate(images[::17]):
        shutil.copy(path, path.with_name(f"{'AZ'[n % 2]}-copy-{n:03}{path.suffix}"))
    (photos / "images" / "broken.jpg").write_bytes(images[0].read_bytes()[:200])


def command(photos: Path, store: Path) -> list[str]:
    """Return the command line of one ingest."""
    return ["engine", "ingest", str(photos), "--store", str(store), "--workers", "1", "--json"]


def run_to_the_end(photos: Path, store: Path) -> dict[str, int]:
    """Ingest and return the summary; 3 says that the broken file was noticed."""
    done = subprocess.run(command(photos, store), capture_output=True, text=True, check=False)
    if done.returncode != 3:
        sys.exit(f"exit code {done.returncode}: {done.stderr}")
    summary: dict[str, int] = json.loads(done.stdout)
    return summary


def kill_often(
    photos: Path, home: Path, moments: int, whole_s: float, chance: random.Random, whole: dict[str, Record]
) -> tuple[Counter[str], list[tuple[int, int, float]]]:
    """Kill, and whenever three kills have met one store, finish that, compare it, and begin with an empty one.

    Return what the kills met, and how each finished store differs from ``whole``.
    """
    fates: Counter[str] = Counter()
    differences = []
    store = home / "killed"
    for moment in range(moments):
        process = subprocess.Popen(command(photos, store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = rows(store)
        deadline = time.monotonic() + chance.uniform(0, whole_s)
        grown = moment % 2 == 0
        while process.poll() is None and not (rows(store) > before if grown else time.monotonic() > deadline):
            time.sleep(0.001)
        if grown:
            time.sleep(chance.uniform(0, 0.05))
        ended = process.poll() is not None
        process.kill()
        process.wait()
        after = rows(store)
        fates["after the end" if ended else "before the first photograph" if not after else "in the middle"] += 1
        if moment % 3 == 2 or moment == moments - 1:
            run_to_the_end(photos, store)
            differences.append(difference(whole, contents(store)))
            shutil.rmtree(store)
    return fates, differences


def difference(whole: dict[str, Record], killed: dict[str, Record]) -> tuple[int, int, float]:
    """Return how many ids are in one only, how many payloads differ, and the largest difference in a vector."""
    both = whole.keys() & killed.keys()
    payloads = sum(whole[id].payload != killed[id].payload for id in both)
    pairs = [(whole[id].vector, killed[id].vector) for id in both]
    far = max((float(np.abs(a - b).max()) for a, b in pairs if a is not None and b is not None), default=0.0)
    return len(whole.keys() ^ killed.keys()), payloads, far


def rows(store: Path) -> int:
    """Return how many files the ledger knows of."""
    ledger = store / "fashion" / "ledger.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM files").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def contents(store: Path) -> dict[str, Record]:
    """Return every point by id."""
    with EdgeStore(store, "fashion") as opened:
        records, _ = opened.scroll(limit=1_000_000, vectors=True)
    return {record.id: record for record in records}


if __name__ == "__main__":
    sys.exit(main())
