"""How far a training is: a bar with loss, rate and time left on a terminal, plain lines elsewhere, and TensorBoard."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.run import Progress


@contextmanager
def progress_of_learning(out: Path, *, tensorboard: bool) -> Iterator[Callable[[Progress], None]]:
    """Give what a run reports to: a bar on a terminal or plain lines, and TensorBoard's files if they are wanted."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(_bar()) if sys.stderr.isatty() else _plain_lines()]
        if tensorboard:
            from train.curves import tensorboard_log

            listeners.append(stack.enter_context(tensorboard_log(out / "tensorboard")))

        def report(progress: Progress) -> None:
            for listener in listeners:
                listener(progress)

        yield report


def _plain_lines() -> Callable[[Progress], None]:
    started, first, before = time.monotonic(), 0, 0

    def tell(progress: Progress) -> None:
        nonlocal started, first, before
        if not before or progress.step < before:  # a resumed run does not start at 1, the re-ranking's steps do
            started, first = time.monotonic(), progress.step
        before = progress.step
        if progress.validation is not None:
            print(_epoch_line(progress), file=sys.stderr, flush=True)
        elif progress.step % 10 == 0:
            left = (time.monotonic() - started) / (progress.step - first + 1) * (progress.steps - progress.step)
            print(
                f"step {progress.step} of {progress.steps}: loss {progress.loss:.3f}, "
                f"temperature {progress.temperature:.4f}, {progress.images_per_s:.0f} photographs/s, "
                f"{f'{progress.skipped} steps skipped, ' if progress.skipped else ''}"
                f"{left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )

    return tell


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar with loss, temperature, photographs a second and time left; the epochs stay above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        *(TextColumn("training"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[told]}"), TimeRemainingColumn()),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, told="")

        def tell(progress: Progress) -> None:
            if progress.validation is not None:
                bar.console.print(_epoch_line(progress), highlight=False)
                return
            told = f"loss {progress.loss:.3f}  temperature {progress.temperature:.4f}  {progress.images_per_s:.0f}/s"
            bar.update(task, completed=progress.step, total=progress.steps, told=told)

        yield tell


def _epoch_line(progress: Progress) -> str:
    marks = ", ".join(f"{name} {value:.4g}" for name, value in (progress.validation or {}).items())
    skipped = f"; {progress.skipped} steps gave no number and were skipped" if progress.skipped else ""
    return f"{progress.part and progress.part + ', '}epoch {progress.epoch:.0f}: {marks}{skipped}"
