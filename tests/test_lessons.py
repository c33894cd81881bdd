"""Lessons that last an hour can be gone on with after they were killed, whatever they teach."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_clip import make_tiny_clip
from workshop import Retold, killed, loud

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.errors import UsageError
from ingest.sources.source import Source
from train.captions import teach_captions
from train.synonyms import Synonyms
from train.words import teach_words

Lesson = Callable[[Checkpoint, Synonyms, Sequence[Source], Path], Path]
WORDS = Synonyms(["quux => trousers"])
LESSONS: dict[str, Any] = {
    "words": functools.partial(teach_words, epochs=2, threads=1),
    "attributes": functools.partial(teach_words, attributes={"gender": 2.0}, epochs=2, threads=1),
    "captions": functools.partial(teach_captions, epochs=2, threads=1),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return find_checkpoint(str(make_tiny_clip(tmp_path_factory.mktemp("checkpoints") / "clip")))


def killed_after_an_epoch(told: Any) -> None:
    if told.epoch == 1 and getattr(told, "validation", True):
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for lesson in ("words", "captions"):
        monkeypatch.setattr(f"train.{lesson}.BATCH", 12)
    monkeypatch.setattr("train.pupil.RATE", 1e-3)


@pytest.mark.usefixtures("without_onnx")
@pytest.mark.parametrize("kind", LESSONS)
def test_a_lesson_that_was_killed_and_resumed_gives_the_same_checkpoint(
    kind: str, base: Checkpoint, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach, arguments = LESSONS[kind], (base, WORDS, [look_book])
    whole = teach(*arguments, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        teach(*arguments, tmp_path / "parts", report=killed_after_an_epoch)
    with monkeypatch.context() as patch:
        patch.setattr("train.pupil.write_card", killed)
        with pytest.raises(KeyboardInterrupt):
            teach(*arguments, tmp_path / "parts", resume=True)
    parts = teach(*arguments, tmp_path / "parts", resume=True)
    ours, theirs, before = (load_file(folder / "model.safetensors") for folder in (whole, parts, base.folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], before[name]) for name in ours)


@pytest.mark.usefixtures("without_onnx")
def test_what_was_begun_otherwise_and_what_was_not_begun_are_told_apart(
    base: Checkpoint, look_book: Source, tmp_path: Path
) -> None:
    teach, arguments, out = LESSONS["words"], (base, WORDS, [look_book]), tmp_path / "run"
    with pytest.raises(UsageError, match="does not exist: leave out --resume to start it"):
        teach(*arguments, out, resume=True)
    with pytest.raises(KeyboardInterrupt):
        teach(*arguments, out, report=killed_after_an_epoch)
    with pytest.raises(UsageError, match=r"last\.pt exists already: give --resume to go on with it"):
        teach(*arguments, out)
    other = find_checkpoint(str(make_tiny_clip(tmp_path / "other", seed=1)))
    for resumed, what in (
        (functools.partial(teach, other, WORDS, [look_book]), "another --base"),
        (functools.partial(teach, base, WORDS, [Retold(look_book, loud)]), "other data"),
        (functools.partial(teach, base, Synonyms(["quux => hat"]), [look_book]), "other synonyms"),
        (functools.partial(teach, *arguments, seed=8), "another seed"),
        (functools.partial(teach, *arguments, epochs=3), "another --epochs"),
        (functools.partial(LESSONS["attributes"], *arguments), "another lesson"),
    ):
        with pytest.raises(UsageError, match=f"belongs to {what}, or to an earlier version: resume with what"):
            resumed(out, resume=True)
