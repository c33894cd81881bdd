"""How far an ingest is: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.summary import Summary

PLAIN_EVERY_S = 10.0
LAST_STEP = "making searches fast"
"""What follows the last photograph: the store's codes or graph, minutes for some 300,000 photographs."""


@contextmanager
def progress_of_ingest() -> Iterator[Callable[[Summary, int], None]]:
    """Give a function that is told the summary so far and the number of entries in all, and shows them on stderr."""
    if not sys.stderr.isatty():
        yield _plain_lines(time.monotonic())
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[rate]:.0f}/s"), TimeRemainingColumn()),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("embedding", total=None, rate=0.0)

        def tell(summary: Summary, total: int) -> None:
            bar.update(task, completed=summary.accounted, total=total, rate=_rate(summary, started))
            if summary.accounted == total:  # shown at once: no other thread runs during what comes now
                bar.update(task, description=LAST_STEP, refresh=True)

        yield tell


def _plain_lines(started: float) -> Callable[[Summary, int], None]:
    last = started

    def tell(summary: Summary, total: int) -> None:
        nonlocal last
        now, all_done = time.monotonic(), summary.accounted == total
        if now - last >= PLAIN_EVERY_S or (all_done and last > started):
            last = now
            line = f"{summary.accounted} of {total} entries, {_rate(summary, started):.0f} a second"
            print(f"{line}; {LAST_STEP}" if all_done else line, file=sys.stderr, flush=True)

    return tell


def _rate(summary: Summary, started: float) -> float:
    return (summary.accounted - summary.unchanged) / max(1e-3, time.monotonic() - started)
