"""LEARN: captions --split--> pairs --train--> checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from engine.checkpoint import Checkpoint
from engine.encoder import pick_device
from engine.errors import SourceError, UsageError
from engine.replacing import replacing
from ingest.sources.source import Source
from train import parallel
from train.card import write_card
from train.cross_encoder import fit_cross_encoder
from train.curves import draw_curves
from train.export import Reranking, export_checkpoint, note
from train.lora import merge
from train.mix import best_mixture, copy_of
from train.pairs import Pairs, gather_pairs
from train.quantize import quantize_image_tower
from train.recipe import Recipe, check_recipe, inherit
from train.reduce import reduce_dimension
from train.reranker import choose_weights, fit_token_heads
from train.resume import BEST, LOG, STATE, check_folder, cut_log, load, save
from train.run import NoNumbersError, Progress, Run
from train.teacher import taught_images
from train.towers import open_towers, preprocessing_of, taught_text_tower
from train.validation import JUDGE

Report = Callable[[Progress], None]


def train(
    recipe: Recipe,
    sources: Sequence[Source],
    out: Path,
    *,
    base: Checkpoint | None = None,
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    report: Report = lambda progress: None,
) -> Path:
    """Train on the training part of ``sources``, from scratch or from ``base``; return the folder ``out``/checkpoint.

    ``out`` keeps the log (`log.jsonl`, drawn as `curves.png`), the decoded photographs, and after every epoch the
    whole state (`last.pt`), from which ``resume`` goes on. Without ``threads``, a step takes as many cores as are
    idle.

    Raises:
        SourceError: too few photographs for one batch.
        UsageError: the run folder is in use, or nothing is there to resume, or what is there is damaged or was begun
            with another recipe or other data.
    """
    torch.set_num_threads(threads or 1)
    device = pick_device(torch, device)
    processes = parallel.join(device)
    if parallel.rank():  # of several processes one talks
        report = _silence
    check_recipe(recipe, has_base=base is not None)
    check_folder(out, resume)
    teacher = taught_text_tower(recipe.model) if base is None or recipe.optimizer.teach_weight else None
    taught = None if base else teacher
    recipe = inherit(recipe, base or taught, both_towers=base is not None)
    reduced = 0 if base else recipe.model.reduced_dimension
    if reduced >= recipe.model.dimension:
        raise UsageError(
            f"reduced_dimension {reduced} is not below dimension {recipe.model.dimension}: lower it, or leave it out"
        )
    spec = preprocessing_of(recipe.model, base)
    with _first_alone():
        learning, validation = gather_pairs(sources, recipe.data, spec, out / "pixels")
    _check_batch(recipe, len(learning), processes)
    if recipe.model.patches and not learning.captioned.any():  # now, and not when all else has been learnt
        raise UsageError(
            f"patches {recipe.model.patches} are for a re-ranking, which is learnt by captions, and no photograph of "
            "the training part has one: leave out patches, or give other --data"
        )
    torch.manual_seed(recipe.optimizer.seed)
    towers = open_towers(recipe.model, base, learning, spec, device, out, taught)
    if recipe.optimizer.coarse_share and not towers.takes_any_size:
        raise UsageError("coarse_share needs a convolutional tower, this one sees one size only: leave it out")
    before = copy_of(towers.model) if recipe.optimizer.wise_ft else None
    with _first_alone():
        run = Run(recipe, towers, learning, out, adaptive=threads is None)
        if recipe.optimizer.teach_weight:
            run.taught = taught_images(teacher, learning, spec, out / "states").to(run.device)
    if resume:
        run.restore(load(out / STATE, run.device))
    finish = partial(_describe, sources=sources, taught=taught, out=out)
    try:
        marks = _epochs(run, validation, out, report)
    except NoNumbersError as error:
        saved = _last_good(run, out, base, finish)
        raise UsageError(f"{error} steps gave no number: lower learning_rate; {saved}") from error
    merge(run.average.module)
    if before is not None:
        alpha = best_mixture(run.average.module, before, lambda: run.examine(validation)[JUDGE])
        marks = run.examine(validation) | {"wise_ft_alpha": alpha}
        report(_examined(run, marks))
    if reduced:
        reduce_dimension(run.average.module, towers, learning, reduced)
        marks = run.examine(validation)
        report(_examined(run, marks))
    folder = out / "checkpoint"
    with _first_alone():  # who says where the checkpoint is, says so when it is there
        if parallel.rank() == 0:
            with replacing(folder) as part:
                _export(run, validation, marks, part, base, report)
                finish(part)
    parallel.leave()
    return folder


def _describe(folder: Path, sources: Sequence[Source], taught: Checkpoint | None, out: Path) -> None:
    """Note in a checkpoint what it came from, write its card, and draw how it came about."""
    if taught is not None:
        note(folder, {"text_base": {"fingerprint": taught.fingerprint, "recipe": taught.recipe}})
    write_card(folder, sources)
    draw_curves(out / LOG, out / "curves.png")


def _last_good(run: Run, out: Path, base: Checkpoint | None, finish: Callable[[Path], None]) -> str:
    """Write the checkpoint of the last epoch that ended well, and say where it is."""
    if not (out / STATE).exists():
        return "no epoch has ended"
    if parallel.rank() == 0:
        run.restore(load(out / STATE, run.device))
        model, towers = run.average.module, run.towers
        merge(model)
        facts = _facts(run, base) | {"epochs": run.epoch}
        with replacing(out / "checkpoint") as part:
            finish(export_checkpoint(model, towers.tokenizer, towers.preprocessing, facts, part, base))
    return f"{out / 'checkpoint'} is that of the last good epoch"


def _facts(run: Run, base: Checkpoint | None) -> dict[str, Any]:
    """Return what a checkpoint keeps of its training in any case."""
    facts = {"recipe": asdict(run.recipe)}
    return facts | {"base": base.notes} if base is not None and base.notes else facts


def _examined(run: Run, marks: dict[str, float]) -> Progress:
    """Return what a run says of itself when it has been examined: no step's loss, but marks."""
    return Progress(run.epoch, run.step, run.steps, math.nan, run.temperature, 0.0, marks, run.bad_steps)


