"""The embedded store under the knocks that a process on somebody's disk meets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from workshop import killed

from engine.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreMissing, UsageError
from engine.filters import parse_where
from engine.records import Point, point_id
from engine.store import edge_files, edge_shard
from engine.store.edge import EdgeStore
from engine.store.edge_files import has_graph
from engine.store.protocol import CollectionSpec, SearchSpec

DIMENSION = 8
SPEC = CollectionSpec(DIMENSION, {"model": "a"}, {"hat": "bool"})


def points(count: int, start: int = 0) -> list[Point]:
    rng = np.random.default_rng(start)
    vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"item {n}" for n in range(start, start + count)]
    return [
        Point(point_id(name), vector, {"item_id": name, "hat": n % 2 == 0})
        for n, (name, vector) in enumerate(zip(names, vectors, strict=True))
    ]


def made(folder: Path, count: int = 20) -> Path:
    """Make a collection, close it, and return its generation's folder."""
    with EdgeStore(folder, "fashion") as store:
        store.create(SPEC)
        store.upsert(points(count))
    return folder / "fashion" / "1"


def child(code: str, *arguments: object, wait_for: str | None = None) -> subprocess.Popen[str]:
    """Run code in a process of its own; return when it has printed ``wait_for``."""
    program = "import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\nimport test_store_edge as t\n"
    program += "folder = Path(sys.argv[2])\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", program, str(Path(__file__).parent), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if wait_for is not None:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line.strip() != wait_for:
            process.kill()
            raise AssertionError(line + process.communicate()[1])
    return process


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


# --- one owner


