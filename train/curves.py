"""The curves of a run: drawn from its log, and for TensorBoard while it lasts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import UsageError
from train.run import Progress


def draw_curves(log: Path, target: Path) -> None:
    """Draw loss, temperature and validation of a run's `log.jsonl` over the epochs, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [entry for entry in entries if entry["validation"] is None and entry["loss"] is not None]
    ends = [entry for entry in entries if entry["validation"]]
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    left.plot([entry["epoch"] for entry in steps], [entry["loss"] for entry in steps], linewidth=0.6)
    left.set(title="loss", xlabel="epoch")
    middle.plot([entry["epoch"] for entry in steps], [entry["temperature"] for entry in steps], linewidth=1)
    middle.set(title="temperature", xlabel="epoch")
    for mark in ("hit@1", "hit@10", "mrr"):
        points = [(entry["epoch"], entry["validation"][mark]) for entry in ends if mark in entry["validation"]]
        right.plot(*zip(*points, strict=True) if points else ([], []), marker=".", label=mark)
    right.set(title="validation", xlabel="epoch", ylim=(0, None))
    right.legend()
    figure.savefig(target, dpi=110)
    pyplot.close(figure)


@contextmanager
def tensorboard_log(folder: Path) -> Iterator[Callable[[Progress], None]]:
    """Give a listener to a run's progress that writes TensorBoard's event files into ``folder``.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError(
            "--tensorboard needs an extra: pip install '.[tensorboard]' in this program's source folder"
        ) from None
    with SummaryWriter(str(folder)) as writer:

        def tell(progress: Progress) -> None:
            figures = progress.validation or {
                "loss": progress.loss,
                "temperature": progress.temperature,
                "photographs a second": progress.images_per_s,
            }
            kind = "validation" if progress.validation else "training"
            for name, value in figures.items():
                writer.add_scalar(f"{kind}/{name}", value, progress.step)

        yield tell
