"""What looking more closely at the first hits costs, for a query in words, inside a process."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from statistics import median

from measure import Bench, Row, engine, main
from photographs import described, photographs

from engine.checkpoint import DEFAULT_MODEL, Checkpoint, find_checkpoint
from engine.encoder import Encoder, load_encoder
from engine.replacing import replacing
from engine.rerank import DEPTH, Reranker
from engine.search import Page, Query, search
from engine.settings import Settings
from engine.store.open import open_store
from engine.store.protocol import Store
from engine.token_heads import TokenHeads
from train.cross_encoder import CrossEncoder
from train.export import Reranking, export_checkpoint
from train.towers import towers_of

P50_MS = 60.0
DIMENSION = 64
GARMENTS = ("coat", "dress", "jeans", "shirt", "skirt", "shoes", "bag", "sweater", "shorts", "jacket")
COLOURS = ("red", "blue", "black", "white", "green", "floral", "striped", "long sleeve", "denim", "leather")


def measure(bench: Bench) -> list[Row]:
    """Return the rows of both re-rankers, with heads that are untrained: they cost what trained ones do."""
    model, store = bench.work / "with-heads", bench.work / "store-with-patches"
    folder = photographs(bench, min(bench.photographs or 5000, 5000))
    _make(model)
    engine("ingest", folder, "--store", store, "--model", model)
    with open_store(str(store), Settings.collection) as opened:
        encoder = load_encoder(find_checkpoint(str(model)))
        alone = _milliseconds(opened, encoder, "none")
        rows = [_row(opened, encoder, reranker, alone, described(bench)) for reranker in ("maxsim", "cross")]
    shutil.rmtree(store)
    return rows


def _make(folder: Path) -> None:
    """Write the bundled checkpoint with heads and cross-attention beside its towers."""
    base = find_checkpoint(DEFAULT_MODEL)
    towers = towers_of(base, "cpu")
    some = next(towers.photographs([[[[0] * 3] * base.preprocessing.width] * base.preprocessing.height]))
    cells = towers.cells(towers.model.eval(), some)
    width = int(towers.model.text_model.config.hidden_size)
    heads = TokenHeads(cells.shape[2], width, DIMENSION, towers.word_layer)
    reranking = Reranking(
        heads, CrossEncoder(DIMENSION, cells.shape[1]).eval(), {"maxsim": 0.5, "cross": 0.5}, "cross"
    )
    with replacing(folder) as part:
        export_checkpoint(towers.model, towers.tokenizer, base.preprocessing, dict(base.notes), part, base, reranking)
    assert Checkpoint(folder).token_heads


def _row(store: Store, encoder: Encoder, reranker: Reranker, alone: float, data: str) -> Row:
    took = _milliseconds(store, encoder, reranker) - alone
    return Row(
        f"re-ranking by {reranker}, {DEPTH} hits",
        f"p50 {took:.1f} ms",
        f"<= {P50_MS:g} ms",
        took <= P50_MS,
        f"beyond the {alone:.1f} ms of embedding and searching; {len(GARMENTS) * len(COLOURS)} queries; of {data}",
        {"p50_ms": took, "alone_ms": alone},
    )


def _milliseconds(store: Store, encoder: Encoder, reranker: Reranker) -> float:
    times = []
    for garment in GARMENTS:
        for colour in COLOURS:
            started = time.perf_counter()
            search(store, encoder, Query(f"{colour} {garment}"), Page(limit=10, rerank=reranker))
            times.append(1000 * (time.perf_counter() - started))
    return median(times)


if __name__ == "__main__":
    main(measure)