def _silence(progress: Progress) -> None:
    """Say nothing."""


def _export(
    run: Run, validation: Pairs, marks: dict[str, float], folder: Path, base: Checkpoint | None, report: Report
) -> None:
    """Write the checkpoint, with what helps of the re-rankers, and in integers where these find as well."""
    reranking, found = _reranking(run, validation, report)
    model, towers = run.average.module, run.towers
    spec = towers.preprocessing
    with torch.inference_mode():
        texts = towers.embed_texts(model.eval(), validation.first_captions()).cpu().numpy()
    facts = _facts(run, base) | {"validation": marks | found}
    export_checkpoint(model, towers.tokenizer, spec, facts, folder, base, reranking)
    by_arithmetic = quantize_image_tower(Checkpoint(folder), run.pairs, validation, texts)
    note(folder, {"hit@10 by arithmetic of the image tower": by_arithmetic})


def _reranking(run: Run, validation: Pairs, report: Report) -> tuple[Reranking | None, dict[str, float]]:
    """Train the re-rankers that the recipe wants; return those that validation likes, and what it found."""
    choices, dimension = run.recipe.optimizer, run.recipe.model.patches
    if not dimension:
        return None, {}
    steps = choices.head_steps + choices.cross_steps

    def tell(before: int, step: int, loss: float) -> None:
        report(Progress(run.epoch, before + step + 1, steps, loss, run.temperature, 0.0))

    heads, cross = fit_token_heads(run, dimension, choices.head_steps, partial(tell, 0)), None
    if choices.cross_steps:
        cross = fit_cross_encoder(run, heads, choices.cross_steps, partial(tell, choices.head_steps))
    chosen = choose_weights(run, heads, cross, validation)
    if not chosen.weights:  # patches that help nobody need not be kept
        return None, chosen.marks
    cross = cross if "cross" in chosen.weights else None
    return Reranking(heads, cross, chosen.weights, chosen.best), chosen.marks


def _epochs(run: Run, validation: Pairs, out: Path, report: Report) -> dict[str, float]:
    """Train until the last epoch, or until validation has not risen for long; return the marks of what is kept."""
    choices = run.recipe.optimizer
    marks = run.examine(validation) if run.epoch >= choices.epochs else {}  # resumed when all was done
    first = parallel.rank() == 0
    if first:
        cut_log(out / LOG, run.step)
    with (out / LOG).open("a", encoding="utf-8") as log:

        def tell(progress: Progress) -> None:
            if first:
                entry = asdict(progress)
                loss = entry["loss"] if math.isfinite(progress.loss) else None  # JSON has no NaN
                log.write(json.dumps(entry | {"loss": loss}) + "\n")
                log.flush()
            report(progress)

        while run.epoch < choices.epochs and not run.is_exhausted:
            for progress in run.one_epoch():
                tell(progress)
            marks = run.examine(validation)
            tell(_examined(run, marks))
            if run.is_best(marks.get(JUDGE, 0.0)) and choices.patience and first:
                save(run.average.module.state_dict(), out / BEST)
            if first:
                save(run.state(), out / STATE)
    if choices.patience and (out / BEST).exists():
        run.average.module.load_state_dict(load(out / BEST, run.device))
        marks = run.examine(validation)
    return marks


def _check_batch(recipe: Recipe, photographs: int, processes: int) -> None:
    size = recipe.optimizer.batch_size
    if photographs < size:
        raise SourceError(
            f"{photographs} photographs are fewer than one batch ({size}): "
            "give more --data, or a smaller batch_size in the recipe"
        )
    if size % processes:
        raise UsageError(f"batch_size {size} cannot be divided among {processes} processes: choose a multiple")


@contextmanager
def _first_alone() -> Iterator[None]:
    """Let process 0 write the files of a cache, and the others read them after."""
    parallel.wait_for_first(done=False)
    yield
    parallel.wait_for_first(done=True)
