"""Ingest with a large image tower (ViT-B/32, random weights), beside the obvious way to do it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from machine import cores, machine
from measure import Bench, Process, Row, engine, main, python
from photographs import count, photographs

TIMES_FASTER = 3.0
BATCH = 64
"""Photographs of which each core gets one batch, then four: the difference in time is that of embedding alone."""


def large_checkpoint(bench: Bench, *, tiny: bool = False) -> Path:
    """Return a ViT-B/32 with random weights; make it if that has not been done."""
    folder = bench.work / "vit-b-32"
    if not folder.exists():
        python("vit_folder.py", folder, *(["--tiny"] if tiny else []))
    return folder


def measure(bench: Bench) -> list[Row]:
    """Return the row of the large tower."""
    many = min(4 * BATCH * cores(), bench.photographs or 4 * BATCH * cores())
    few = many // 4
    checkpoint = large_checkpoint(bench, tiny=many < BATCH)
    folders = [photographs(bench, few), photographs(bench, many)]

    def ours(folder: Path, store: Path) -> Process:
        return engine("ingest", folder, "--store", store, "--model", checkpoint)

    def theirs(folder: Path, store: Path) -> Process:
        return python("obvious_ingest.py", checkpoint, folder, store)

    fast, fast_s = _rate(ours, folders, bench.work / "vit-store")
    slow, slow_s = _rate(theirs, folders, bench.work / "vit-obvious-store")
    ratio = fast / slow if fast and slow else None
    bfloat16 = machine()["native bfloat16"]
    return [
        Row(
            "ingest with ViT-B/32, beside the obvious way",
            f"{ratio:.2f} times faster ({fast:.1f} against {slow:.1f} photographs/s)" if ratio else "drowned in noise",
            f">= {TIMES_FASTER:g} times where bfloat16 is native (here: {bfloat16})",
            (ratio or 0) >= TIMES_FASTER if bfloat16 == "yes" else None,
            f"random weights; ({count(folders[1])} - {count(folders[0])} photographs) over the difference of two "
            f"whole processes, so that starting does not count; with it {slow_s / fast_s:.2f} times; the obvious way: "
            "`SentenceTransformer.encode` of all pictures, `QdrantClient(path=...)` (bench/obvious_ingest.py)",
            {"rate": fast, "obvious_rate": slow, "ratio": ratio, "seconds": fast_s, "obvious_seconds": slow_s},
        )
    ]


def _rate(ingest: Callable[[Path, Path], Process], folders: list[Path], store: Path) -> tuple[float, float]:
    """Return photographs/s without the start, 0 if noise hides it; and the seconds for the larger folder."""
    seconds = []
    for folder in folders:
        shutil.rmtree(store, ignore_errors=True)
        seconds.append(ingest(folder, store).seconds)
    more = seconds[1] - seconds[0]
    return (count(folders[1]) - count(folders[0])) / more if more > 0.2 * seconds[1] else 0.0, seconds[1]


if __name__ == "__main__":
    main(measure)
