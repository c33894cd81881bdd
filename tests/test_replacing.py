"""What is written beside and put in place: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from engine.replacing import replacing


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_as_it_was_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.suffix == ".json", "what is written may depend on it"
    assert path.read_text() == "new"
    assert names(tmp_path) == {"spec.json"}


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_after_a_failure_nothing_has_changed_and_nothing_is_left_over(
    failure: type[BaseException], tmp_path: Path
) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_text("old")
    (tmp_path / "log").write_text("old")
    with pytest.raises(failure), replacing(tmp_path / "log") as part:
        part.write_text("ne")
        raise failure
    with pytest.raises(failure), replacing(tmp_path / "checkpoint") as part:
        part.mkdir()
        (part / "weights").write_text("ne")
        raise failure
    assert names(tmp_path) == {"checkpoint", "log"}
    assert (tmp_path / "log").read_text() == (tmp_path / "checkpoint" / "weights").read_text() == "old"


def test_a_new_folder_has_nothing_of_the_one_whose_place_it_takes(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    for name in ("weights", "heads"):
        with replacing(folder) as part:
            part.mkdir()
            (part / name).write_text(name)
    assert names(folder) == {"heads"}
    assert names(tmp_path) == {"checkpoint"}


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_text("old")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), replacing(tmp_path / "checkpoint") as part:
        part.mkdir()
    assert (tmp_path / "checkpoint" / "weights").read_text() == "old"
    assert names(tmp_path) == {"checkpoint"}


def test_what_a_killed_process_of_the_same_number_left_is_not_mixed_in(tmp_path: Path) -> None:
    with replacing(tmp_path / "checkpoint") as part:
        part.mkdir()
    part.mkdir()
    (part / "heads").write_text("of a killed one")
    with replacing(tmp_path / "checkpoint") as part:
        part.mkdir()
    assert names(tmp_path) == {"checkpoint"}
    assert not names(tmp_path / "checkpoint")


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "log").symlink_to(tmp_path / "disk" / "log")
    with replacing(tmp_path / "log") as part:
        part.write_text("new")
    assert (tmp_path / "log").is_symlink()
    assert (tmp_path / "disk" / "log").read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with replacing(tmp_path / "pipe") as part:
        part.write_text("new")
    reader.join()
    assert read == ["new"]
    assert (tmp_path / "pipe").is_fifo()
