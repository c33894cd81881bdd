"""Bringing a collection up to date: every file in one state, nothing embedded twice, nothing lost."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tarfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from workshop import CountingEncoder, Shop, paint, vectors_of

from engine.encoder import Encoder
from engine.errors import SourceError, StoreFull
from engine.passport import make_passport
from engine.records import Item, Point, Record, Rejected, Vector, point_id
from engine.store.edge import EdgeStore
from engine.store.protocol import CollectionSpec
from engine.store.schema import CORE_FIELDS
from ingest import worker
from ingest.ledger import Ledger
from ingest.sources.detect import open_source
from ingest.sources.folder import FolderSource
from ingest.summary import Summary


def fill(shop: Shop, count: int = 6) -> list[Path]:
    paths = [shop.photos / f"photo-{n:02}.png" for n in range(count)]
    for n, path in enumerate(paths):
        paint(path, n)
    return paths


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 5_000_000_000))


@contextmanager
def ledger_not_written(shop: Shop) -> Iterator[None]:
    """Leave the ledger as it was, as if the runs within had been killed after the store and before the ledger."""
    ledger, kept = shop.store_folder / "fashion" / "ledger.sqlite", shop.store_folder / "kept"
    shutil.copy(ledger, kept)
    yield
    for leftover in ledger.parent.glob("ledger.sqlite*"):
        leftover.unlink()
    shutil.copy(kept, ledger)


def same_vector(left: object, right: object) -> bool:
    return bool(np.allclose(np.asarray(left), np.asarray(right), atol=1e-5))


# --- first run, second run


def test_every_drawing_is_indexed_with_what_its_source_knows(drawings: Path, ingested: Path) -> None:
    with EdgeStore(ingested, "fashion") as store:
        records, _ = store.scroll(limit=100, vectors=True)
    assert len(records) == 48
    for record in records:
        payload = record.payload or {}
        assert payload["source"] == "deepfashion" and payload["captions"] and payload["gender"]
        assert Path(str(payload["uri"])).is_relative_to(drawings)
        with Image.open(str(payload["uri"])) as image:
            assert (payload["width"], payload["height"]) == image.size
        assert record.vector is not None and abs(float(np.linalg.norm(record.vector)) - 1) < 1e-5


def test_running_again_finds_everything_unchanged_and_does_not_load_the_encoder(
    drawings: Path, ingested: Path, bundled_encoder: Encoder, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, bundled_encoder)
    shop.store_folder = ingested
    assert shop.ingest(drawings) == Summary(found=48, unchanged=48)
    assert shop.loaded == 0


def test_a_run_with_files_that_are_no_photographs_does_not_load_the_encoder_again(shop: Shop) -> None:
    fill(shop, 3)
    (shop.photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    assert shop.ingest() == Summary(found=4, indexed=3, quarantined=1)
    assert shop.ingest() == Summary(found=4, unchanged=3, quarantined=1)
    assert shop.loaded == 0 and [problem.uri for problem in shop.problems] == [str(shop.photos / "broken.jpg")]


def test_a_store_that_a_run_left_unoptimized_is_optimized_by_the_next(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def full(store: EdgeStore) -> None:
        calls.append("full")
        raise StoreFull("no room")

    fill(shop, 3)
    with monkeypatch.context() as patch:
        patch.setattr(EdgeStore, "optimize", full)
        with pytest.raises(StoreFull):
            shop.ingest()
    monkeypatch.setattr(EdgeStore, "optimize", lambda store: calls.append("optimized"))
    assert shop.ingest() == Summary(found=3, unchanged=3)
    assert calls == ["full", "optimized"]
    shop.ingest()
    assert calls == ["full", "optimized"], "and not again, as nothing has changed"


def test_the_encoder_is_let_go_of_before_the_store_is_optimized(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(shop, 3)
    shop.ingest()
    paint(shop.photos / "new.jpg", 99)
    made: list[weakref.ref[CountingEncoder]] = []
    still_there: list[bool] = []

    def load() -> CountingEncoder:
        encoder = CountingEncoder(shop.encoder)
        made.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(EdgeStore, "optimize", lambda store: still_there.append(made[0]() is not None))
    with EdgeStore(shop.store_folder, "fashion") as store, closing(shop.ledger(store)) as ledger:
        assert worker.ingest(open_source(shop.photos), store, ledger, load, workers=2).indexed == 1
    assert len(made) == 1
    assert still_there == [False], "what the towers take is wanted for optimizing"


def test_a_relative_path_is_the_same_source_as_an_absolute_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(shop, 3)
    shop.ingest()
    monkeypatch.chdir(shop.photos.parent)
    assert shop.ingest(Path("photos")).unchanged == 3
    monkeypatch.chdir(shop.photos)
    again = shop.ingest(Path("..") / "photos", prune=True)
    assert (again.quarantined, again.pruned, shop.embedded) == (0, 0, 0)


def test_a_source_without_one_photograph_is_an_error_that_still_reports_why(shop: Shop) -> None:
    fill(shop, 1)
    (shop.photos / "photo-00.png").rename(shop.photos / ".hidden.png")
    (shop.photos / "gone.png").symlink_to(shop.photos / "nowhere")
    with pytest.raises(SourceError):
        shop.ingest(source=_Bare(shop.photos))
    assert {problem.state for problem in shop.problems} == {"excluded", "quarantined"}


class _Bare(FolderSource):
    """A folder that had a photograph when it was opened."""

    def __init__(self, root: Path) -> None:
        (root / "one.png").write_bytes(b"")
        super().__init__(root)
        (root / "one.png").unlink()


# --- what changes


def test_a_changed_file_is_replaced(shop: Shop) -> None:
    paths = fill(shop)
    shop.ingest()
    before = vectors_of(shop.points())
    paint(paths[2], 77)
    assert shop.ingest() == Summary(found=6, indexed=1, unchanged=5)
    after = vectors_of(shop.points())
    assert [name for name in before if not same_vector(before[name], after[name])] == ["photo-02"]
    assert shop.ingest().unchanged == 6


def test_a_changed_file_that_is_no_photograph_any_more_leaves_the_collection(shop: Shop) -> None:
    paths = fill(shop)
    shop.ingest()
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    assert shop.ingest() == Summary(found=6, unchanged=5, quarantined=1)
    assert "photo-01" not in shop.points()
    paint(paths[1], 1)
    assert shop.ingest() == Summary(found=6, indexed=1, unchanged=5)


def test_a_file_that_cannot_be_read_just_now_keeps_its_point(shop: Shop) -> None:
    paths = fill(shop, 3)
    shop.ingest()
    touch(paths[0])
    touch(paths[1])

    class Vanishing(FolderSource):
        def read(self, item: Item) -> bytes:
            Path(item.uri).unlink(missing_ok=True)
            return super().read(item)

    summary = shop.ingest(source=Vanishing(shop.photos))
    assert summary == Summary(found=3, unchanged=1, quarantined=2)
    assert len(shop.points()) == 3
    assert shop.ingest(prune=True) == Summary(found=1, unchanged=1, pruned=2)


def test_a_touched_file_is_not_embedded_again(shop: Shop) -> None:
    paths = fill(shop)
    shop.ingest()
    before = shop.points()
    touch(paths[3])
    assert shop.ingest() == Summary(found=6, indexed=1, unchanged=5, metadata=1)
    assert shop.loaded == 0
    after = shop.points()
    assert {name: record.payload for name, record in before.items()} == shop.payloads()
    assert all(same_vector(before[name].vector, after[name].vector) for name in before)
    assert shop.ingest().unchanged == 6


def test_changed_metadata_changes_the_payload_and_keeps_the_vector(shop: Shop) -> None:
    paths = fill(shop, 3)
    for n, path in enumerate(paths):
        path.with_suffix(".json").write_text(f'{{"price": {n}, "brand": "Alma"}}')
    shop.ingest()
    before = shop.points()
    paths[1].with_suffix(".json").write_text('{"price": 99}')
    paths[2].with_suffix(".txt").write_text("a red dress")
    assert shop.ingest() == Summary(found=3, indexed=2, unchanged=1, metadata=2)
    after = shop.points()
    assert shop.loaded == 0
    assert all(same_vector(before[name].vector, after[name].vector) for name in before)
    payloads = shop.payloads()
    assert payloads["photo-01"]["price"] == 99 and "brand" not in payloads["photo-01"]
    assert payloads["photo-02"]["captions"] == ["a red dress"] and payloads["photo-00"]["brand"] == "Alma"


def test_a_caption_that_is_the_title_is_not_said_twice(shop: Shop) -> None:
    fill(shop, 2)
    table = shop.photos.parent / "t.csv"
    table.write_text(
        "id,image,title,caption\na,photos/photo-00.png,Red dress,\nb,photos/photo-01.png,Hat,A warm hat\n"
    )
    shop.ingest(table)
    payloads = shop.payloads()
    assert (payloads["a"]["title"], payloads["a"].get("captions")) == ("Red dress", None)
    assert (payloads["b"]["title"], payloads["b"].get("captions")) == ("Hat", ["A warm hat"])


def test_a_later_source_may_say_in_other_kinds_what_the_collection_has(shop: Shop) -> None:
    for name, size, price in (("a", "S", 5), ("b", 38.0, 9.5)):
        paint(shop.photos / name / f"{name}.png", ord(name))
        (shop.photos / name / f"{name}.json").write_text(json.dumps({"size": size, "price": price}))
        assert shop.ingest(shop.photos / name) == Summary(found=1, indexed=1)
    said = {name: (payload["size"], payload["price"]) for name, payload in shop.payloads().items()}
    assert said == {"a": ("S", 5), "b": ("38", 9.5)}
    with EdgeStore(shop.store_folder, "fashion") as store:
        assert (store.spec().fields["size"], store.spec().fields["price"]) == ("keyword", "float")
        assert [store.count({"must": [{"key": "price", "range": {"gt": n}}]}) for n in (4, 9)] == [2, 1]
    assert shop.ingest(shop.photos / "b") == Summary(found=1, unchanged=1)


def test_metadata_that_the_store_refuses_quarantines_one_item_and_not_the_run(shop: Shop) -> None:
    paths = fill(shop, 3)
    paths[1].with_suffix(".json").write_text('{"price": 7}')

    class Odd(FolderSource):
        def items(self) -> Iterator[Item | Rejected]:
            for entry in super().items():
                if isinstance(entry, Item) and "price" in entry.payload:
                    entry.payload["price"] = 2**70
                yield entry

    assert shop.ingest(source=Odd(shop.photos)) == Summary(found=3, indexed=2, quarantined=1)
    assert "64 bits" in shop.problems[0].reason
    assert shop.ingest() == Summary(found=3, indexed=1, unchanged=2)


def test_a_renamed_file_reuses_its_vector_and_prune_deletes_the_old_name(shop: Shop) -> None:
    paths = fill(shop)
    shop.ingest()
    before = vectors_of(shop.points())
    paths[4].rename(shop.photos / "another-name.png")
    assert shop.ingest() == Summary(found=6, indexed=1, unchanged=5, reused=1, missing=1)
    assert shop.loaded == 0
    assert shop.ingest(prune=True) == Summary(found=6, unchanged=6, pruned=1)
    after = vectors_of(shop.points())
    assert "photo-04" not in after and same_vector(after["another-name"], before["photo-04"])
    assert "duplicate_of" not in shop.payloads()["another-name"]


def test_a_moved_folder_keeps_its_vectors_and_what_was_left_behind_is_pruned(shop: Shop) -> None:
    paths = fill(shop)
    shop.ingest()
    moved = shop.photos.rename(shop.photos.parent / "elsewhere")
    (moved / paths[0].name).unlink()
    assert shop.ingest(moved) == Summary(found=5, indexed=5, metadata=5, missing=1)
    assert shop.loaded == 0
    assert all(
        str(payload["uri"]).startswith(str(moved)) for name, payload in shop.payloads().items() if name[-1] > "0"
    )
    assert shop.ingest(moved, prune=True) == Summary(found=5, unchanged=5, pruned=1)
    assert len(shop.points()) == 5


def test_a_new_prefix_reuses_every_vector(shop: Shop) -> None:
    fill(shop, 4)
    shop.ingest()
    assert shop.ingest(id_prefix="spring/", prune=True) == Summary(found=4, indexed=4, reused=4, pruned=4)
    assert shop.loaded == 0 and sorted(shop.points()) == [f"spring/photo-{n:02}" for n in range(4)]


def test_what_the_store_did_not_take_is_written_by_the_next_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger must not know of it: the number of points is the same before and after, and would not tell."""

    def full(*_: object) -> None:
        raise StoreFull("no room")

    paths = fill(shop, 3)
    shop.ingest()
    before = vectors_of(shop.points())
    for write, change in (
        ("upsert", lambda: paint(paths[0], 70)),
        ("set_payload", lambda: paths[1].with_suffix(".txt").write_text("a red dress")),
    ):
        change()
        with monkeypatch.context() as patched:
            patched.setattr(EdgeStore, write, full)
            with pytest.raises(StoreFull):
                shop.ingest()
        assert shop.ingest() == Summary(found=3, indexed=1, unchanged=2, metadata=int(write == "set_payload"))
    assert not same_vector(vectors_of(shop.points())["photo-00"], before["photo-00"])
    assert shop.payloads()["photo-01"]["captions"] == ["a red dress"]


