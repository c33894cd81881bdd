"""A whole collection to a server and back: nothing embedded again, nothing lost, nothing mixed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qdrant_http import serve

from engine.errors import PassportError, StoreError
from engine.records import Point, point_id
from engine.store.copy import PAGE, copy_collection
from engine.store.edge import EdgeStore
from engine.store.protocol import CollectionSpec, Store
from engine.store.server import ServerStore

Program = Callable[..., subprocess.CompletedProcess[str]]


def shop(folder: Path, count: int = 20, *, patches: int = 0, fingerprint: str = "one") -> EdgeStore:
    store = EdgeStore(folder, "fashion")
    store.create(CollectionSpec(4, {"fingerprint": fingerprint, "checkpoint": "c"}, {"colour": "keyword"}, patches))
    rng = np.random.default_rng(3)
    points = []
    for n in range(count):
        rows = rng.normal(size=(1 + 3, 4)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        small = rows[1:, :patches] / np.linalg.norm(rows[1:, :patches], axis=1, keepdims=True) if patches else None
        points.append(Point(point_id(f"i{n}"), rows[0], {"item_id": f"i{n}", "colour": "red"}, small))
    store.upsert(points)
    return store


def everything(store: Store) -> dict[str, tuple[object, list[float]]]:
    records, rest = store.scroll(None, 10_000, vectors=True)
    assert rest is None
    return {one.id: (one.payload, np.round(one.vector, 4).tolist()) for one in records if one.vector is not None}


def test_a_pushed_collection_is_the_same_on_the_server_and_pulled_back(tmp_path: Path) -> None:
    with serve() as url, shop(tmp_path / "here", PAGE + 5) as here, ServerStore(url, "fashion") as server:
        assert copy_collection(here, server).written == PAGE + 5
        assert server.spec().passport == here.spec().passport
        assert server.facet("colour") == [("red", PAGE + 5)]
        with EdgeStore(tmp_path / "back", "fashion") as back:
            copy_collection(server, back)
            assert everything(here) == everything(server) == everything(back)


def test_patches_are_copied_too(tmp_path: Path) -> None:
    with shop(tmp_path / "here", patches=2) as here, EdgeStore(tmp_path / "there", "fashion") as there:
        copy_collection(here, there)
        (ours,), (theirs,) = (store.retrieve([point_id("i7")], patches=True) for store in (here, there))
        assert ours.patches is not None
        assert theirs.patches is not None
        np.testing.assert_allclose(ours.patches, theirs.patches, atol=1e-2)


def test_points_with_other_patches_are_written_anew(tmp_path: Path) -> None:
    with shop(tmp_path / "here", patches=2) as here, EdgeStore(tmp_path / "there", "fashion") as there:
        copy_collection(here, there)
        (one,) = there.retrieve([point_id("i7")], vectors=True, patches=True)
        assert one.vector is not None
        assert one.patches is not None
        there.upsert([Point(one.id, one.vector, one.payload or {}, one.patches[::-1].copy())])
        assert copy_collection(here, there).written == 1


def test_a_second_push_writes_only_what_differs(tmp_path: Path) -> None:
    with shop(tmp_path / "here") as here, EdgeStore(tmp_path / "there", "fashion") as there:
        copy_collection(here, there)
        here.set_payload({point_id("i3"): {"item_id": "i3", "colour": "blue"}})
        there.delete([point_id("i4")])
        again = copy_collection(here, there)
        assert (again.written, again.present) == (2, 18)
        assert everything(here) == everything(there)


def test_vectors_of_another_checkpoint_and_points_of_others_are_refused(tmp_path: Path) -> None:
    with (
        shop(tmp_path / "one") as one,
        shop(tmp_path / "other", fingerprint="two") as other,
        shop(tmp_path / "more", 25) as more,
    ):
        with pytest.raises(PassportError, match=r"'c' \(two\).*--as"):
            copy_collection(one, other)
        with pytest.raises(StoreError, match=r"has items that .* has not, 'i2\d' for one; nothing was written"):
            copy_collection(one, more)
        assert more.count() == 25


def test_the_program_pushes_pulls_and_knows_the_files_there(
    program: Program, ingested: Path, drawings: Path, tmp_path: Path
) -> None:
    with serve() as url:
        pushed = program("push", url, "--store", ingested, cwd=tmp_path)
        assert pushed.stdout.startswith(f"48 written, 0 there already, in {url}; "), pushed.stderr
        assert pushed.stdout.endswith("48 of them compared\n")
        again = program("push", url, "--store", ingested, cwd=tmp_path)
        assert again.stdout.startswith("0 written, 48 there already"), again.stderr
        known = program("ingest", drawings, "--store", url, cwd=tmp_path)
        assert "48 unchanged" in known.stdout, known.stderr
        pulled = program("pull", url, "--store", tmp_path / "pulled", cwd=tmp_path)
        assert pulled.stdout.startswith("48 written"), pulled.stderr
    query = ("query", "a red dress", "--paths", "-k", "5", "--store")
    assert program(*query, ingested, cwd=tmp_path).stdout == program(*query, tmp_path / "pulled", cwd=tmp_path).stdout
    emptied = tmp_path / "emptied"
    assert program("ingest", drawings, "--store", emptied, cwd=tmp_path).returncode == 0
    assert program("delete", "--where", "product_id?", "--yes", "--store", emptied, cwd=tmp_path).returncode == 0
    assert program("push", emptied, "--store", ingested, cwd=tmp_path).stdout.startswith("48 written")
    assert "48 unchanged" in program("ingest", drawings, "--store", emptied, cwd=tmp_path).stdout
    onto_itself = program("push", ingested, "--store", ingested, cwd=tmp_path)
    assert onto_itself.returncode == 2
    assert "cannot be copied onto itself" in onto_itself.stderr
