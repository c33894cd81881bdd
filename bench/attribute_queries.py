"""Attribute queries: what share of the first 10 photographs has the colour, the usage ... that was asked for.

    python bench/attribute_queries.py CATALOGUE colour usage article_type
    python bench/attribute_queries.py USERS-PHOTOGRAPHS label --gallery test

Each query is the values of one held-out item (blue casual shirts), asked of all photographs, or with --gallery test of
the held-out ones only. The ceiling is what a perfect order would reach: some combinations have not 10 photographs.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from embedding import embed_photographs

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.encoder import load_encoder
from engine.records import Item
from eval.bounds import bootstrap_interval
from eval.exact import exact_search
from eval.split import split, split_of
from ingest.sources.detect import open_source

FIRST = 10


def main() -> None:
    """Embed, ask, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("fields", nargs="+")
    parser.add_argument("--gallery", choices=["all", "test"], default="all")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--queries", type=int, default=500)
    options = parser.parse_args()
    source, checkpoint = open_source(options.folder), find_checkpoint(options.model)
    encoder = load_encoder(checkpoint, "cpu")
    share, seed = split_of(checkpoint)
    everything = [item for item in source.items() if isinstance(item, Item)]
    held_out = list(split(everything, "test", seed, share))
    gallery = held_out if options.gallery == "test" else everything
    vectors, _ = embed_photographs(encoder, source, gallery)
    wanted = {tuple(str(item.payload.get(field, "")) for field in options.fields) for item in held_out}
    asked = sorted(values for values in wanted if all(values))
    asked = random.Random(42).sample(asked, min(options.queries, len(asked)))
    texts = encoder.encode_texts([" ".join(values).lower() for values in asked])
    found = exact_search(texts, vectors, top=FIRST)
    table = np.array([[str(item.payload.get(field, "")) for field in options.fields] for item in gallery])
    right = table[found.top] == np.array(asked)[:, None, :]  # (queries, 10, fields)
    print(f"{len(asked)} queries over {len(gallery)} photographs, such as {' '.join(asked[0]).lower()!r}")
    for index, field in enumerate(options.fields):
        _tell(field, right[:, :, index], (table[:, index][None] == np.array(asked)[:, index][:, None]).sum(axis=1))
    if len(options.fields) > 1:
        every = (table[None] == np.array(asked)[:, None, :]).all(axis=2).sum(axis=1)
        _tell("all of them", right.all(axis=2), every)


def _tell(name: str, right: np.ndarray, there: np.ndarray) -> None:
    marks = right.mean(axis=1)
    low, high = bootstrap_interval(marks)
    ceiling = np.minimum(there, FIRST).mean() / FIRST
    print(f"{name}: {marks.mean():.3f} (95 % {low:.3f} to {high:.3f}), ceiling {ceiling:.3f}")


if __name__ == "__main__":
    main()