def test_a_file_that_was_quarantined_and_is_gone_is_neither_missing_nor_pruned(shop: Shop) -> None:
    fill(shop, 2)
    broken = shop.photos / "broken.jpg"
    for prune in (False, True):
        broken.write_bytes(b"\xff\xd8\xff\xe0 no more")
        assert shop.ingest().quarantined == 1
        broken.unlink()
        assert shop.ingest(prune=prune) == Summary(found=2, unchanged=2)


# --- twins


def test_the_same_bytes_twice_are_one_photograph_and_a_duplicate(shop: Shop) -> None:
    paths = fill(shop, 3)
    shutil.copy(paths[0], shop.photos / "copy.png")
    shutil.copy(paths[0], shop.photos / "zcopy.png")
    assert shop.ingest() == Summary(found=5, indexed=3, duplicate=2)
    assert shop.embedded == 3
    payloads, vectors = shop.payloads(), vectors_of(shop.points())
    assert {name: payload.get("duplicate_of") for name, payload in payloads.items()} == {
        **{"copy": None, "photo-01": None, "photo-02": None},
        **{"photo-00": "copy", "zcopy": "copy"},
    }
    assert same_vector(vectors["copy"], vectors["zcopy"])
    assert shop.ingest().unchanged == 5


def test_a_duplicate_stands_alone_when_the_other_changes(shop: Shop) -> None:
    paths = fill(shop, 2)
    shutil.copy(paths[0], shop.photos / "zcopy.png")
    shop.ingest()
    before = vectors_of(shop.points())
    paint(paths[0], 50)
    shop.ingest()
    assert "duplicate_of" not in shop.payloads()["zcopy"]
    assert same_vector(vectors_of(shop.points())["zcopy"], before["zcopy"])
    assert shop.ingest().unchanged == 3


