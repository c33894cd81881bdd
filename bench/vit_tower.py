"""The image tower of a ViT-B/32 (random weights) on all cores, as it is and as a copy, beside eager float32."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from machine import cores, machine
from measure import Bench, Row, main
from photographs import photographs
from transformers import AutoModel
from vit_rate import large_checkpoint

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.encoder import Encoder, load_encoder
from ingest.sources.detect import open_source
from train import quantize
from train.fast_copy import fast_copy

TIMES_FASTER = 4.0
BATCH = 16
RUNS = 5


def measure(bench: Bench) -> list[Row]:
    """Return the rows of the tower alone: no file is read, no photograph decoded."""
    folder = large_checkpoint(bench)
    checkpoint = find_checkpoint(str(folder))
    spec, facts = checkpoint.preprocessing, machine()
    arithmetic = "bfloat16" if facts["native bfloat16"] == "yes" else "float32"
    integers = facts["native 8-bit products"]
    encoder, copy = (load_encoder(each, "cpu") for each in (checkpoint, _copy(checkpoint, bench)))
    count = 2 * BATCH * cores()
    pixels = np.random.default_rng(0).integers(0, 256, (count, spec.height, spec.width, 3)).astype(np.uint8)
    parts = [pixels[start : start + BATCH] for start in range(0, count, BATCH)]
    model, values = AutoModel.from_pretrained(folder).eval(), torch.rand(count, 3, spec.height, spec.width)

    def ours(encoder: Encoder) -> None:
        torch.set_num_threads(1)  # each thread of an ingest has a core of its own
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(encoder.encode_pixels, parts))

    def theirs() -> None:
        torch.set_num_threads(cores())
        with torch.inference_mode():
            model.get_image_features(pixel_values=values)

    each = (partial(ours, encoder), partial(ours, copy), theirs)
    times = [[_seconds(work) for work in each] for _ in range(RUNS + 1)][1:]  # the first warms up
    as_it_is, copied, eager = (count / statistics.median(column) for column in zip(*times, strict=True))
    how = (
        f"random weights, {count} photographs in memory, {cores()} threads with batches of {BATCH} beside one on "
        f"{cores()} threads; median of {RUNS}"
    )
    return [
        Row(
            f"image tower of ViT-B/32, {what}, beside eager float32",
            f"{rate / eager:.2f} times faster ({rate:.1f} against {eager:.1f} photographs/s)",
            f">= {TIMES_FASTER:g} times where 8-bit products are native (here: {integers})" if required else "",
            rate >= TIMES_FASTER * eager if required and integers == "yes" else None,
            how,
            {"rate": rate, "eager_rate": eager},
        )
        for what, rate, required in (
            (f"as it is ({arithmetic})", as_it_is, False),
            ("as `engine quantize` copies it", copied, True),
        )
    ]


def _copy(checkpoint: Checkpoint, bench: Bench) -> Checkpoint:
    """Return a copy in 8-bit integers, whatever it finds: of random weights that is chance."""
    quantize.MAX_LOSS = 1.0
    shutil.rmtree(bench.work / "copy", ignore_errors=True)
    return Checkpoint(fast_copy(checkpoint, [open_source(photographs(bench, 400))], bench.work / "copy").folder)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(measure)