def test_a_second_process_is_told_who_has_the_store(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        store.count()
        said = finish(
            child(
                """
                try:
                    t.EdgeStore(folder, "fashion").count()
                except t.StoreLocked as error:
                    print(error)
                """,
                tmp_path,
            )
        )
    assert f"pid {os.getpid()} (" in said
    assert str(tmp_path / "fashion") in said


def test_a_second_process_waits_until_the_first_lets_go(tmp_path: Path) -> None:
    made(tmp_path)
    store = EdgeStore(tmp_path, "fashion")
    store.count()
    waiting = child(
        """
        print("ready", flush=True)
        store = t.EdgeStore(folder, "fashion", wait_s=50)
        print(store.count())
        store.close()
        """,
        tmp_path,
        wait_for="ready",
    )
    store.close()
    assert finish(waiting) == "20"
    assert not (tmp_path / "fashion" / "owner.json").exists()


def test_the_owners_word_holds_no_arguments_that_could_be_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/engine", "serve", "--api-key", "hunter2"])
    with EdgeStore(tmp_path, "fashion") as store:
        store.count()
        owner = json.loads((tmp_path / "fashion" / "owner.json").read_text())
        assert owner["command"] == "engine serve"
        with pytest.raises(StoreLocked, match=r"\(engine serve, since 20"):
            EdgeStore(tmp_path, "fashion").count()


def test_a_lock_without_word_of_its_owner_is_still_a_lock(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        store.count()
        (tmp_path / "fashion" / "owner.json").write_text("{")
        with pytest.raises(StoreLocked, match="another process"):
            EdgeStore(tmp_path, "fashion").count()


def test_who_is_refused_leaves_the_owner_unharmed(tmp_path: Path) -> None:
    made(tmp_path, 0)
    with EdgeStore(tmp_path, "fashion") as owner:
        for start in range(0, 200, 10):
            owner.upsert(points(10, start))
            with pytest.raises(StoreLocked):
                EdgeStore(tmp_path, "fashion").count()
            owner.flush()
    with EdgeStore(tmp_path, "fashion") as store:
        assert store.count() == 200


def test_who_is_refused_changes_nothing_of_what_the_collection_is(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path, "fashion") as owner:
        before = owner.spec()
        owner.count()
        for call in (lambda other: other.add_ledger("theirs"), lambda other: other.add_fields({"colour": "keyword"})):
            with pytest.raises(StoreLocked):
                call(EdgeStore(tmp_path, "fashion"))
    assert EdgeStore(tmp_path, "fashion").spec() == before


def test_what_a_locked_collection_is_can_be_read_without_its_lock(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        store.count()
        other = EdgeStore(tmp_path, "fashion")
        assert other.exists()
        assert other.spec().passport == {"model": "a"}


def test_a_store_that_was_closed_opens_again(tmp_path: Path) -> None:
    made(tmp_path)
    store = EdgeStore(tmp_path, "fashion")
    for _ in range(3):
        assert store.count() == 20
        store.close()
        store.close()


def test_what_another_has_written_meanwhile_is_heeded_when_the_store_is_opened(tmp_path: Path) -> None:
    made(tmp_path)
    store = EdgeStore(tmp_path, "fashion")
    for turn, left in enumerate((15, 10), 1):
        store.spec()  # which it remembers, and how many points were promised
        with EdgeStore(tmp_path, "fashion") as other:
            other.delete([point.id for point in points(5 * turn)])
            other.add_ledger(f"of turn {turn}")
        assert store.count() == left
        assert len(store.spec().ledgers) == turn
        store.close()


def test_a_store_that_was_closed_forgets_what_it_knew_of_the_collection(tmp_path: Path) -> None:
    made(tmp_path)
    store = EdgeStore(tmp_path, "fashion")
    store.count()
    store.close()
    with EdgeStore(tmp_path, "fashion") as other:
        other.add_ledger("theirs")
    assert store.spec().ledgers == ["theirs"]


def test_the_address_of_a_server_is_told_of_again_when_its_store_is_opened_again(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        store.announce("http://127.0.0.1:8000", "me")
        store.close()
        store.count()
        told = json.loads((tmp_path / "fashion" / "owner.json").read_text())
        assert told["served"] == ["http://127.0.0.1:8000", "me"]


def test_who_creates_a_collection_that_another_has_just_made_takes_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = edge_shard.make_generation

    def late(*arguments: Any) -> str:
        monkeypatch.setattr(edge_shard, "make_generation", real)
        made(tmp_path)
        return real(*arguments)

    monkeypatch.setattr(edge_shard, "make_generation", late)
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(SPEC)
        assert store.count() == 20


# --- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gets_an_error_instead_of_hanging_and_leaves_the_files_alone(tmp_path: Path) -> None:
    made(tmp_path)
    said = finish(
        child(
            """
            import os, signal
            store = t.EdgeStore(folder, "fashion")
            store.upsert(t.points(30, 100))
            store.search(t.SearchSpec(t.points(1)[0].vector))
            files = lambda: sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file())
            before = files()
            process = os.fork()
            if process == 0:
                signal.alarm(20)
                calls = [store.count, store.flush, lambda: store.upsert(t.points(1)), lambda: store.delete(["x"])]
                calls.append(lambda: store.search(t.SearchSpec(t.points(1)[0].vector)))
                for call in calls:
                    try:
                        call()
                        os._exit(1)
                    except t.StoreError as error:
                        assert "fork" in str(error)
                store.close()
                sys.exit(0)
            assert os.waitpid(process, 0)[1] == 0
            assert files() == before
            assert store.count() == 50
            store.upsert(t.points(10, 200))
            store.close()
            print(t.EdgeStore(folder, "fashion").count())
            """,
            tmp_path,
        )
    )
    assert said == "60"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(tmp_path: Path) -> None:
    made(tmp_path)
    code = """
    import os, signal, threading
    store = t.EdgeStore(folder, "fashion")
    inside, go_on = threading.Event(), threading.Event()

    def read():
        with store._owner.reading():
            inside.set()
            go_on.wait()

    reading = threading.Thread(target=read)
    reading.start()
    inside.wait()
    process = os.fork()
    if process == 0:
        signal.alarm(5)
        try:
            store.count()
        except t.StoreError as error:
            os._exit(0 if "fork" in str(error) else 1)
    go_on.set()
    print(os.waitpid(process, 0)[1])
    reading.join()
    """
    assert finish(child(code, tmp_path)) == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_store_first_used_after_the_fork_works_in_the_child(tmp_path: Path) -> None:
    made(tmp_path)
    code = """
    import os, signal
    store = t.EdgeStore(folder, "fashion")
    process = os.fork()
    if process == 0:
        signal.alarm(20)
        with store:
            os._exit(0 if store.count() == 20 else 1)
    print(os.waitpid(process, 0)[1])
    """
    assert finish(child(code, tmp_path)) == "0"


# --- sudden ends


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_process_that_is_killed_loses_nothing_it_was_told_was_written(tmp_path: Path) -> None:
    writing = child(
        """
        import time
        store = t.EdgeStore(folder, "fashion")
        store.create(t.SPEC)
        store.upsert(t.points(700))
        store.delete([point.id for point in t.points(20)])
        store.set_payload({t.point_id("item 50"): {"item_id": "item 50", "source": "table"}})
        print("written", flush=True)
        time.sleep(60)
        """,
        tmp_path,
        wait_for="written",
    )
    writing.send_signal(signal.SIGKILL)
    writing.communicate()
    with EdgeStore(tmp_path, "fashion") as store:
        assert store.count() == 680
        assert store.retrieve([point_id("item 50")])[0].payload == {"item_id": "item 50", "source": "table"}


def unflushed(folder: Path) -> Path:
    """Make a collection of 20 points whose maker ended without a flush, and return its collection.json."""
    code = """
    import os
    store = t.EdgeStore(folder, "fashion")
    store.create(t.SPEC)
    store.upsert(t.points(20))
    os._exit(0)
    """
    finish(child(code, folder))
    return folder / "fashion" / "1" / "collection.json"


def promised(file: Path) -> int:
    """Return how many points the last flush has promised."""
    return int(json.loads(file.read_text(encoding="utf-8"))["points"])


def test_a_store_that_was_only_read_is_closed_without_a_flush(tmp_path: Path) -> None:
    file = unflushed(tmp_path)
    before = file.stat()
    with EdgeStore(tmp_path, "fashion") as store:
        assert store.count() == 20
        assert len(store.search(SearchSpec(points(1)[0].vector))) == 10
        assert len(store.scroll(vectors=True)[0]) == 20
        assert store.facet("hat") == [(False, 10), (True, 10)]
        store.add_fields({"hat": "bool"})  # it is there already
        store.create(SPEC)
        assert store.health().points == 20
    assert promised(file) == 0
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.upsert(points(1)),
        lambda store: store.set_payload({point_id("item 1"): {"item_id": "item 1"}}),
        lambda store: store.add_fields({"colour": "keyword"}),
        lambda store: store.add_ledger("one"),
    ],
    ids=["upsert", "set_payload", "add_fields", "add_ledger"],
)
def test_a_store_that_was_written_to_is_flushed_when_it_is_closed(
    tmp_path: Path, write: Callable[[EdgeStore], None]
) -> None:
    file = unflushed(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        write(store)
        assert promised(file) == 0
    assert promised(file) == 20


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("after_ms", [0, 3, 8, 20, 60])
def test_whenever_it_is_killed_the_promised_count_is_never_above_the_truth(tmp_path: Path, after_ms: int) -> None:
    writing = child(
        """
        store = t.EdgeStore(folder, "fashion")
        store.create(t.SPEC)
        store.upsert(t.points(50))
        store.flush()
        print("go", flush=True)
        for n in range(10_000):
            store.delete([point.id for point in t.points(30)])
            store.upsert(t.points(50))
            if n % 3 == 0:
                store.flush()
        """,
        tmp_path,
        wait_for="go",
    )
    end = time.monotonic() + after_ms / 1000
    while time.monotonic() < end:
        pass
    writing.send_signal(signal.SIGKILL)
    writing.communicate()
    with EdgeStore(tmp_path, "fashion") as store:
        assert store.count() in (20, 50)


def test_a_deletion_promises_no_more_points_than_the_last_flush(tmp_path: Path) -> None:
    file = unflushed(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        store.delete([points(1)[0].id])
        assert promised(file) == 0
        store.flush()
        assert promised(file) == 19
        store.delete([points(2)[1].id])
        assert promised(file) == 18, "and no more than are left, before they are deleted"


def test_however_many_points_come_at_once_all_are_written(tmp_path: Path) -> None:
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(SPEC)
        for count in (1, 500, 501, 1000):
            store.upsert(points(count))
            assert store.count() == count


def test_what_was_optimized_is_durable_before_the_store_is_closed(tmp_path: Path) -> None:
    file = unflushed(tmp_path)
    with EdgeStore(tmp_path, "fashion") as store:
        store.optimize()
        assert promised(file) == 20


def test_an_interrupted_creation_leaves_nothing_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EdgeStore(tmp_path, "fashion")
    with monkeypatch.context() as patch:
        patch.setattr(edge_files, "write_spec", killed)
        with pytest.raises(KeyboardInterrupt):
            store.create(SPEC)
    assert not store.exists()
    store.create(SPEC)
    assert store.count() == 0
    store.close()
    assert sorted(path.name for path in (tmp_path / "fashion").iterdir()) == ["1", "CURRENT"]


# --- damage


def corrupt(path: Path, call: Callable[[EdgeStore], Any] = EdgeStore.count) -> str:
    with pytest.raises(StoreCorrupt) as error, EdgeStore(path.parents[1], "fashion") as store:
        call(store)
    assert "engine ingest" in str(error.value)
    assert str(path.parent) in str(error.value)
    return str(error.value)


def test_lost_segments_are_noticed_although_the_engine_opens_them_as_empty(tmp_path: Path) -> None:
    path = made(tmp_path)
    for segment in (path / "segments").iterdir():
        shutil.rmtree(segment)
    shutil.rmtree(path / "wal")  # the log, while it lasts, brings them back
    assert "0 points instead of 20" in corrupt(path)


def test_a_store_that_was_found_damaged_and_put_right_can_be_opened_by_the_same_process(tmp_path: Path) -> None:
    file = made(tmp_path) / "collection.json"
    right = file.read_text()
    file.write_text(json.dumps({**json.loads(right), "points": 21}))
    assert "20 points instead of 21" in corrupt(file.parent)
    file.write_text(right)
    with EdgeStore(tmp_path, "fashion") as store:
        assert store.count() == 20


def test_lost_payloads_are_noticed_although_the_engine_opens_them_as_empty(tmp_path: Path) -> None:
    path = made(tmp_path)
    for storage in path.glob("segments/*/payload_storage"):
        shutil.rmtree(storage)
    shutil.rmtree(path / "wal")
    assert "payloads" in corrupt(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff", b"[]", b'{"schema_version": 1}', b'{"fields": 3}'])
def test_a_damaged_collection_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = made(tmp_path)
    (path / "collection.json").write_bytes(content)
    assert "collection.json" in corrupt(path, EdgeStore.spec)


def test_a_damaged_current_file_is_named(tmp_path: Path) -> None:
    path = made(tmp_path)
    for content in ("7\n", "", "../fashion"):
        (path.parent / "CURRENT").write_text(content)
        assert "CURRENT" in corrupt(path, EdgeStore.exists)


def damage(file: Path, how: str) -> None:
    size = file.stat().st_size
    with file.open("r+b") as out:
        if how == "scrambled":
            out.write(bytes(byte ^ 0x5A for byte in b"\x01\x02\x03" * 100)[:size])
        else:
            out.truncate(0 if how == "emptied" else size // 2)


@pytest.mark.skipif(sys.platform != "linux", reason="copies sparse files with GNU cp")
@pytest.mark.parametrize("how", ["emptied", "halved", "scrambled"])
def test_whatever_file_is_damaged_the_process_lives_and_answers_or_says_so_in_our_words(
    tmp_path: Path, how: str
) -> None:
    whole = made(tmp_path / "whole")
    files = [file.relative_to(whole) for file in whole.rglob("*") if file.is_file()]
    one_of_each = {file.name: file for file in files if "payload_index" not in file.parts}
    for number, file in enumerate(one_of_each.values()):
        copy = tmp_path / str(number)
        subprocess.run(["cp", "-a", "--sparse=always", str(whole.parents[1]), str(copy)], check=True)
        damage(copy / "fashion" / "1" / file, how)
    # In a process of its own: damage to files that are mapped into memory could kill it.
    said = finish(
        child(
            """
            import engine.errors
            for copy in sorted(folder.glob("[0-9]*")):
                try:
                    with t.EdgeStore(copy, "fashion") as store:
                        store.count()
                        store.search(t.SearchSpec(t.points(1)[0].vector, limit=50))
                        print("answered")
                except engine.errors.StoreCorrupt as error:
                    assert "engine ingest" in str(error)
                    print("refused")
            """,
            tmp_path,
        )
    )
    assert len(said.split()) == len(one_of_each)
    assert said.split().count("refused") >= 5


def test_a_newer_collection_is_left_to_a_newer_program(tmp_path: Path) -> None:
    path = made(tmp_path)
    content = json.loads((path / "collection.json").read_text())
    (path / "collection.json").write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(StoreError, match="schema version 99"):
        EdgeStore(tmp_path, "fashion").count()


# --- room


def test_without_room_on_the_disk_nothing_is_written(tmp_path: Path) -> None:
    made(tmp_path)
    huge = 2**62
    with EdgeStore(tmp_path, "fashion", min_free_bytes=huge) as store:
        before = store.scroll(limit=100)
        calls: list[Callable[[], object]] = [
            lambda: store.upsert(points(3, 500)),
            lambda: store.delete([points(1)[0].id]),
            lambda: store.set_payload({points(1)[0].id: {"item_id": "item 0"}}),
            lambda: store.add_fields({"brand": "keyword"}),
            store.optimize,
        ]
        for call in calls:
            with pytest.raises(StoreFull, match="MiB are free"):
                call()
        assert store.scroll(limit=100) == before
    with pytest.raises(StoreFull):
        EdgeStore(tmp_path / "other", "fashion", min_free_bytes=huge).create(SPEC)
    assert not EdgeStore(tmp_path / "other", "fashion").exists()


def test_the_room_that_points_will_take_is_there_beforehand_or_none_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path, "fashion", min_free_bytes=2**20) as store:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**21))
        store.upsert(points(10, 100))
        with pytest.raises(StoreFull):
            store.upsert(points(1000, 200))
        assert store.count() == 30


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        EdgeStore(tmp_path / "file", "fashion").create(SPEC)


# --- what the engine gets wrong by itself


def test_booleans_are_found_as_booleans(tmp_path: Path) -> None:
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(SPEC)
        store.upsert(points(10))
        assert store.count(parse_where(["hat=true"])) == 5
        assert store.count(parse_where(["hat=false"])) == 5
        assert store.count(parse_where(["hat=true,false"])) == 10
        assert store.facet("hat") == [(False, 5), (True, 5)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "null; leave it out"),
        (float("nan"), "nan; leave it out"),
        (float("inf"), "inf; leave it out"),
        (np.float64(1.5), "float64, which no payload may hold"),
        (np.int64(1), "int64"),
        (np.bool_(True), "bool"),
        (np.str_("a"), "str_"),
        ({"a": 1}, "dict"),
        (("a",), "tuple"),
        (b"a", "bytes"),
        ([["a"]], "a list that cannot be"),
        (["a", 1], "a list that cannot be"),
        (["a", None], "a list that cannot be"),
        (2**63, "more than 64 bits"),
        ("\udcff", "no valid Unicode"),
        (["\udcff"], "no valid Unicode"),
    ],
)
def test_a_payload_value_that_is_none_of_ours_is_refused_by_name(tmp_path: Path, value: Any, message: str) -> None:
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(SPEC)
        good, bad = points(2)
        with pytest.raises(StoreError, match=f"item 'item 1': the field 'extra' is .*{message}"):
            store.upsert([good, Point(bad.id, bad.vector, {**bad.payload, "extra": value})])
        assert store.count() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hat", 1),
        ("hat", "true"),
        ("hat", ["true"]),
        ("width", 1.0),
        ("width", True),
        ("width", "7"),
        ("source", 7),
        ("title", 7),
        ("uri", False),
        ("captions", [1]),
    ],
)
def test_a_payload_value_of_another_kind_than_its_field_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(SPEC)
        (point,) = points(1)
        with pytest.raises(StoreError, match=f"item 'item 0': the field '{field}'"):
            store.upsert([Point(point.id, point.vector, {**point.payload, field: value})])


