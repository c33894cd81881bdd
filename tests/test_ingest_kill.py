"""An ingest that is killed, stopped or crowded out, and run again: the real program, real signals."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from workshop import command, environment, paint

from engine.records import Record
from engine.store.edge import EdgeStore

COUNT = 400
"""More than the batches that are at work at once, so that a run can be caught in the middle."""
PATIENCE_S = 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with metadata, some of them twice, some nearly so, and one that is broken."""
    folder = tmp_path_factory.mktemp("kill") / "photos"
    for n in range(COUNT):
        # Names whose order is not that of the numbers, as in a folder with folders in it.
        path = folder / ("deep" if n % 3 else ".") / f"photo-{n * 7919 % COUNT}.png"
        paint(path, n % 350, size=48 if n < 350 else 96)
        path.with_suffix(".txt").write_text(f"picture {n}")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


def start(photos: Path, home: Path) -> subprocess.Popen[str]:
    arguments = ("ingest", photos, "--store", home / "store", "--workers", 1, "--json")
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(home), cwd=home
    )


def rows(home: Path) -> int:
    """How many files the ledger knows of; 0 before there is one."""
    ledger = home / "store" / "fashion" / "ledger.sqlite"
    if not ledger.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM files").fetchone()[0])
    except sqlite3.OperationalError:  # it is just being made
        return 0


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> bool:
    """Poll; say whether the process was still at work when the condition held."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    assert process.poll() is not None, "nothing happened"
    return False


def contents(home: Path) -> dict[str, Record]:
    with EdgeStore(home / "store", "fashion") as store:
        records, rest = store.scroll(limit=10_000, vectors=True)
    assert rest is None
    return {record.id: record for record in records}


def assert_equal(left: dict[str, Record], right: dict[str, Record]) -> None:
    assert left.keys() == right.keys()
    for id, record in left.items():
        assert record.payload == right[id].payload
        ours, theirs = record.vector, right[id].vector
        assert ours is not None and theirs is not None
        assert np.allclose(ours, theirs, atol=1e-5)


@pytest.fixture(scope="module")
def unkilled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    home = tmp_path_factory.mktemp("unkilled")
    process = start(photos, home)
    stdout, stderr = process.communicate()
    assert process.returncode == 3, stderr  # one file is broken
    assert json.loads(stdout)["quarantined"] == 1
    return contents(home)


def finish(photos: Path, home: Path) -> dict[str, int]:
    process = start(photos, home)
    stdout, stderr = process.communicate()
    assert process.returncode == 3, stderr
    summary: dict[str, int] = json.loads(stdout)
    return summary


def test_killed_at_six_moments_and_run_again_it_equals_a_run_that_was_never_killed(
    photos: Path, unkilled: dict[str, Record], tmp_path: Path
) -> None:
    chance = random.Random(6)
    homes = (tmp_path / str(n) for n in itertools.count())
    home = next(homes)
    killed = 0
    while killed < 6:
        home.mkdir(exist_ok=True)
        process = start(photos, home)
        if killed % 3 == 2:  # at any time at all, the start included
            end = time.monotonic() + chance.uniform(0.2, 2)
            wait_until(process, lambda end=end: time.monotonic() > end)  # type: ignore[misc]
        else:
            enough = rows(home) + chance.randrange(1, 60)
            wait_until(process, lambda home=home, enough=enough: rows(home) >= enough)  # type: ignore[misc]
        process.kill()
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            killed += 1
        else:  # it had come to its end before: nothing is left to be killed at
            assert_equal(contents(home), unkilled)
            home = next(homes)
    finish(photos, home)
    assert_equal(contents(home), unkilled)


def test_ctrl_c_keeps_what_was_acknowledged_and_the_next_run_completes_it(
    photos: Path, unkilled: dict[str, Record], tmp_path: Path
) -> None:
    process = start(photos, tmp_path)
    assert wait_until(process, lambda: rows(tmp_path) > 0)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr and "Ctrl-C once more" in stderr
    summary = json.loads(stdout)
    assert summary["stopped"] and 0 < summary["indexed"] <= COUNT
    assert len(contents(tmp_path)) == summary["indexed"] + summary["duplicate"]
    again = finish(photos, tmp_path)
    assert again["unchanged"] == summary["indexed"] + summary["duplicate"]
    assert_equal(contents(tmp_path), unkilled)


def test_a_second_ctrl_c_stops_at_once_and_the_next_run_completes_it(
    photos: Path, unkilled: dict[str, Record], tmp_path: Path
) -> None:
    process = start(photos, tmp_path)
    assert process.stderr is not None
    assert wait_until(process, lambda: rows(tmp_path) > 0)
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "Ctrl-C once more" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    finish(photos, tmp_path)
    assert_equal(contents(tmp_path), unkilled)


def test_a_second_program_is_told_that_the_store_is_in_use(photos: Path, tmp_path: Path) -> None:
    first = start(photos, tmp_path)
    assert wait_until(first, lambda: rows(tmp_path) > 0)
    first.send_signal(signal.SIGSTOP)  # it keeps what it has
    try:
        second = start(photos, tmp_path)
        _, stderr = second.communicate()
    finally:
        first.send_signal(signal.SIGCONT)
        first.communicate()
    assert second.returncode == 6
    errors = [line for line in stderr.splitlines() if line.startswith("engine: ")]
    assert len(errors) == 1 and f"pid {first.pid}" in errors[0] and "Traceback" not in stderr


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_ledger_that_is_no_ledger_is_one_clear_line(photos: Path, tmp_path: Path, moment: str) -> None:
    assert finish(photos, tmp_path)["indexed"] > 0
    ledger = tmp_path / "store" / "fashion" / "ledger.sqlite"
    if moment == "before":
        ledger.write_bytes(b"nothing that SQLite knows" * 100)
    else:
        data = bytearray(ledger.read_bytes())
        data[8192:] = os.urandom(len(data) - 8192)
        ledger.write_bytes(bytes(data))
    process = start(photos, tmp_path)
    _, stderr = process.communicate()
    assert process.returncode == 6 and "Traceback" not in stderr
    assert f"{ledger} is damaged" in stderr and "delete it" in stderr
    for leftover in ledger.parent.glob("ledger.sqlite*"):
        leftover.unlink()
    assert finish(photos, tmp_path)["unchanged"] == 0