def test_a_duplicate_stands_alone_when_the_other_is_pruned(shop: Shop) -> None:
    paths = fill(shop, 2)
    shutil.copy(paths[0], shop.photos / "zcopy.png")
    paint(shop.photos / "znear.jpg", 0, quality=95)
    shop.ingest()
    assert shop.payloads()["znear"]["near_duplicate_of"] == "photo-00"
    paths[0].unlink()
    shop.ingest(prune=True)
    payloads = shop.payloads()
    assert shop.loaded == 0 and "photo-00" not in payloads
    assert "duplicate_of" not in payloads["zcopy"] and payloads["znear"]["near_duplicate_of"] == "zcopy"
    assert shop.ingest().unchanged == 3


def test_a_copy_made_before_the_original_changed_borrows_the_right_vector(shop: Shop) -> None:
    """Both in one batch, the copy first: its vector must be the one that the original is just losing."""
    paths = fill(shop, 2)
    shop.ingest()
    before = vectors_of(shop.points())
    shutil.copy(paths[1], shop.photos / "a-copy.png")
    paint(paths[1], 60)
    assert shop.ingest().indexed == 2
    after = vectors_of(shop.points())
    assert same_vector(after["a-copy"], before["photo-01"]) and not same_vector(after["photo-01"], before["photo-01"])
    assert not any("duplicate_of" in payload for payload in shop.payloads().values())