def test_dates_are_taken_only_as_qdrant_reads_them(tmp_path: Path) -> None:
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(CollectionSpec(DIMENSION, {}, {"created": "datetime"}))
        (point,) = points(1)
        for bad in ("soon", "2024", "20240101", "2024-13-01", "2024-01-01T10", 20240101):
            with pytest.raises(StoreError, match="'created'"):
                store.upsert([Point(point.id, point.vector, {"item_id": "item 0", "created": bad})])
        for good in ("2024-01-01", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00.25", "2024-01-01T10:00:00+01:00"):
            store.upsert([Point(point.id, point.vector, {"item_id": "item 0", "created": good})])
            assert store.count(parse_where(["2023-12-31<created<2024-01-02"])) == 1, good


def test_a_wrong_field_or_dimension_is_refused_at_creation(tmp_path: Path) -> None:
    for spec, message in [
        (CollectionSpec(0, {}), "dimension"),
        (CollectionSpec(8, {}, {"Colour": "keyword"}), "snake_case"),
        (CollectionSpec(8, {}, {"colour": "colour"}), "'colour' cannot be 'colour'"),  # type: ignore[dict-item]
        (CollectionSpec(8, {}, {"item_id": "text"}), "'item_id' is keyword and cannot become text"),
        (CollectionSpec(8, {}, {"title": "keyword"}), "'title' is text"),
    ]:
        with pytest.raises(StoreError, match=message):
            EdgeStore(tmp_path, "fashion").create(spec)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "a b", "ä", "x" * 101])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a collection"):
        EdgeStore(tmp_path, name)


