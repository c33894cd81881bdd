"""What is learnt from: photographs and captions, split by product, decoded once and kept."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tracemalloc
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from tiny_clip import make_tiny_clip
from training import TINY, shop_of, tiny

from engine.checkpoint import find_checkpoint
from engine.errors import SourceError
from engine.records import Item
from ingest.lookbook.draw import draw_lookbook
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.frozen import extend
from train.kept import kept_array
from train.loss import Alike
from train.origins import Origins
from train.pairs import Pairs, build_pairs, describe
from train.recipe import DataRecipe
from train.teacher import taught_images
from train.token_states import TokenStates
from train.towers import preprocessing_of
from train.trainer import train
from train.validation import marks_of, relevant_of


@pytest.mark.usefixtures("without_onnx")
def test_training_never_sees_a_held_out_product(look_book: Source, tmp_path: Path) -> None:
    from engine.records import Item
    from eval.split import split

    read = []

    class Watched:
        kind, root, description = look_book.kind, look_book.root, look_book.description
        fields, items = look_book.fields, look_book.items

        def read(self, item: Item) -> bytes:
            read.append(item.id)
            return look_book.read(item)

    one = tiny(epochs=1)
    train(one, [Watched()], tmp_path / "run", threads=1)
    held_out = {item.id for item in split((i for i in look_book.items() if isinstance(i, Item)), "test")}
    assert held_out
    assert read
    assert not held_out & set(read)


@pytest.mark.usefixtures("without_onnx")
def test_a_broken_photograph_is_left_out_of_training(tmp_path: Path) -> None:
    folder = tmp_path / "look-book"
    draw_lookbook(folder, count=40, seed=5)
    (next((folder / "images").iterdir())).write_bytes(b"not a photograph")
    Image.new("RGB", (30, 40), "red").save(folder / "images" / "extra.png")
    one = tiny(epochs=1, batch_size=8)
    assert train(one, [open_source(folder)], tmp_path / "run", threads=1).is_dir()


def test_photographs_that_do_not_fit_on_the_disk_are_not_begun_with(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.pairs.shutil.disk_usage", lambda folder: SimpleNamespace(free=5000))
    with pytest.raises(SourceError, match=r"the decoded photographs need .* GB, and .* has 0\.0: make room"):
        train(TINY, [look_book], tmp_path / "run")


def test_a_part_of_the_split_without_a_photograph_is_named_and_not_taken_for_broken_photographs(
    look_book: Source, tmp_path: Path
) -> None:
    single = shop_of(tmp_path / "single", "7")
    with pytest.raises(
        SourceError, match=r"none of 1 photographs falls into the \w+ part of the split, .* more --data"
    ):
        train(TINY, [single], tmp_path / "run")
    nothing = dataclasses.replace(TINY, data=DataRecipe(train_share=0.0))
    with pytest.raises(SourceError, match=r"falls into the train part of the split, .*train_share 0, split_seed 42"):
        train(nothing, [look_book], tmp_path / "other")


def test_a_photograph_that_two_sources_give_is_refused_with_both_of_them(tmp_path: Path) -> None:
    shop_of(tmp_path / "photos", "7")
    for name in ("shoes", "dresses"):
        (tmp_path / f"{name}.csv").write_text(f"id,image,title\n1,photos/0.png,{name}\n")
    tables = [open_source(tmp_path / f"{name}.csv") for name in ("shoes", "dresses")]
    with pytest.raises(SourceError, match=r"0\.png is given by both .*shoes\.csv and .*dresses\.csv: leave out one"):
        train(TINY, tables, tmp_path / "run", threads=1)


def test_products_of_two_sources_are_never_the_same_whatever_their_numbers(tmp_path: Path) -> None:
    origins = Origins([shop_of(tmp_path / "one", "7", "7"), shop_of(tmp_path / "two", "7", "8")])
    pairs = describe(origins.items, np.zeros((4, 8, 8, 3), dtype=np.uint8), origins)
    assert [rows.tolist() for rows in relevant_of(pairs)] == [[0, 1], [0, 1], [2], [3]]


def test_equal_captions_and_photographs_of_one_product_are_right_answers_of_each_other(tmp_path: Path) -> None:
    said = [("a", "weiß dress", "1"), ("b", "dress from behind", "1"), ("c", "WEISS  Dress", "2"), ("d", "hat", "")]
    for name, caption, product in said:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(caption, encoding="utf-8")
        (tmp_path / f"{name}.json").write_text(json.dumps({"product_id": product}))
    origins = Origins([open_source(tmp_path)])
    pairs = describe(origins.items, np.zeros((4, 8, 8, 3), dtype=np.uint8), origins)
    assert [rows.tolist() for rows in relevant_of(pairs)] == [[0, 1, 2], [0, 1], [0, 2], [3]]
    every = torch.arange(4)
    same = Alike((pairs.keys, pairs.products))(every, every)
    assert same.tolist() == [[bool(row in rows) for row in range(4)] for rows in relevant_of(pairs)]


def test_a_run_killed_while_it_notes_what_it_decoded_decodes_anew(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(file: Any, array: np.ndarray) -> None:
        Path(file if isinstance(file, Path) else file.name).write_bytes(b"\x93NUM")
        raise KeyboardInterrupt

    origins, spec = Origins([look_book]), preprocessing_of(TINY.model, None)
    with monkeypatch.context() as patch:
        patch.setattr("train.kept.np.save", torn)
        with pytest.raises(KeyboardInterrupt):
            build_pairs(origins.items, origins, spec, tmp_path)
    assert len(build_pairs(origins.items, origins, spec, tmp_path)) == len(origins.items)


def test_photographs_that_lacked_an_extra_are_decoded_once_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shop_of(tmp_path / "shop", "1")
    (tmp_path / "shop" / "telephone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    origins, spec = Origins([source]), preprocessing_of(TINY.model, None)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    assert len(build_pairs(origins.items, origins, spec, tmp_path / "cache")) == 1
    extra = ModuleType("pi_heif")
    extra.__spec__ = ModuleSpec("pi_heif", None)
    picture = Image.new("RGB", (8, 8))
    vars(extra)["open_heif"] = lambda *_, **__: SimpleNamespace(size=picture.size, to_pillow=picture.copy)
    monkeypatch.setitem(sys.modules, "pi_heif", extra)
    assert len(build_pairs(origins.items, origins, spec, tmp_path / "cache")) == 2


def test_room_that_a_killed_run_took_for_its_photographs_is_free_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins, spec = Origins([shop_of(tmp_path / "shop", "1", "2")]), preprocessing_of(TINY.model, None)
    needed, cache = 2 * spec.height * spec.width * 3, tmp_path / "cache"

    def usage(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=needed - sum(path.stat().st_size for path in folder.iterdir()))

    monkeypatch.setattr("train.pairs.shutil.disk_usage", usage)
    build_pairs(origins.items, origins, spec, cache)
    (noted,) = cache.glob("*.npy")
    noted.unlink()
    assert len(build_pairs(origins.items, origins, spec, cache)) == 2


def test_an_array_is_computed_once_and_anew_where_its_file_is_damaged_or_another(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.npy"
    computed: list[int] = []

    def ask(count: int) -> list[int]:
        def compute() -> npt.NDArray[np.int64]:
            computed.append(count)
            return np.arange(count)

        return kept_array(path, compute, lambda rows: rows.shape == (count,)).tolist()

    for count, so_far in ((3, [3]), (3, [3]), (4, [3, 4]), (4, [3, 4])):
        assert (ask(count), computed) == (list(range(count)), so_far)
    for damage in (b"", b"nothing", path.read_bytes()[:-8]):
        path.write_bytes(damage)
        computed.clear()
        assert ask(4) == ask(4) == [0, 1, 2, 3]
        assert computed == [4]

    def interrupted() -> npt.NDArray[np.int64]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_array(path, interrupted, lambda rows: False)
    assert ask(4) == [0, 1, 2, 3] and computed == [4], "what was there stays until the new is whole"


def test_a_cache_that_lost_its_end_is_made_anew(sentence_encoder: Path, tmp_path: Path) -> None:
    origins = Origins([shop_of(tmp_path / "shop", "1", "2")])
    teacher = find_checkpoint(str(make_tiny_clip(tmp_path / "clip")))
    corpus = ["a red dress", "the dress"]
    model, tokenizer = extend(find_checkpoint(str(sentence_encoder)), 1, 13, corpus, tmp_path / "words")

    def learnt() -> list[np.ndarray]:
        pairs = build_pairs(origins.items, origins, teacher.preprocessing, tmp_path / "cache")
        taught = taught_images(teacher, pairs, teacher.preprocessing, tmp_path / "cache")
        states, _ = TokenStates(model.eval(), tokenizer, corpus, 1, tmp_path / "cache").batch(np.array([0, 1]))
        return [np.array(pairs.pixels), taught.numpy(), states.numpy()]

    whole = learnt()
    files = sorted((tmp_path / "cache").iterdir())
    assert {path.suffix for path in files} == {".u8", ".npy", ".states"}
    for path in files:
        for lost in (1, path.stat().st_size):
            os.truncate(path, path.stat().st_size - lost)
            for before, after in zip(whole, learnt(), strict=True):
                np.testing.assert_array_equal(before, after)
    assert sorted((tmp_path / "cache").iterdir()) == files


def test_a_teacher_is_asked_anew_for_other_photographs_of_the_same_number_and_for_the_same_seen_otherwise(
    tmp_path: Path,
) -> None:
    origins = Origins([shop_of(tmp_path / "one", "1", "2"), shop_of(tmp_path / "two", "1", "2")])
    teacher = find_checkpoint(str(make_tiny_clip(tmp_path / "clip")))
    spec = teacher.preprocessing
    asked = [(origins.items[:2], spec), (origins.items[2:], spec)]
    asked.append((origins.items[:2], dataclasses.replace(spec, resample=0)))
    for items, seen in [*asked, asked[0]]:
        pairs = build_pairs(items, origins, seen, tmp_path / "pixels")
        assert taught_images(teacher, pairs, seen, tmp_path / "states").shape == (2, teacher.dimension)
    assert len(list((tmp_path / "states").iterdir())) == len(asked)


def test_validation_holds_no_table_of_all_captions_against_all_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("exact", "metrics"):
        monkeypatch.setattr(f"eval.{module}.CHUNK_FLOATS", 50_000)
    count, rng = 2000, np.random.default_rng(0)
    images, texts = (rng.normal(size=(count, 8)).astype(np.float32) for _ in range(2))
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, images + texts))
    names = [str(row) for row in range(count)]
    none = np.zeros(count, dtype=np.int64)
    pairs = Pairs([Item(name, name) for name in names], images, images, [], [], names, names, none)  # type: ignore[arg-type]
    tracemalloc.start()
    marks = marks_of(pairs, images, texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < count * count  # a quarter of such a table
    ranks = (texts @ images.T >= (texts * images).sum(axis=1)[:, None] - 1e-6).sum(axis=1)
    assert marks == {"gallery": count} | {f"hit@{k}": np.mean(ranks <= k) for k in (1, 10)} | {
        "mrr": pytest.approx(np.mean(1 / ranks))
    }