def test_a_vector_is_not_borrowed_from_a_point_that_a_killed_run_has_changed(shop: Shop) -> None:
    paths = fill(shop, 2)
    shop.ingest()
    before = vectors_of(shop.points())
    with ledger_not_written(shop):
        shutil.copy(paths[1], shop.photos / "a-copy.png")
        paint(paths[1], 61)
        shop.ingest()
    shop.ingest()
    after = vectors_of(shop.points())
    assert same_vector(after["a-copy"], before["photo-01"]) and not same_vector(after["photo-01"], before["photo-01"])


def test_a_vector_that_a_killed_run_has_replaced_is_neither_borrowed_nor_kept(shop: Shop) -> None:
    """With as many points as before."""
    paths = fill(shop, 3)
    shop.ingest()
    before = vectors_of(shop.points())
    old = [path.read_bytes() for path in paths]
    with ledger_not_written(shop):
        for path in paths[1:]:
            paint(path, 61 + paths.index(path))
        shop.ingest()
    (shop.photos / "a-copy.png").write_bytes(old[1])
    paths[2].write_bytes(old[2])
    touch(paths[2])
    assert shop.ingest() == Summary(found=4, indexed=3, unchanged=1)
    after = vectors_of(shop.points())
    assert same_vector(after["a-copy"], before["photo-01"]) and not same_vector(after["photo-01"], before["photo-01"])
    assert same_vector(after["photo-02"], before["photo-02"])


def test_the_first_in_the_sources_order_owns_the_bytes_however_batches_are_cut_and_embedded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BATCH_PHOTOGRAPHS", 1)
    paths = fill(shop, 3)
    for path in paths:
        shutil.copy(path, path.with_name(f"z-{path.name}"))
    assert shop.ingest(workers=3) == Summary(found=6, indexed=3, duplicate=3)
    owners = {name: payload.get("duplicate_of") for name, payload in shop.payloads().items()}
    assert owners == {f"{z}photo-{n:02}": f"photo-{n:02}" if z else None for n in range(3) for z in ("", "z-")}


def test_a_duplicate_whose_owner_still_stands_is_not_read_again(shop: Shop) -> None:
    class Sealed(FolderSource):
        def read(self, item: Item) -> bytes:
            raise AssertionError(f"{item.uri} is read again")

    paths = fill(shop, 2)
    shutil.copy(paths[0], shop.photos / "zcopy.png")
    paint(shop.photos / "znear.jpg", 1, quality=95)
    assert shop.ingest().duplicate == 1
    assert shop.ingest(source=Sealed(shop.photos)) == Summary(found=4, unchanged=4)


def test_a_borrowed_vector_brings_its_patches(shop: Shop, bundled_encoder: Encoder) -> None:
    class Patching(CountingEncoder):
        def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
            vectors, _ = super().encode_photographs(pixels)
            patches = vectors[:, :8].reshape(-1, 2, 4)
            return vectors, patches / np.linalg.norm(patches, axis=2, keepdims=True)

    paths = fill(shop, 2)
    shutil.copy(paths[0], shop.photos / "zcopy.png")
    encoder = Patching(bundled_encoder)
    with EdgeStore(shop.store_folder, "fashion") as store:
        source = FolderSource(shop.photos)
        fields = {**CORE_FIELDS, **source.fields()}
        store.create(CollectionSpec(encoder.checkpoint.dimension, make_passport(bundled_encoder), fields, 4))
        ledger = shop.ledger(store)
        worker.ingest(source, store, ledger, lambda: encoder, workers=1)
        paths[1].rename(shop.photos / "renamed.png")
        touch(paths[0])
        assert worker.ingest(source, store, ledger, lambda: encoder, workers=1).reused == 1
        ledger.close()
        assert encoder.photographs == 2
        ids = [point_id(name) for name in ("photo-00", "zcopy", "photo-01", "renamed")]
        kept = [record.patches for record in store.retrieve(ids, patches=True)]
    assert all(patches is not None for patches in kept)
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[2], kept[3])


def test_two_files_swap_their_contents(shop: Shop) -> None:
    paths = fill(shop, 3)
    shop.ingest()
    before = vectors_of(shop.points())
    first, second = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)
    shop.ingest()
    after = vectors_of(shop.points())
    assert same_vector(after["photo-00"], before["photo-01"]) and same_vector(after["photo-01"], before["photo-00"])
    assert not any("duplicate_of" in payload for payload in shop.payloads().values())