def test_a_missing_collection_names_those_there_are(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(StoreMissing, match=r"no collection 'fashon' in .* \(there is: fashion\)"):
        EdgeStore(tmp_path, "fashon").count()


# --- the graph, and generations


def test_a_collection_stays_owned_while_its_graph_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    monkeypatch.setattr("engine.store.edge.needs_graph", lambda points, dimension: True)
    reopened = []

    def reopen(*arguments: Any) -> Any:
        with pytest.raises(StoreLocked):
            EdgeStore(tmp_path, "fashion").count()
        reopened.append(True)
        return load(*arguments)

    load = edge_shard._load
    with EdgeStore(tmp_path, "fashion") as store:
        before = store.count()
        monkeypatch.setattr(edge_shard, "_load", reopen)
        store.optimize()
        assert reopened
        assert store.count() == before


@pytest.mark.parametrize("graph", [False, True])
def test_after_optimizing_codes_or_graph_find_nearly_what_is_true_and_survive_reopening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: bool
) -> None:
    if graph:
        monkeypatch.setattr("engine.store.edge_convert.FULL_SCAN_BELOW_KB", 10_000)
    rng = np.random.default_rng(3)
    wide = rng.normal(size=(5_200, 1024)).astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    with EdgeStore(tmp_path, "fashion") as store:
        store.create(CollectionSpec(1024, {}))
        names = [f"item {n}" for n in range(len(wide))]
        store.upsert([Point(point_id(n), v, {"item_id": n}) for n, v in zip(names, wide, strict=True)])
        store.optimize()
        assert store.health().indexed == len(wide)
        assert store.count() == len(wide)
    assert has_graph(tmp_path / "fashion" / "1") == graph
    with EdgeStore(tmp_path, "fashion") as store:
        queries = wide[:20] + 0.5 * rng.normal(size=(20, 1024)).astype(np.float32) / 32
        exact = store.search_batch([SearchSpec(query, exact=True) for query in queries])
        fast = store.search_batch([SearchSpec(query) for query in queries])
        for query, true, near in zip(queries, exact, fast, strict=True):
            scores = np.sort(wide @ query / np.linalg.norm(query))[::-1][:10]
            assert [hit.score for hit in true] == pytest.approx(scores.tolist(), abs=1e-5)
            assert near[0] == true[0]
