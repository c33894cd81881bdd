"""A checkpoint that is taught: what is refused, what of it learns, and what is written down in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.checkpoint import Checkpoint
from engine.errors import UsageError
from engine.replacing import replacing
from ingest.sources.source import Source
from train.card import write_card
from train.course import Course
from train.export import export_checkpoint
from train.pairs import Pairs
from train.recipe import OptimizerRecipe
from train.resume import check_folder
from train.synonyms import Synonyms
from train.towers import Towers

NEW_LAYER_RATE, RATE = 5e-4, 2e-5
"""For new layers over a frozen sentence encoder, and for a text tower that learns as a whole."""
THAWED = 1
"""So many frozen layers below the new ones learn from photographs, too: one layer has no room for all they tell."""


def check_pupil(base: Checkpoint, out: Path, resume: bool) -> None:
    """Refuse a checkpoint that re-ranks, as its words would no longer fit its heads, and a folder in use."""
    if base.token_heads:
        raise UsageError(f"{base.folder} has heads for re-ranking: teach the checkpoint that it was made from")
    if (out / "checkpoint").exists():
        raise UsageError(f"{out / 'checkpoint'} exists already: give another --out")
    check_folder(out, resume)


def prepare(towers: Towers, texts: Sequence[str], cache: Path) -> None:
    """Let the text side learn, and it alone; ``cache``: a folder for what its frozen layers make of ``texts``."""
    towers.prepare(None, texts, OptimizerRecipe(), cache)
    towers.lock("image")


def course_of(towers: Towers, rows: int, batch: int, epochs: int, seed: int, weight_decay: float = 0.0) -> Course:
    """Return the course of a text side that was prepared."""
    peak = NEW_LAYER_RATE if towers.word_layer < -1 else RATE
    model = towers.model
    return Course(model, model, rows, batch, epochs=epochs, peak=peak, weight_decay=weight_decay, seed=seed)


def begun_with(
    base: Checkpoint, pairs: Pairs, synonyms: Synonyms, seed: int, epochs: int, taught: str
) -> dict[str, Any]:
    """Return what a lesson must not change when it is gone on with, by what is said of it if it does."""
    return {
        "another --base": base.fingerprint,
        "other data": pairs.digest(),
        "other synonyms": [*synonyms.meanings.items()],
        "another seed": seed,
        "another --epochs": epochs,
        "another lesson": taught,
    }


def keep_taught(
    towers: Towers,
    base: Checkpoint,
    sources: Sequence[Source],
    out: Path,
    taught: Mapping[str, Any],
    **facts: Any,
) -> Path:
    """Write ``out``/checkpoint, with what it was ``taught`` and other facts, and its card; return it."""
    folder = out / "checkpoint"
    with replacing(folder) as part:
        export_pupil(towers, base, {"taught": {"base": base.fingerprint, **taught}, **facts}, part)
        write_card(part, sources)
    return folder


def export_pupil(towers: Towers, base: Checkpoint, facts: dict[str, Any], folder: Path) -> None:
    """Write the checkpoint; its notes keep the base's recipe, and what else is known of the base apart."""
    notes: dict[str, Any] = {**facts, "base": {}}
    for name, fact in base.notes.items():
        (notes if name == "recipe" else notes["base"])[name] = fact
    export_checkpoint(towers.model, towers.tokenizer, towers.preprocessing, notes, folder, base)
