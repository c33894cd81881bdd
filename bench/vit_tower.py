"""The image tower of a ViT-B/32 (random weights) on all cores, as an ingest runs it, beside eager float32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from machine import cores, machine
from measure import Bench, Row, main
from transformers import AutoModel
from vit_rate import large_checkpoint

from engine.checkpoint import find_checkpoint
from engine.encoder import load_encoder

TIMES_FASTER = 4.0
BATCH = 16
RUNS = 5


def measure(bench: Bench) -> list[Row]:
    """Return the row of the tower alone: no file is read, no photograph decoded."""
    folder = large_checkpoint(bench)
    checkpoint = find_checkpoint(str(folder))
    encoder, spec = load_encoder(checkpoint, "cpu"), checkpoint.preprocessing
    count = 2 * BATCH * cores()
    pixels = np.random.default_rng(0).integers(0, 256, (count, spec.height, spec.width, 3)).astype(np.uint8)
    parts = [pixels[start : start + BATCH] for start in range(0, count, BATCH)]
    model, values = AutoModel.from_pretrained(folder).eval(), torch.rand(count, 3, spec.height, spec.width)

    def ours() -> None:
        torch.set_num_threads(1)  # each thread of an ingest has a core of its own
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(encoder.encode_pixels, parts))

    def theirs() -> None:
        torch.set_num_threads(cores())
        with torch.inference_mode():
            model.get_image_features(pixel_values=values)

    times = [(_seconds(ours), _seconds(theirs)) for _ in range(RUNS + 1)][1:]  # the first warms up
    native = machine()["native bfloat16"]
    fast, slow = (count / statistics.median(column) for column in zip(*times, strict=True))
    return [
        Row(
            "image tower of ViT-B/32, beside eager float32",
            f"{fast / slow:.2f} times faster ({fast:.1f} against {slow:.1f} photographs/s)",
            f">= {TIMES_FASTER:g} times where bfloat16 is native (here: {'yes' if native else 'no'})",
            fast >= TIMES_FASTER * slow if native else None,
            f"random weights, {count} photographs in memory, {cores()} threads with batches of {BATCH} beside one "
            f"batch on {cores()} threads; median of {RUNS}",
            {"rate": fast, "eager_rate": slow},
        )
    ]


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(measure)
