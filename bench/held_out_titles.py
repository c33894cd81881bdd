"""Write a ground truth: held-out titles, and all items of the catalogue that have them.

    python bench/held_out_titles.py CATALOGUE truth.json [COUNT [TRAIN_SHARE]]
    engine eval --ground-truth truth.json

The gallery is then the whole collection, as in Marqo's benchmark, though the titles are ours: those of the test part.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from pathlib import Path

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.records import Item
from eval.split import split, split_of
from ingest.sources.detect import open_source


def main() -> None:
    """Sample COUNT titles of the test part (default 2,000, seed 42) and write the file.

    TRAIN_SHARE is that of the bundled checkpoint unless it is given.
    """
    catalogue, target, count = sys.argv[1], Path(sys.argv[2]), int((sys.argv[3:] or ["2000"])[0])
    trained = split_of(find_checkpoint(DEFAULT_MODEL))
    share = float(sys.argv[4]) if sys.argv[4:] else trained[0]
    items = [item for item in open_source(Path(catalogue)).items() if isinstance(item, Item)]
    answers: dict[str, dict[str, int]] = defaultdict(dict)
    for item in items:
        answers[str(item.payload.get("title", ""))][item.id] = 1
    titles = sorted(
        {str(item.payload["title"]) for item in split(items, "test", trained[1], share) if "title" in item.payload}
    )
    chosen = random.Random(42).sample(titles, min(count, len(titles)))
    target.write_text(json.dumps({title: answers[title] for title in chosen}), encoding="utf-8")
    print(f"{len(chosen)} titles of {len(titles)}, {sum(len(answers[t]) for t in chosen)} right answers")


if __name__ == "__main__":
    main()
