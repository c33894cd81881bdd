"""The table: the systems side by side on the same held-out captions, with intervals and paired tests.

    python bench/reproduce.py [--base fashion-small] [--drawings 6000] [--epochs 12] [--work reproduce]

On the drawn look-book, and on the catalogue in FASHION_PRODUCTS_DIR where there is one. The base is any CLIP: with
`openai/clip-vit-base-patch32` it is the experiment that this project began with. What is done is kept in the folder
--work: run it again to go on. Writes table.md and table.png there.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from systems import Data, Ranking, rank, systems

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.records import Item
from eval.bounds import bootstrap_interval, ceiling_hit, chance_hit, paired_bootstrap
from eval.captions import evened, product_of
from eval.metrics import hit_at, ranks_of_run, reciprocal_rank
from eval.split import split_of
from ingest.lookbook.draw import draw_lookbook

SMALL = 32


def main() -> None:
    """Train, rank, mark, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("reproduce"))
    parser.add_argument("--base", default=DEFAULT_MODEL, help="the CLIP that is examined as it is, and fine-tuned")
    parser.add_argument("--drawings", type=int, default=6000, help="to train on; a sixth as many are examined")
    parser.add_argument("--epochs", type=int, default=12, help="of each training on the drawings")
    parser.add_argument("--catalogue-epochs", type=int, default=3)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    share, _ = split_of(find_checkpoint(DEFAULT_MODEL))  # so that the bundled one never saw what it is asked
    drawn = [
        look_book(options.work, count, seed) for count, seed in ((options.drawings, 5), (options.drawings // 6, 6))
    ]
    every = [Data("drawn look-book", drawn[0], share, options.epochs, 64, gallery=drawn[1])]
    if catalogue := os.environ.get("FASHION_PRODUCTS_DIR"):
        every.append(Data("product catalogue", Path(catalogue), share, options.catalogue_epochs, 512))
    lines, bars = [], {}
    for data in every:
        table, rows = examine(data, options.base, options.work)
        bars[f"{data.name}, {len(data.test_items()):,} captions"] = rows
        lines += table
    (options.work / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(bars, options.work / "table.png")
    print("\n".join(lines))


def look_book(work: Path, count: int, seed: int) -> Path:
    """Return a folder of drawings; draw them if that has not been done."""
    folder = work / f"look-book-{seed}-{count}"
    if not (folder / "captions.json").exists():  # which is written last
        draw_lookbook(folder, count, seed=seed)
    return folder


def examine(data: Data, base: str, work: Path) -> tuple[list[str], list[tuple[str, float, float, float]]]:
    """Return the Markdown table of one data set, and name, hit@10 and interval of each system for the plot."""
    home = work / f"{data.folder.name}-{data.epochs}-epochs"
    home.mkdir(exist_ok=True)
    items = data.test_items()
    truths = relevant(items)
    _, groups = np.unique([product_of(item) for item in items], return_inverse=True)
    twins = np.array([len(answers) for answers in truths["caption"]])
    lines = [
        f"### {data.name}: {len(items)} held-out captions over {len(items)} photographs",
        "",
        f"Chance: hit@10 {chance_hit(len(items), 1, 10):.4f}; ceiling of the strict figures, as captions repeat: "
        f"hit@1 {ceiling_hit(twins, 1):.3f}, hit@10 {ceiling_hit(twins, 10):.3f}. Trained for {data.epochs} epochs.",
        "",
        "| system | hit@1 | hit@5 | hit@10 (95 %) | by product | equal captions | among 32 | against the row above | "
        "ms a query | training |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    bars, before = [], None
    for system in systems(base):
        made = find_checkpoint(system.base).fingerprint[:12] if system.base else "scratch"
        kept = home / f"{system.name.replace(' ', '-')}-{made}.json"
        if not kept.exists():
            ranking = rank(system, data, items, home)
            kept.write_text(json.dumps(asdict(ranking)), encoding="utf-8")
        ranking = Ranking(**json.loads(kept.read_text(encoding="utf-8")))
        run = [ranking.run[item.id] for item in items]
        ranks = {kind: ranks_of_run(run, answers, len(items)) for kind, answers in truths.items()}
        strict, marks = ranks["photograph"], reciprocal_rank(ranks["photograph"])
        low, high = bootstrap_interval(hit_at(strict, 10), groups=groups)
        against = "-"
        if before is not None:
            test = paired_bootstrap(marks, before, groups=groups)
            against = f"MRR {test.mean:+.4f}, p {test.p_value:.3f}"
        before = marks
        lines.append(
            f"| {system.name} | {hit_at(strict, 1).mean():.4f} | {hit_at(strict, 5).mean():.4f} "
            f"| {hit_at(strict, 10).mean():.4f} ({low:.4f} to {high:.4f}) | {hit_at(ranks['product'], 10).mean():.4f} "
            f"| {hit_at(ranks['caption'], 10).mean():.4f} | {among_few(run, items):.3f} | {against} "
            f"| {ranking.latency_ms:.1f} | {ranking.training_s / 60:.1f} min |"
        )
        bars.append((system.name, hit_at(strict, 10).mean(), low, high))
    return [*lines, ""], bars


def relevant(items: list[Item]) -> dict[str, list[set[str]]]:
    """Return, for each notion of a right answer, the ids of the right photographs of each item's caption."""
    keys = {
        "photograph": [item.id for item in items],
        "product": [product_of(item) for item in items],
        "caption": [evened(item.captions[0]) for item in items],
    }
    truths = {}
    for kind, names in keys.items():
        members: dict[str, set[str]] = {}
        for name, item in zip(names, items, strict=True):
            members.setdefault(name, set()).add(item.id)
        truths[kind] = [members[name] for name in names]
    return truths


def among_few(run: list[list[str]], items: list[Item], seed: int = 42) -> float:
    """Return hit@5 in random galleries of 32, the protocol of many small projects: it says little, and looks large.

    A photograph beyond the first 100 of the whole gallery counts as last.
    """
    order = np.random.default_rng(seed).permutation(len(items))
    hits = []
    for start in range(0, len(order) - SMALL + 1, SMALL):
        group = {items[row].id for row in order[start : start + SMALL]}
        for row in order[start : start + SMALL]:
            found = [id for id in run[row] if id in group]
            hits.append(items[row].id in found[:5])
    return float(np.mean(hits))


def draw(bars: dict[str, list[tuple[str, float, float, float]]], target: Path) -> None:
    """Draw hit@10 with its interval for every system, one panel a data set."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(bars), figsize=(3 + 4 * len(bars), 3.2), layout="constrained", squeeze=False, sharey=True
    )
    for panel, (name, rows) in zip(panels[0], bars.items(), strict=True):
        values = np.array([row[1] for row in rows])
        errors = np.abs(np.array([[row[2], row[3]] for row in rows]).T - values)
        panel.barh([row[0] for row in rows], values, xerr=errors, color="#5b7c99", error_kw={"linewidth": 1})
        panel.set(title=name, xlabel="hit@10, that very photograph", xlim=(0, 1.05))
    panels[0][0].invert_yaxis()
    figure.savefig(target, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
