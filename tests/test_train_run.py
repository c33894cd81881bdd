"""A run: what it learns, when it ends, and going on with it. What it writes is elsewhere, so no ONNX here."""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import train_once
from safetensors.torch import load_file
from tiny_clip import make_tiny_clip
from training import TINY, tiny
from workshop import Retold, loud

from engine.checkpoint import find_checkpoint
from engine.encoder import encode_image, load_encoder
from engine.errors import StoreFull, UsageError
from engine.records import Item
from ingest.decode import decode
from ingest.sources.source import Source
from train import parallel
from train.curves import tensorboard_log
from train.mix import copy_of
from train.recipe import inherit
from train.resume import load, save
from train.run import Progress, Run
from train.trainer import train

pytestmark = pytest.mark.usefixtures("without_onnx")


@pytest.fixture(scope="session")
def stopped(look_book: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs that was killed in the second; not to be changed."""

    class PulledPlugError(Exception):
        pass

    def pull_the_plug(progress: Progress) -> None:
        if progress.epoch > 1 and progress.validation is None:
            raise PulledPlugError

    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(PulledPlugError):
        train(TINY, [look_book], out, threads=1, report=pull_the_plug)
    return out


def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights_bit_for_bit(
    look_book: Source, stopped: Path, tmp_path: Path
) -> None:
    whole = train(TINY, [look_book], tmp_path / "whole", threads=1)
    shutil.copytree(stopped, tmp_path / "parts")
    parts = train(TINY, [look_book], tmp_path / "parts", threads=1, resume=True)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    again = train(TINY, [look_book], tmp_path / "parts", threads=1, resume=True)
    assert (whole / "training.json").read_text() == (again / "training.json").read_text(), "nothing was left to do"


def test_a_run_is_not_resumed_with_another_recipe(look_book: Source, tmp_path: Path) -> None:
    one = tiny(epochs=1)
    train(one, [look_book], tmp_path / "run", threads=1)
    with pytest.raises(UsageError, match="another recipe"):
        train(TINY, [look_book], tmp_path / "run", threads=1, resume=True)


def test_a_run_is_not_resumed_with_other_data_of_the_same_size(
    look_book: Source, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    with pytest.raises(UsageError, match="belongs to other data, or to an earlier version: resume with the --data"):
        train(TINY, [Retold(look_book, loud)], tmp_path / "run", threads=1, resume=True)


@pytest.mark.parametrize("kept", [0, 1000, -1000, None])
def test_a_damaged_state_is_named_with_the_next_step(
    look_book: Source, stopped: Path, tmp_path: Path, kept: int | None
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    state = tmp_path / "run" / "last.pt"
    state.write_bytes(b"no state" if kept is None else state.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"^\S*run/last\.pt is damaged [^\n]*: start anew, .*another --out$"):
        train(TINY, [look_book], tmp_path / "run", threads=1, resume=True)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the disk be full, as far as this process can tell, when a file has so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("name", "again"), [("last.pt", "go on with --resume"), ("other.pt", "start it again")])
def test_a_state_that_the_disk_does_not_take_is_told_in_one_line_and_the_one_before_stays(
    tmp_path: Path, name: str, again: str
) -> None:
    save({"step": torch.tensor(1)}, tmp_path / name)
    with (
        files_of_at_most(10_000),
        pytest.raises(StoreFull, match=rf"{name} cannot be written \([^\n]*\): make room on its disk, then {again}$"),
    ):
        save({"step": torch.zeros(10_000)}, tmp_path / name)
    assert load(tmp_path / name, "cpu") == {"step": torch.tensor(1)}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_log_of_a_resumed_run_has_every_step_once_and_nothing_torn(
    look_book: Source, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(f'{log.read_text()}{{"epoch": 1.3, "st')
    train(TINY, [look_book], tmp_path / "run", threads=1, resume=True)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [entry["step"] for entry in entries if entry["validation"] is None]
    assert steps == list(range(1, entries[-1]["steps"] + 1))
    assert [entry["epoch"] for entry in entries if entry["validation"]] == [1, 2]


def test_training_goes_on_from_a_base_checkpoint(look_book: Source, tmp_path: Path) -> None:
    base = train(TINY, [look_book], tmp_path / "first", threads=1)
    gentle = tiny(epochs=1, learning_rate=1e-9)
    second = train(gentle, [look_book], tmp_path / "second", base=find_checkpoint(str(base)), threads=1)
    texts = ["blue denim jacket"]
    before, after = (load_encoder(find_checkpoint(str(folder))).encode_texts(texts) for folder in (base, second))
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_what_a_base_was_trained_on_stays_out_of_the_examination(look_book: Source, tmp_path: Path) -> None:
    seen = dataclasses.replace(TINY.data, train_share=0.9, split_seed=3)
    one = dataclasses.replace(TINY.optimizer, epochs=0)
    base = train(dataclasses.replace(TINY, data=seen, optimizer=one), [look_book], tmp_path / "first", threads=1)
    folder = train(
        dataclasses.replace(TINY, optimizer=one),
        [look_book],
        tmp_path / "second",
        base=find_checkpoint(str(base)),
        threads=1,
    )
    assert find_checkpoint(str(folder)).trained_split == (0.9, 3)


@pytest.mark.parametrize("frozen", ["image", "text"])
def test_a_frozen_tower_keeps_its_weights_and_the_other_learns(look_book: Source, tmp_path: Path, frozen: str) -> None:
    from transformers import AutoModel

    base = make_tiny_clip(tmp_path / "clip")
    recipe, start = tiny(epochs=1, freeze=frozen), find_checkpoint(str(base))
    folder = train(recipe, [look_book], tmp_path / "run", base=start, threads=1)
    before, after = (AutoModel.from_pretrained(path).state_dict() for path in (base, folder))
    changed = {
        name.partition(".")[0]
        for name in before
        if not torch.allclose(before[name], after[name], atol=1e-4, rtol=1e-3)
    }
    sides = {"image": {"vision_model", "visual_projection"}, "text": {"text_model", "text_projection"}}
    other = "text" if frozen == "image" else "image"
    assert not changed & sides[frozen]
    assert changed & sides[other]


def test_a_new_image_tower_learns_beside_the_text_tower_of_a_checkpoint(look_book: Source, tmp_path: Path) -> None:
    seed = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train_share=0.7))
    first = train(seed, [look_book], tmp_path / "first", threads=1)
    sizes = dataclasses.replace(TINY.model, text_base=str(first), vision_widths=(8, 24, 64), dimension=99)
    told: list[Progress] = []
    recipe = dataclasses.replace(tiny(epochs=3, freeze="text", memory=0), model=sizes)
    second = train(recipe, [look_book], tmp_path / "second", threads=1, report=told.append)
    texts = ["a red dress", "blue denim jacket"]
    before, after = (load_encoder(find_checkpoint(str(folder))).encode_texts(texts) for folder in (first, second))
    np.testing.assert_allclose(before, after, atol=1e-4)
    losses = [progress.loss for progress in told if progress.validation is None]
    assert losses[-1] < losses[0]
    facts = json.loads((second / "training.json").read_text())
    assert facts["recipe"]["data"]["train_share"] == 0.7, "what the text tower has read is not held out"
    assert facts["text_base"]["recipe"]["name"] == "tiny"
    assert find_checkpoint(str(second)).trained_split == find_checkpoint(str(first)).trained_split
    assert facts["recipe"]["model"]["vision_widths"] == [8, 24, 64]
    texts_only = inherit(tiny(freeze="image"), find_checkpoint(str(second)))
    assert texts_only.model.vision_widths == (8, 24, 64), "the recipe tells how the tower that was taken over was made"
    near = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, teach_weight=50.0))
    third = train(near, [look_book], tmp_path / "third", threads=1)
    item = next(item for item in look_book.items() if isinstance(item, Item))
    image = decode(look_book.read(item))
    teacher, alone, pupil = (
        encode_image(load_encoder(find_checkpoint(str(folder))), image) for folder in (first, second, third)
    )
    assert float(teacher @ pupil) > float(teacher @ alone), "it learns from the image tower too"


def test_a_teacher_that_is_none_or_sees_another_size_is_refused(look_book: Source, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teach_weight needs a teacher"):
        train(tiny(teach_weight=1.0), [look_book], tmp_path / "none", threads=1)
    first = train(tiny(epochs=1), [look_book], tmp_path / "first", threads=1)
    larger = dataclasses.replace(TINY.model, text_base=str(first), image_height=48, image_width=48)
    with pytest.raises(UsageError, match="sees 32 x 32 pixels, the new tower 48 x 48"):
        train(dataclasses.replace(tiny(teach_weight=1.0), model=larger), [look_book], tmp_path / "second", threads=1)


def test_low_rank_adaptation_changes_only_queries_and_values_and_leaves_no_trace(
    look_book: Source, tmp_path: Path
) -> None:
    from transformers import AutoModel

    base = make_tiny_clip(tmp_path / "clip")
    recipe, start = tiny(epochs=2, lora_rank=2, learning_rate=1e-2), find_checkpoint(str(base))
    folder = train(recipe, [look_book], tmp_path / "run", base=start, threads=1)
    before, after = (AutoModel.from_pretrained(path).state_dict() for path in (base, folder))
    assert set(before) == set(after)
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-4, rtol=1e-3)}
    assert any("q_proj.weight" in name for name in changed)
    allowed = ("q_proj.weight", "v_proj.weight", "visual_projection.weight", "text_projection.weight", "logit_scale")
    assert not [name for name in changed if not name.endswith(allowed)]
    assert load_file(folder / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()
    for name in (name for name in changed if name.endswith(("q_proj.weight", "v_proj.weight"))):
        largest = torch.linalg.svdvals(after[name] - before[name])
        assert largest[2] < largest[0] / 50, "two directions and the rounding to halves, not a layer made anew"


def examined_with(marks: Iterator[float], patch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Let examinations find ``marks``, one after the other; return the weights that each of them is to see."""
    examined: list[dict[str, torch.Tensor]] = []

    def examine(run: Run, pairs: object) -> dict[str, float]:
        examined.append(copy_of(run.average.module))
        return {"mrr": next(marks)}

    patch.setattr(Run, "examine", examine)
    return examined


def same_as_written(weights: dict[str, torch.Tensor], folder: Path) -> bool:
    written = load_file(folder / "model.safetensors")  # some of them as halves
    return all(torch.equal(value, weights[name].to(value.dtype)) for name, value in written.items())


@pytest.mark.parametrize(
    ("choices", "sizes"), [({"wise_ft": True, "epochs": 1}, {}), ({"epochs": 1}, {"reduced_dimension": 8})]
)
def test_the_marks_noted_are_those_of_the_weights_that_are_written(
    choices: dict[str, Any], sizes: dict[str, Any], look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = (1 / number for number in count(1))  # so that the first mixture, which is none, is the best
    examined = examined_with(falling, monkeypatch)
    base = find_checkpoint(str(make_tiny_clip(tmp_path / "clip"))) if "wise_ft" in choices else None
    recipe = dataclasses.replace(tiny(**choices), model=dataclasses.replace(TINY.model, **sizes))
    folder = train(recipe, [look_book], tmp_path / "run", base=base, threads=1)
    noted = find_checkpoint(str(folder)).notes["validation"]["mrr"]
    assert same_as_written(examined[round(1 / noted) - 1], folder)


@pytest.mark.parametrize("loss", ["sigmoid", "raw"])
def test_the_other_losses_train_too(look_book: Source, tmp_path: Path, loss: str) -> None:
    told: list[Progress] = []
    train(tiny(loss=loss, epochs=2, memory=0), [look_book], tmp_path / "run", threads=1, report=told.append)
    losses = [progress.loss for progress in told if progress.validation is None]
    assert losses[-1] < losses[0]


def test_a_run_ends_when_validation_has_not_risen_for_long_and_writes_what_was_best(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined = examined_with(iter([0.1, 0.3, 0.2, 0.2, 0.9]), monkeypatch)
    told: list[Progress] = []
    folder = train(tiny(epochs=9, patience=2), [look_book], tmp_path / "run", threads=1, report=told.append)
    assert told[-1].epoch == 4
    assert [same_as_written(weights, folder) for weights in examined[:4]] == [False, True, False, False]


def test_steps_that_give_no_number_are_skipped_and_too_many_end_the_run(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.run.MAX_BAD_STEPS", 3)
    monkeypatch.setattr("train.run.contrastive_loss", lambda images, *_: images.sum() * math.nan)
    made: list[tuple[Run, list[torch.Tensor]]] = []
    begin = Run.__init__

    def remembering(self: Run, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        made.append((self, [buffer.clone() for buffer in self.model.buffers()]))

    monkeypatch.setattr(Run, "__init__", remembering)
    with pytest.raises(UsageError, match="4 steps gave no number"):
        train(TINY, [look_book], tmp_path / "run", threads=1)
    run, before = made[0]
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in run.model.modules())
    for buffer, at_first in zip(run.model.buffers(), before, strict=True):
        assert not buffer.is_floating_point() or torch.equal(buffer, at_first)


def test_two_processes_learn_what_one_learns(look_book: Source, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    script = Path(__file__).with_name("train_once.py")
    done = subprocess.run(
        [*launch, script, look_book.root, tmp_path / "two"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    folder = train(train_once.RECIPE, [look_book], tmp_path / "one", threads=1)
    one, two = (load_file(each / "model.safetensors") for each in (folder, tmp_path / "two" / "checkpoint"))
    for name in one:
        torch.testing.assert_close(one[name].float(), two[name].float(), atol=2e-3, rtol=0)


def test_a_batch_that_cannot_be_shared_among_the_processes_is_refused(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "join", lambda device: 5)
    with pytest.raises(UsageError, match="batch_size 12 cannot be divided among 5 processes: choose a multiple"):
        train(TINY, [look_book], tmp_path / "run", threads=1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_processes_wait_for_hours_while_the_first_decodes_photographs(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    group = SimpleNamespace(
        is_torchelastic_launched=lambda: True,
        is_initialized=lambda: False,
        init_process_group=lambda backend, **choices: asked.append(choices),
        get_node_local_rank=lambda: 0,
    )
    monkeypatch.setattr("train.parallel.dist", group)
    monkeypatch.setattr("torch.cuda.set_device", lambda number: None)
    parallel.join(device)
    assert [choices["timeout"].total_seconds() >= 6 * 3600 for choices in asked] == [True]


def test_tensorboard_reads_what_a_run_told(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard_log(tmp_path) as tell:
        tell(Progress(0.5, 3, 6, 2.5, 0.07, 100.0))
        tell(Progress(1.0, 6, 6, math.nan, 0.06, 0.0, {"hit@10": 0.25}))
    events = EventAccumulator(str(tmp_path)).Reload()  # type: ignore[no-untyped-call]
    assert [(one.step, one.value) for one in events.Scalars("training/loss")] == [(3, 2.5)]  # type: ignore[no-untyped-call]
    assert [(one.step, one.value) for one in events.Scalars("validation/hit@10")] == [(6, 0.25)]  # type: ignore[no-untyped-call]
