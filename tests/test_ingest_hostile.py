"""Sixty hostile files among good ones, through the real program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import GOOD, hostile_folder
from workshop import Shop

from engine.store.edge import EdgeStore

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def outcome(
    program: Program, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    home = tmp_path_factory.mktemp("hostile")
    hostile_folder(home / "photos")
    return home, program("ingest", "photos", "--store", "store", "--report", "report.jsonl", "--json", cwd=home)


def test_all_good_files_are_indexed_and_all_bad_ones_are_named_with_a_reason(
    outcome: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    home, result = outcome
    good, bad = hostile_folder(tmp_path / "again")
    assert len(good) == GOOD and len(bad) >= 60
    with EdgeStore(home / "store", "fashion") as store:
        records, _ = store.scroll(limit=1000)
    photos = home / "photos"
    assert {str((record.payload or {})["uri"]) for record in records} == {str(photos / name) for name in good}
    lines = [json.loads(line) for line in (home / "report.jsonl").read_text(encoding="utf-8").splitlines()]
    reasons = {line["uri"]: line["reason"] for line in lines}
    assert reasons.keys() == {str(photos / name) for name in bad}
    for name, word in bad.items():
        assert reasons[str(photos / name)] and word.lower() in reasons[str(photos / name)].lower(), (name, reasons)
    summary = json.loads(result.stdout)
    assert summary["indexed"] == len(good) and summary["found"] == len(good) + len(bad)


def test_the_exit_code_says_that_some_were_quarantined(
    outcome: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert outcome[1].returncode == 3 and "Traceback" not in outcome[1].stderr
    assert "--report FILE lists all" in outcome[1].stderr


def test_running_again_keeps_the_good_and_names_the_bad_again(
    outcome: tuple[Path, subprocess.CompletedProcess[str]], shop: Shop
) -> None:
    home, result = outcome
    first = json.loads(result.stdout)
    shop.store_folder = home / "store"
    again = shop.ingest(home / "photos")
    assert (again.unchanged, again.quarantined, again.excluded) == (
        *(first["indexed"] + first["duplicate"], first["quarantined"], first["excluded"]),
    )
    assert shop.loaded == 0


def test_every_orientation_and_mode_gives_the_size_that_people_see(
    outcome: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    with EdgeStore(outcome[0] / "store", "fashion") as store:
        records, _ = store.scroll(limit=1000)
    sizes = {str(r.payload["item_id"]): (r.payload["width"], r.payload["height"]) for r in records if r.payload}
    for orientation in range(1, 9):
        assert sizes[f"orientation-{orientation}"] == ((80, 96) if orientation < 5 else (96, 80))