def test_the_same_broken_bytes_twice_are_quarantined_twice(shop: Shop) -> None:
    fill(shop, 2)
    for name in ("broken-1.jpg", "broken-2.jpg"):
        (shop.photos / name).write_bytes(b"\xff\xd8\xff\xe0 no more")
    assert shop.ingest() == Summary(found=4, indexed=2, quarantined=2)
    assert len({problem.reason for problem in shop.problems}) == 1


def test_an_image_saved_again_is_a_near_duplicate_and_another_colour_is_none(shop: Shop) -> None:
    red = shop.photos / "a-red.png"
    paint(red, 3, colour=(190, 30, 40), size=480)
    paint(shop.photos / "b-blue.png", 3, colour=(30, 60, 180), size=480)
    with Image.open(red) as image:
        image.save(shop.photos / "c-again.jpg", quality=70)
        image.resize((200, 240), Image.Resampling.LANCZOS).save(shop.photos / "d-small.jpg", quality=85)
    summary = shop.ingest()
    assert summary == Summary(found=4, indexed=4, near_duplicates=2)
    near = {name: payload.get("near_duplicate_of") for name, payload in shop.payloads().items()}
    assert near == {"a-red": None, "b-blue": None, "c-again": "a-red", "d-small": "a-red"}


def test_near_duplicates_are_found_after_a_touch_and_a_rename(shop: Shop) -> None:
    """The look of a photograph must outlive a run that did not decode it."""
    paths = fill(shop, 2)
    shop.ingest()
    touch(paths[0])
    paths[1].rename(shop.photos / "renamed.png")
    shop.ingest(prune=True)
    paint(shop.photos / "zero.jpg", 0, quality=95)
    paint(shop.photos / "zone.jpg", 1, quality=95)
    shop.ingest()
    payloads = shop.payloads()
    assert payloads["zero"]["near_duplicate_of"] == "photo-00"
    assert payloads["zone"]["near_duplicate_of"] == "renamed"


