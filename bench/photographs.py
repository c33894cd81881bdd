"""The photographs that the benchmarks work on, and the collection that they search."""

from __future__ import annotations

import csv
import os
import shutil
from itertools import islice
from pathlib import Path

from measure import Bench, engine

VARIABLE = "FASHION_PRODUCTS_DIR"
DRAWN = 2000


def photographs(bench: Bench, limit: int = 0) -> Path:
    """Return a folder of at most ``limit`` photographs (0: as many as the benchmark is to have).

    They are the first ones of the catalogue in ``FASHION_PRODUCTS_DIR`` (styles.csv and images/), else of a drawn
    look-book.
    """
    catalogue = os.environ.get(VARIABLE)
    wanted = min(limit or bench.photographs, bench.photographs or limit)
    if catalogue and not wanted:
        return Path(catalogue)
    count = wanted or DRAWN
    folder = bench.work / f"photographs-{count}"
    if not folder.exists():
        if catalogue:
            _copy(Path(catalogue), folder, count)
        else:
            engine("sample", folder, "--count", str(count))
    return folder


def described(bench: Bench) -> str:
    """Say what the photographs are."""
    catalogue = os.environ.get(VARIABLE)
    kind = f"the catalogue in {VARIABLE}" if catalogue else "drawn look-book"
    return f"{kind}, {count(photographs(bench))} photographs"


def count(folder: Path) -> int:
    """Return how many photographs a folder of `photographs` holds."""
    return sum(1 for path in (folder / "images").iterdir() if path.suffix == ".jpg")


def indexed(bench: Bench) -> Path:
    """Return the store with all photographs, made with the bundled checkpoint where no benchmark has made it yet."""
    store = bench.work / "store"
    if not store.exists():
        engine("ingest", photographs(bench), "--store", store)
    return store


def _copy(catalogue: Path, folder: Path, wanted: int) -> None:
    images = folder / "images"
    images.mkdir(parents=True)
    with (catalogue / "styles.csv").open(encoding="utf-8", newline="") as table:
        lines = csv.reader(table)
        header = next(lines)
        rows = [row for row in islice(lines, wanted) if (catalogue / "images" / f"{row[0]}.jpg").exists()]
    for row in rows:
        shutil.copy2(catalogue / "images" / f"{row[0]}.jpg", images)
    with (folder / "styles.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([header, *rows])
