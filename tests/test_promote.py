"""One collection in the place of another: in one step, with its ledger, and nothing lost when it is cut short."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models
from qdrant_http import failure, serving

import engine.store.promote
from engine.errors import StoreError, StoreLocked, StoreMissing
from engine.records import Point, point_id
from engine.store import edge_files as files
from engine.store import edge_shard
from engine.store.edge import EdgeStore
from engine.store.edge_shard import make_generation
from engine.store.promote import promote_embedded
from engine.store.protocol import CollectionSpec, Store
from engine.store.server import ServerStore

Program = Callable[..., subprocess.CompletedProcess[str]]


def fill(store: Store, name: str, dimension: int = 4, **passport: str) -> Store:
    """Make a collection of one point, whose id and passport are ``name``."""
    passport |= {"fingerprint": name, "checkpoint": name}
    store.create(CollectionSpec(dimension, passport, {"colour": "keyword"}))
    vector = np.eye(1, dimension, dtype=np.float32)[0]
    store.upsert([Point(point_id(name), vector, {"item_id": name, "colour": "red"})])
    return store


def held(store: Store) -> tuple[object, list[object]]:
    """Return which checkpoint made a collection, and the items in it."""
    return store.spec().passport["checkpoint"], [one.payload["item_id"] for one in store.scroll()[0] if one.payload]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with the collection ``fashion``, and ``next``, that another checkpoint of other width has made."""
    for name, dimension in (("fashion", 4), ("next", 6)):
        with EdgeStore(tmp_path, name) as store:
            fill(store, name, dimension)
    return tmp_path


def test_an_embedded_collection_is_what_its_successor_was_and_nothing_else_is_left(folder: Path) -> None:
    promote_embedded(folder, "next", "fashion")
    with EdgeStore(folder, "fashion") as store:
        assert held(store) == ("next", ["next"])
        assert store.facet("colour") == [("red", 1)]
    assert not EdgeStore(folder, "next").exists()
    assert [path.name for path in (folder / "fashion").iterdir() if path.is_dir()] == ["2"]


def test_a_collection_that_nobody_has_made_yet_is_promoted_to_as_well(folder: Path) -> None:
    promote_embedded(folder, "next", "shoes")
    with EdgeStore(folder, "shoes") as store:
        assert held(store) == ("next", ["next"])


def test_a_promotion_that_is_cut_short_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = engine.store.promote.copy_collection

    def cut(*arguments: object) -> None:
        copy(*arguments)  # type: ignore[arg-type]
        raise StoreError("cut")

    monkeypatch.setattr(engine.store.promote, "copy_collection", cut)
    with pytest.raises(StoreError, match="cut"):
        promote_embedded(folder, "next", "fashion")
    for name in ("fashion", "next"):
        with EdgeStore(folder, name) as store:
            assert held(store) == (name, [name])
    assert [path.name for path in (folder / "fashion").iterdir() if path.is_dir()] == ["1"]


def test_a_promotion_that_is_interrupted_when_it_has_just_happened_has_happened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = engine.store.promote.files.set_current

    def interrupted(home: Path, generation: str) -> None:
        turn(home, generation)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.store.promote.files, "set_current", interrupted)
    with pytest.raises(KeyboardInterrupt):
        promote_embedded(folder, "next", "fashion")
    with EdgeStore(folder, "fashion") as store:
        assert held(store) == ("next", ["next"])


@pytest.mark.parametrize("busy", ["fashion", "next"])
def test_a_collection_that_is_in_use_is_not_promoted(folder: Path, busy: str) -> None:
    with EdgeStore(folder, busy) as store:
        store.count()
        with pytest.raises(StoreLocked, match=busy):
            promote_embedded(folder, "next", "fashion")


def test_who_waited_for_a_collection_while_it_was_promoted_gets_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = threading.Semaphore(0)
    lock = edge_shard._lock

    def tried(path: Path) -> int:
        tries.release()
        return lock(path)

    found: list[object] = []

    def wait() -> None:
        with EdgeStore(folder, "fashion", wait_s=60) as store:
            found.extend([store.count(), held(store)])

    waiting = threading.Thread(target=wait)
    with EdgeStore(folder, "fashion") as old:
        old.count()
        monkeypatch.setattr(edge_shard, "_lock", tried)
        waiting.start()
        assert tries.acquire(timeout=60)  # it has looked, and it is taken
        name = make_generation(folder, "fashion", CollectionSpec(6, {"checkpoint": "new"}, {}), 0)
        files.set_current(folder / "fashion", name)
    waiting.join(60)
    assert found == [0, ("new", [])]