def test_after_any_edits_the_collection_equals_one_made_anew(
    tmp_path: Path, bundled_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, photographs in enumerate((3, 64)):
        monkeypatch.setattr(worker, "BATCH_PHOTOGRAPHS", photographs)
        rng = np.random.default_rng(seed)
        shop = Shop(tmp_path / f"{seed}", bundled_encoder)
        fill(shop, 10)
        shop.ingest()
        for turn in range(3):
            for _ in range(int(rng.integers(1, 5))):
                _edit(shop.photos, rng)
            shop.ingest(prune=True)
            assert shop.ingest().indexed == 0, "running again must find nothing to do"
            fresh = Shop(tmp_path / f"{seed}-{turn}", bundled_encoder)
            fresh.ingest(shop.photos)
            ours, theirs = shop.points(), fresh.points()
            assert ours.keys() == theirs.keys()
            twins = ("duplicate_of", "near_duplicate_of")
            for name, record in ours.items():
                assert same_vector(record.vector, theirs[name].vector)
                mine, other = dict(record.payload or {}), dict(theirs[name].payload or {})
                assert {k: v for k, v in mine.items() if k not in twins} == {
                    k: v for k, v in other.items() if k not in twins
                }
            _check_twins(ours)


def _edit(photos: Path, rng: np.random.Generator) -> None:
    paths = sorted(photos.iterdir())
    path, other = (paths[int(n)] for n in rng.integers(0, len(paths), 2))
    match int(rng.integers(0, 7)):
        case 0:
            paint(path.with_suffix(".png"), int(rng.integers(1000)))
        case 1:
            path.rename(photos / f"name-{int(rng.integers(10_000))}{path.suffix}")
        case 2:
            touch(path)
        case 3:
            shutil.copyfile(path, photos / f"copy-{int(rng.integers(10_000))}{path.suffix}")
        case 4 if len(paths) > 3:
            path.unlink()
        case 5:
            other.write_bytes(path.read_bytes())
        case _:
            with Image.open(path) as image:
                image.convert("RGB").save(photos / f"again-{int(rng.integers(10_000))}.jpg", quality=90)


def _check_twins(points: dict[str, Record]) -> None:
    payloads: dict[str, dict[str, Any]] = {name: dict(record.payload or {}) for name, record in points.items()}
    alone: dict[str, str] = {}
    for name, payload in payloads.items():
        if owner := payload.get("duplicate_of"):
            assert payloads[owner]["sha256"] == payload["sha256"] and "duplicate_of" not in payloads[owner]
        else:
            assert alone.setdefault(payload["sha256"], name) == name, "two owners of the same bytes"
        passed: set[str] = set()
        while twin := payloads[name].get("duplicate_of") or payloads[name].get("near_duplicate_of"):
            assert twin in payloads and twin not in passed, "a twin that is gone, or items that shadow each other"
            passed.add(twin)
            name = twin


# --- two sources in one collection


def test_pruning_one_source_leaves_the_other_alone(shop: Shop) -> None:
    fill(shop, 3)
    other = shop.photos.parent / "other"
    for n in range(3):
        paint(other / f"other-{n}.png", 20 + n)
    shop.ingest()
    shop.ingest(other)
    (shop.photos / "photo-00.png").unlink()
    (other / "other-0.png").unlink()
    assert shop.ingest(prune=True) == Summary(found=2, unchanged=2, pruned=1)
    assert "other-0" in shop.points()


def test_pruning_the_folder_to_which_one_file_was_moved_leaves_those_that_stayed(shop: Shop) -> None:
    paths = fill(shop, 3)
    other = shop.photos.parent / "other"
    other.mkdir()
    shop.ingest()
    paths[0].rename(other / paths[0].name)
    assert shop.ingest(other, prune=True) == Summary(found=1, indexed=1, metadata=1)
    assert sorted(shop.points()) == ["photo-00", "photo-01", "photo-02"]
    assert shop.ingest(prune=True) == Summary(found=2, unchanged=2)


def test_a_photograph_moved_to_another_source_under_another_name_is_no_duplicate_of_what_is_gone(shop: Shop) -> None:
    paths = fill(shop, 2)
    other = shop.photos.parent / "other"
    other.mkdir()
    shop.ingest()
    paths[0].rename(other / "another-name.png")
    shutil.copy(paths[1], other / "copy.png")
    summary = shop.ingest(other)
    assert (summary.indexed, summary.duplicate, summary.reused) == (1, 1, 1)
    payloads = shop.payloads()
    assert not {"duplicate_of", "near_duplicate_of"} & payloads["another-name"].keys()
    assert payloads["copy"]["duplicate_of"] == "photo-01"


def test_the_same_folder_through_a_link_is_no_other_folder_with_the_same_ids(shop: Shop) -> None:
    fill(shop, 2)
    link = shop.photos.parent / "link"
    link.symlink_to(shop.photos)
    shop.ingest()
    assert shop.ingest(link) == Summary(found=2, indexed=2, metadata=2)
    assert shop.loaded == 0


def test_a_photograph_belongs_to_the_table_that_named_it_last(shop: Shop) -> None:
    fill(shop, 2)
    first, second = (shop.photos.parent / f"{name}.csv" for name in ("a", "b"))
    for table in (first, second):
        table.write_text("id,image\ncoat,photos/photo-00.png\nhat,photos/photo-01.png\n")
        shop.ingest(table)
    first.write_text("id,image\nhat,photos/photo-01.png\n")
    assert shop.ingest(first, prune=True).pruned == 0
    assert sorted(shop.points()) == ["coat", "hat"]


def test_a_duplicate_of_another_sources_file_stands_alone_once_that_one_has_changed(shop: Shop) -> None:
    paths = fill(shop, 2)
    other = shop.photos.parent / "other"
    other.mkdir()
    shutil.copy(paths[0], other / "copy.png")
    shop.ingest()
    assert shop.ingest(other) == Summary(found=1, duplicate=1)
    paint(paths[0], 50)
    shop.ingest()
    assert shop.ingest(other) == Summary(found=1, indexed=1, metadata=1)
    assert "duplicate_of" not in shop.payloads()["copy"]


def test_a_photograph_is_no_near_duplicate_of_its_own_near_duplicate(shop: Shop) -> None:
    paths = fill(shop, 2)
    other = shop.photos.parent / "other"
    paint(other / "again.jpg", 0, quality=95)
    shop.ingest()
    assert shop.ingest(other).near_duplicates == 1
    touch(paths[0])
    assert shop.ingest() == Summary(found=2, indexed=1, unchanged=1, metadata=1)
    near = {name: payload.get("near_duplicate_of") for name, payload in shop.payloads().items()}
    assert near == {"photo-00": None, "photo-01": None, "again": "photo-00"}


def test_pruning_one_table_leaves_another_in_the_same_folder_alone(shop: Shop) -> None:
    fill(shop, 4)
    for name, rows in (("a", (0, 1)), ("b", (2, 3))):
        lines = [f"{name}{n},photos/photo-{n:02}.png" for n in rows]
        (shop.photos.parent / f"{name}.csv").write_text("\n".join(["id,image", *lines]) + "\n")
    shop.ingest(shop.photos.parent / "a.csv")
    summary = shop.ingest(shop.photos.parent / "b.csv", prune=True)
    assert summary.pruned == 0 and sorted(shop.points()) == ["a0", "a1", "b2", "b3"]


def test_an_id_that_belongs_to_another_source_is_quarantined_until_there_is_a_prefix(shop: Shop) -> None:
    fill(shop, 2)
    other = shop.photos.parent / "other"
    paint(other / "photo-00.png", 30)
    shop.ingest()
    assert shop.ingest(other) == Summary(found=1, quarantined=1)
    assert "--id-prefix" in shop.problems[0].reason and str(shop.photos / "photo-00.png") in shop.problems[0].reason
    assert shop.ingest(other, id_prefix="other/") == Summary(found=1, indexed=1)
    assert shop.ingest().unchanged == 2


def test_an_archive_does_not_take_the_ids_of_another_of_the_same_name(shop: Shop) -> None:
    for n, folder in enumerate(("one", "two")):
        paint(shop.photos / f"{n}.png", n)
        (shop.photos.parent / folder).mkdir()
        with tarfile.open(shop.photos.parent / folder / "shard.tar", "w") as archive:
            archive.add(shop.photos / f"{n}.png", "photo.png")
    assert shop.ingest(shop.photos.parent / "one") == Summary(found=1, indexed=1)
    assert shop.ingest(shop.photos.parent / "two") == Summary(found=1, quarantined=1)


def test_items_of_a_table_that_could_not_be_read_this_time_are_not_pruned(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        paint(shop.photos / ("locked" if n > 1 else "open") / f"{n}.png", n)
    rows = [f"{n},{'locked' if n > 1 else 'open'}/{n}.png,colour {n}\n" for n in range(4)]
    table = shop.photos / "t.csv"
    table.write_text("id,image,colour\n" + "".join(rows))
    assert shop.ingest(table).indexed == 4
    real = os.scandir

    def locked(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr("ingest.sources.photos.os.scandir", locked)
        summary = shop.ingest(table, prune=True)
        assert (summary.pruned, summary.missing) == (0, 2)
        assert "unreadable folder: permission denied" in {problem.reason for problem in shop.problems}
    table.write_text("id,image,colour\n" + rows[0] + "1,open/1.png,red,or,blue\n" + rows[2])
    assert shop.ingest(table, prune=True).pruned == 0  # the second row could be any item's
    table.write_text("id,image,colour\n" + rows[0] + rows[2])
    assert shop.ingest(table, prune=True).pruned == 2


def test_members_of_an_archive_that_cannot_be_read_are_not_pruned(shop: Shop) -> None:
    folder = shop.photos.parent / "archives"
    folder.mkdir()
    for n, path in enumerate(fill(shop, 2)):
        with tarfile.open(folder / f"shard-{n}.tar", "w") as archive:
            archive.add(path, f"photo-{n}.png")
    assert shop.ingest(folder).indexed == 2
    (folder / "shard-1.tar").write_bytes(b"no archive any more" * 100)
    summary = shop.ingest(folder, prune=True)
    assert (summary.unchanged, summary.pruned, summary.missing) == (1, 0, 1)
    (folder / "shard-1.tar").unlink()
    assert shop.ingest(folder, prune=True).pruned == 1


def test_files_behind_a_folder_that_cannot_be_read_are_not_pruned(shop: Shop) -> None:
    fill(shop, 2)
    deep = shop.photos / "deep"
    paint(deep / "one.png", 40)
    shop.ingest()
    deep.rename(shop.photos.parent / "aside")
    deep.symlink_to(deep)  # a link to itself: unreadable even for root
    summary = shop.ingest(prune=True)
    assert (summary.unchanged, summary.quarantined, summary.pruned, summary.missing) == (2, 1, 0, 1)
    deep.unlink()
    (shop.photos.parent / "aside").rename(deep)
    assert shop.ingest(prune=True).unchanged == 3


def test_items_that_do_not_pass_the_filter_are_excluded(shop: Shop) -> None:
    for n, path in enumerate(fill(shop, 4)):
        path.with_suffix(".json").write_text(f'{{"price": {n}}}')
    where = {"must": [{"key": "price", "range": {"lt": 1.5}}]}
    assert shop.ingest(where=where) == Summary(found=4, indexed=2, excluded=2)
    assert shop.ingest() == Summary(found=4, indexed=2, unchanged=2)
    assert shop.ingest(where=where) == Summary(found=4, unchanged=2, excluded=2, missing=2)
    assert shop.ingest(where=where, prune=True) == Summary(found=4, unchanged=2, excluded=2, pruned=2)


# --- a store and a ledger that do not agree


def test_points_that_the_store_has_lost_are_embedded_again(shop: Shop) -> None:
    fill(shop, 5)
    shop.ingest()
    with EdgeStore(shop.store_folder, "fashion") as store:
        store.delete([point_id("photo-01"), point_id("photo-03")])
    assert shop.ingest() == Summary(found=5, indexed=2, unchanged=3)
    assert len(shop.points()) == 5


def test_points_that_another_has_taken_away_and_made_up_for_in_number_are_embedded_again(shop: Shop) -> None:
    fill(shop, 4)
    shop.ingest()
    with EdgeStore(shop.store_folder, "fashion") as store:
        (taken,) = store.retrieve([point_id("photo-01")], vectors=True)
        assert taken.vector is not None and taken.payload
        store.delete([taken.id])
        store.add_ledger("theirs")
        theirs = {**taken.payload, "item_id": "theirs", "uri": str(shop.photos / "theirs.png")}
        store.upsert([Point(point_id("theirs"), taken.vector, theirs)])
    assert shop.ingest(prune=True) == Summary(found=4, indexed=1, unchanged=3, pruned=1)


def test_what_is_done_by_another_ledger_is_seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = shop.photos / "coat.png", shop.photos.parent / "other"
    paint(own, 1)
    assert shop.ingest() == Summary(found=1, indexed=1)
    stamp = own.stat().st_mtime_ns
    paint(other / "coat.png", 2)
    theirs = shop.photos.parent / "their ledger"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(shop, "ledger", lambda store: Ledger(theirs, store.spec().passport["collection_id"]))
        assert shop.ingest(other, foreign=1) == Summary(found=1, quarantined=1)
        assert "belongs to" in shop.problems[0].reason
        paint(own, 3)
        assert shop.ingest() == Summary(found=1, indexed=1)
    before = shop.points()["coat"].vector
    paint(own, 1)
    os.utime(own, ns=(stamp, stamp))
    assert shop.ingest() == Summary(found=1, indexed=1)
    assert not same_vector(shop.points()["coat"].vector, before)


def test_without_its_ledger_an_archive_does_not_miss_what_lay_beside_it(shop: Shop) -> None:
    paths = fill(shop, 2)
    shop.ingest()
    with tarfile.open(shop.photos.parent / "more.tar", "w") as archive:
        archive.add(paths[0], "coat.png")
    for path in [*paths, *(shop.store_folder / "fashion").glob("ledger.sqlite*")]:
        path.unlink()
    assert shop.ingest(shop.photos.parent / "more.tar", prune=True, foreign=2) == Summary(found=1, indexed=1)


def test_a_point_that_was_lost_with_its_file_is_forgotten(shop: Shop) -> None:
    paths = fill(shop, 3)
    shop.ingest()
    with EdgeStore(shop.store_folder, "fashion") as store:
        store.delete([point_id("photo-01")])
    paths[1].unlink()
    assert shop.ingest() == shop.ingest() == Summary(found=2, unchanged=2)


def test_without_its_ledger_a_folder_does_not_miss_what_lay_in_one_whose_name_begins_alike(shop: Shop) -> None:
    fill(shop, 2)
    longer = shop.photos.with_name("photos-of-last-year")
    paint(longer / "old.png", 40)
    shop.ingest(longer)
    for path in [longer / "old.png", *(shop.store_folder / "fashion").glob("ledger.sqlite*")]:
        path.unlink()
    assert shop.ingest(prune=True, foreign=1) == Summary(found=2, indexed=2)
    assert "old" in shop.points()


def test_without_its_ledger_everything_is_embedded_again_and_what_is_gone_can_be_pruned(shop: Shop) -> None:
    paths = fill(shop, 5)
    shop.ingest()
    before = shop.payloads()
    for path in (shop.store_folder / "fashion").glob("ledger.sqlite*"):
        path.unlink()
    paths[4].unlink()
    assert shop.ingest(prune=True) == Summary(found=4, indexed=4, pruned=1)
    assert shop.payloads() == {name: payload for name, payload in before.items() if name != "photo-04"}


# --- stopping, memory


def test_a_stopped_run_keeps_what_it_acknowledged_and_the_next_one_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BATCH_PHOTOGRAPHS", 4)
    fill(shop, 60)
    stop = threading.Event()

    def after_the_second_batch(summary: Summary, total: int) -> None:
        if summary.indexed >= 8:
            stop.set()

    stopped = shop.ingest(stop=stop, on_progress=after_the_second_batch)
    assert stopped.stopped and 8 <= stopped.indexed < 60 and stopped.indexed == len(shop.points())
    assert shop.ingest() == Summary(found=60, indexed=60 - stopped.indexed, unchanged=stopped.indexed)


def test_a_stopped_run_prunes_nothing(shop: Shop) -> None:
    fill(shop, 3)
    shop.ingest()
    stop = threading.Event()
    stop.set()
    shutil.rmtree(shop.photos)
    paint(shop.photos / "new.png", 9)
    assert shop.ingest(stop=stop, prune=True).stopped
    assert len(shop.points()) == 3


def test_memory_is_bounded_by_photographs_and_by_bytes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from ingest.embed import Fetched

    fill(shop, 120)
    most = 0

    def count(summary: Summary, total: int) -> None:
        nonlocal most
        alive = [thing for thing in gc.get_objects() if type(thing) is Fetched]
        most = max(most, sum(Path(fetched.item.uri).parent == shop.photos for fetched in alive))

    gc.freeze()  # what is there already is not looked through at every step: torch alone has a million objects
    request.addfinalizer(gc.unfreeze)
    monkeypatch.setattr(worker, "BATCH_PHOTOGRAPHS", 4)
    assert shop.ingest(on_progress=count).indexed == 120
    in_flight = 2 * worker.READ_AHEAD + 1 + 5  # being read; waiting; and those in hand between the steps
    assert 4 <= most <= 4 * in_flight
    monkeypatch.setattr(worker, "BATCH_PHOTOGRAPHS", 1000)
    monkeypatch.setattr(worker, "BATCH_BYTES", 2 * max(path.stat().st_size for path in shop.photos.iterdir()))
    most = 0
    gc.collect()
    shop.ingest(on_progress=count, id_prefix="again/")
    assert 2 <= most <= 4 * in_flight


def test_an_encoder_that_is_not_parallel_is_given_one_batch_at_a_time(
    shop: Shop, bundled_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Lock()
    together: list[bool] = []

    class Alone(CountingEncoder):
        parallel = False

        def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
            first = entered.acquire(blocking=False)
            together.append(not first)
            try:
                return super().encode_photographs(pixels)
            finally:
                if first:
                    entered.release()

    monkeypatch.setattr("workshop.CountingEncoder", Alone)
    monkeypatch.setattr(worker, "BATCH_PHOTOGRAPHS", 8)
    fill(shop, 48)
    assert shop.ingest(workers=3).indexed == 48
    assert together == [False] * 6


def test_several_workers_give_the_same_as_one(drawings: Path, shop: Shop, ingested: Path) -> None:
    shop.ingest(drawings, workers=3)
    with EdgeStore(ingested, "fashion") as store:
        records, _ = store.scroll(limit=100, vectors=True)
    ours = shop.points()
    for record in records:
        mine = ours[str((record.payload or {})["item_id"])]
        assert mine.payload == record.payload and same_vector(mine.vector, record.vector)