def test_a_writer_on_a_server_notices_that_another_collection_has_taken_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.store.server.KNOWN_S", -1.0)
    with serving() as double:
        for name in ("fashion", "next"):
            with ServerStore(double.url, name) as store:
                fill(store, name, collection_id=name)
        with ServerStore(double.url, "fashion") as writer, ServerStore(double.url, "fashion") as other:
            fill(writer, "fashion", collection_id="fashion")
            other.take_over("next")
            assert writer.spec().passport["checkpoint"] == "next"
            with pytest.raises(StoreError, match=r"another collection has taken the place of 'fashion'"):
                fill(writer, "late")


def test_a_successor_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(StoreMissing, match=r"'later' in .*there is: fashion, next"):
        promote_embedded(folder, "later", "fashion")


def test_on_a_server_the_alias_changes_hands_in_one_call_and_the_old_collection_goes() -> None:
    with serving() as double:
        for name in ("fashion", "next"):
            with ServerStore(double.url, name) as store:
                fill(store, name)
        with ServerStore(double.url, "fashion") as store:
            assert held(store)[0] == "fashion"
            double.requests.clear()
            store.take_over("next")
            changes = [
                body for method, path, body in double.requests if "/collections/aliases" in path and method == "POST"
            ]
            assert len(changes) == 1
            assert held(store) == ("next", ["next"])
            with pytest.raises(StoreMissing, match=r"'next' at .*there is: fashion"):
                store.take_over("next")
        assert [one.name for one in double.client.get_collections().collections] == ["next_1"]


def test_a_collection_that_two_aliases_mean_outlives_the_promotion_of_one_to_the_other() -> None:
    with serving() as double, ServerStore(double.url, "next") as store:
        fill(store, "next")
        also = models.CreateAlias(collection_name="next_1", alias_name="fashion")
        double.client.update_collection_aliases([models.CreateAliasOperation(create_alias=also)])
        with ServerStore(double.url, "fashion") as promoted:
            promoted.take_over("next")
            assert held(promoted) == ("next", ["next"])


def test_the_name_of_a_promoted_collection_can_be_used_again() -> None:
    with serving() as double:
        for name in ("next", "next"):
            with ServerStore(double.url, name) as store:
                assert not store.exists()
                fill(store, name)
            with ServerStore(double.url, "fashion") as store:
                store.take_over("next")
                assert held(store) == ("next", ["next"])
        assert [one.name for one in double.client.get_collections().collections] == ["next_2"]


def test_a_change_of_aliases_that_the_server_refuses_loses_nothing() -> None:
    with serving() as double:
        for name in ("fashion", "next"):
            with ServerStore(double.url, name) as store:
                fill(store, name)
        double.fault = lambda method, path, _: (
            (400, {}, failure("cut")) if path.endswith("/aliases") and method == "POST" else None
        )
        with ServerStore(double.url, "fashion") as store:
            with pytest.raises(StoreError, match="cut"):
                store.take_over("next")
            assert held(store) == ("fashion", ["fashion"])


def test_a_name_that_is_a_collections_own_is_not_given_away() -> None:
    with serving() as double, ServerStore(double.url, "fashion") as store:
        double.client.create_collection("theirs", vectors_config=models.VectorParams(size=4, distance="Cosine"))
        fill(store, "fashion")
        with pytest.raises(StoreError, match=r"'theirs' at .* is a collection itself"):
            store.take_over("theirs")
        with (
            ServerStore(double.url, "theirs") as other,
            pytest.raises(StoreError, match=r"'theirs' at .* collection itself"),
        ):
            other.take_over("fashion")
        assert held(store) == ("fashion", ["fashion"])


def test_the_program_promotes_with_the_ledger(
    program: Program, ingested: Path, drawings: Path, tmp_path: Path
) -> None:
    (ingested / "fashion").rename(ingested / "next")
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((drawings / "images").iterdir())[:3]:
        shutil.copy(path, few)
    assert program("ingest", few, "--store", ingested, cwd=tmp_path).returncode == 0
    done = program("promote", "next", "--store", ingested, cwd=tmp_path)
    assert done.stdout == "fashion is now what next was: 48 photographs, seen by fashion-small\n", done.stderr
    assert not (ingested / "next").exists()
    again = program("ingest", drawings, "--store", ingested, cwd=tmp_path)
    assert "48 unchanged" in again.stdout, again.stderr
    gone = program("promote", "next", "--store", ingested, cwd=tmp_path)
    assert gone.returncode == 6
    assert "no collection 'next'" in gone.stderr
    itself = program("promote", "fashion", "--store", ingested, cwd=tmp_path)
    assert itself.returncode == 2
    assert "cannot take its own place" in itself.stderr
