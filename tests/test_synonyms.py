"""Teaching words: synonyms are read from a file that search teams have, and a text tower learns to understand them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_clip import make_tiny_clip
from training import leave_out_onnx

from engine.checkpoint import DEFAULT_MODEL, Checkpoint, find_checkpoint
from engine.encoder import Encoder, load_encoder
from engine.errors import SourceError, UsageError
from engine.records import Item, Vector
from eval.split import PARTS, split, split_of
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.lesson import ALONE, CONTEXTS, Lesson, known_texts, make_lesson
from train.pairs import learnt_pairs
from train.recipe import RECIPES, load_recipe
from train.synonyms import Synonyms, load_synonyms
from train.words import Taught, teach_words


def otherwise(synonyms: Synonyms, text: str) -> set[str]:
    return {whole for _, whole in synonyms.said_otherwise(text)}


def test_phrases_of_one_line_stand_for_each_other() -> None:
    synonyms = Synonyms(["tee, t-shirt, shirt without collar"])
    assert otherwise(synonyms, "blue tee") == {"blue t-shirt", "blue shirt without collar"}
    assert otherwise(synonyms, "blue shirt without collar") == {"blue t-shirt", "blue tee"}
    assert synonyms.meanings["tee"] == ["tee", "t-shirt", "shirt without collar"]


def test_an_arrow_goes_one_way() -> None:
    synonyms = Synonyms(["jumper, pullover => sweater, cardigan"])
    assert otherwise(synonyms, "red sweater men") == {"red jumper men", "red pullover men"}
    assert otherwise(synonyms, "red jumper men") == set()
    assert synonyms.meanings == {"jumper": ["sweater", "cardigan"], "pullover": ["sweater", "cardigan"]}


def test_several_lines_for_one_phrase_add_up() -> None:
    synonyms = Synonyms(["jumper => sweater", "knitwear => sweater", "jumper => cardigan"])
    assert otherwise(synonyms, "sweater") == {"jumper", "knitwear"}
    assert synonyms.meanings["jumper"] == ["sweater", "cardigan"]


@pytest.mark.parametrize("text", ["Women's Dresses", "DRESS", "a dress.", "(dresses)"])
def test_case_plurals_and_punctuation_do_not_matter(text: str) -> None:
    assert any("gown" in other for other in otherwise(Synonyms(["gown => dress"]), text))


def test_of_phrases_within_phrases_the_longest_counts_and_one_is_replaced_at_a_time() -> None:
    synonyms = Synonyms(["navy => blue", "denims => blue jeans", "men => boys"])
    assert otherwise(synonyms, "blue jeans boys") == {"denims boys", "blue jeans men"}


@pytest.mark.parametrize("line", ["jumper", "jumper =>", "=> sweater", ", ,", "a => b => c"])
def test_a_line_that_says_nothing_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text(f"# words\n\n{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=rf"words\.txt: line 3, {re.escape(repr(line))}"):
        load_synonyms(str(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"the synonyms .*words\.txt cannot be read"):
        load_synonyms(str(path))


@pytest.mark.parametrize("content", ["", "# nothing", "dresses => dress", "a => a"])
def test_a_file_that_teaches_nothing_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"words\.txt: no line says one thing for another"):
        load_synonyms(str(tmp_path / "words.txt"))


def test_a_byte_order_mark_an_escaped_comma_case_and_repeated_lines_change_nothing(tmp_path: Path) -> None:
    lines = "\ufeffJumper => Sweater\njumper => sweater, cardigan\r\nshirt\\, white => blouse\n"
    (tmp_path / "words.txt").write_text(lines, encoding="utf-8")
    synonyms = load_synonyms(str(tmp_path / "words.txt"))
    assert synonyms.meanings == {"jumper": ["sweater", "cardigan"], "shirt, white": ["blouse"]}
    assert list(synonyms.said_otherwise("sweater")) == [("jumper", "jumper")]


def test_the_shipped_synonyms_and_every_shipped_recipe_can_be_read() -> None:
    assert "sweater" in load_synonyms("shipped").meanings["jumper"]
    assert len({load_recipe(path.stem).name for path in RECIPES.glob("*.toml")}) > 5


def test_a_lesson_shows_a_phrase_alone_and_in_some_texts_and_other_texts_to_be_kept() -> None:
    texts = [f"red sweater {number}" for number in range(CONTEXTS + 9)] + [f"blue shirt {n}" for n in range(200)]
    lesson = make_lesson(Synonyms(["jumper => sweater"]), texts, ["shirt"], random.Random(1))
    pairs = dict(zip(lesson.said, lesson.meant, strict=True))
    assert pairs["jumper"] == ("sweater",)
    assert pairs["jumper women"] == ("sweater women",)
    assert pairs["sweater"] == ("sweater",)
    assert pairs["red jumper 5"] == ("red sweater 5",)
    assert sum(said.startswith("red jumper") for said in lesson.said) == CONTEXTS
    assert sum(meant == (said,) for said, meant in pairs.items()) >= len(pairs) / 2


def test_what_phrases_mean_and_names_stay_in_every_way_in_which_phrases_are_taught() -> None:
    lesson = make_lesson(
        Synonyms(["cross necklace => pendant", "briefs => trunk"]), [], ["necklace", "briefs"], random.Random(1)
    )
    pairs = dict(zip(lesson.said, lesson.meant, strict=True))
    for name in ("necklace", "pendant", "trunk"):
        assert all(pairs[alone.format(name)] == (alone.format(name),) for alone in ALONE)
    assert pairs["black briefs"] == ("black trunk",)  # what a user's file teaches goes before the shop's own name


def test_a_name_stays_though_a_part_of_it_is_taught_but_not_against_what_is_taught() -> None:
    synonyms = Synonyms(["pants => trousers", "men => gents", "men's underwear => trunk", "underwear => brief"])
    texts = ["track trousers", "shirts gents"]
    lesson = make_lesson(synonyms, texts, ["track pants", "shirts"], random.Random(1))
    pairs = dict(zip(lesson.said, lesson.meant, strict=True))
    assert pairs["track pants"] == ("track pants",)
    assert pairs["shirts men"] == ("shirts gents",)
    assert pairs["shirts women"] == ("shirts women",)
    assert pairs["men's underwear"] == ("trunk",)


@pytest.mark.usefixtures("without_onnx")
def test_however_little_is_taught_many_other_texts_are_kept(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    def noted(synonyms: Synonyms, texts: Sequence[str], *arguments: Any) -> Lesson:
        lesson = make_lesson(synonyms, texts, *arguments)
        kept.append(
            sum(said in texts and meant == (said,) for said, meant in zip(lesson.said, lesson.meant, strict=True))
        )
        return lesson

    base, words = find_checkpoint(str(make_tiny_clip(tmp_path / "clip"))), Synonyms(["quux => hat"])
    monkeypatch.setattr("train.words.make_lesson", noted)
    monkeypatch.setattr("train.lesson.KEPT", 1)
    for least in (0, 70):
        monkeypatch.setattr("train.words.LEAST_KEPT", least)
        teach_words(base, words, [look_book], tmp_path / f"run-{least}", epochs=1)
    few, many = kept
    assert few < 70 <= many


def test_texts_that_say_the_same_in_two_ways_meet_instead_of_changing_places() -> None:
    lesson = make_lesson(Synonyms(["jumper, sweater"]), ["red sweater", "red jumper"], [], random.Random(1))
    meant = dict(zip(lesson.said, lesson.meant, strict=True))
    assert set(meant["red jumper"]) == set(meant["red sweater"]) == {"red jumper", "red sweater"}


def test_what_is_said_for_several_texts_means_all_of_them() -> None:
    lesson = make_lesson(
        Synonyms(["jumper => sweater, cardigan"]), ["red sweater", "red cardigan"], [], random.Random(1)
    )
    assert set(dict(zip(lesson.said, lesson.meant, strict=True))["red jumper"]) == {"red sweater", "red cardigan"}


def test_nothing_is_read_of_what_the_base_is_examined_with(tmp_path: Path) -> None:
    for number in range(60):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"hat number {number}", encoding="utf-8")
    source, base = open_source(tmp_path), find_checkpoint(DEFAULT_MODEL)
    learnt, held_out = (
        {item.captions[0] for item in split(_items(source), part, *reversed(split_of(base)))} for part in PARTS[::2]
    )
    texts = set(known_texts(learnt_pairs([source], base), random.Random(0)))
    assert held_out
    assert learnt <= texts
    assert not held_out & texts


def test_long_captions_are_kept_whole_and_in_parts(look_book: Source) -> None:
    base = find_checkpoint(DEFAULT_MODEL)
    whole = {item.captions[0] for item in split(_items(look_book), "train", *reversed(split_of(base)))}
    texts = set(known_texts(learnt_pairs([look_book], base), random.Random(0)))
    assert whole <= texts
    assert any(text not in whole and any(text in caption for caption in whole) for text in texts)


def _items(source: Source) -> Iterator[Item]:
    return (item for item in source.items() if isinstance(item, Item))


def cosine(encoder: Encoder, one: str, other: str) -> float:
    rows: Vector = encoder.encode_texts([one, other])
    return float(rows[0] @ rows[1])


@pytest.mark.parametrize("kind", ["bundled", "any CLIP"])
def test_a_taught_checkpoint_embeds_a_phrase_where_its_meaning_is_and_photographs_where_they_were(
    kind: str, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "bundled":  # whose ONNX towers take half a minute
        leave_out_onnx(monkeypatch)
    base = find_checkpoint(DEFAULT_MODEL if kind == "bundled" else str(make_tiny_clip(tmp_path / "clip")))
    words, told = Synonyms(["quux, blorp => trousers", "frobnicator => hat"]), list[Taught]()
    folder = teach_words(base, words, [look_book], tmp_path / "run", epochs=3, report=told.append)
    taught = find_checkpoint(str(folder))
    before, after = load_encoder(base, "cpu"), load_encoder(taught, "cpu")
    assert cosine(after, "quux", "trousers") > cosine(before, "quux", "trousers")
    assert told[-1].understood > told[0].understood
    assert told[-1].kept > 0.9
    height, width = base.preprocessing.height, base.preprocessing.width
    pixels = np.random.default_rng(0).integers(0, 255, (3, height, width, 3), dtype=np.uint8)
    seen = (after.encode_pixels(pixels) * before.encode_pixels(pixels)).sum(axis=1)
    assert seen.min() > 0.9995  # one in bfloat16, where the processor has it, the other in float32
    assert taught.fingerprint != base.fingerprint
    ours, theirs = load_file(folder / "model.safetensors"), load_file(base.folder / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name].to(ours[name].dtype)) for name in ours if "vision" in name)
    assert (taught.trained_split, taught.new_text_layers) == (base.trained_split, base.new_text_layers)


def test_photographs_that_say_nothing_and_a_folder_in_use_are_refused(look_book: Source, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "one.png")
    base, words = find_checkpoint(DEFAULT_MODEL), Synonyms(["a, b"])
    with pytest.raises(SourceError, match="has a caption or attributes"):
        teach_words(base, words, [open_source(tmp_path / "photos")], tmp_path / "run")
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists already"):
        teach_words(base, words, [look_book], tmp_path / "run")


def test_a_checkpoint_that_re_ranks_is_refused(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "token_heads", object())
    with pytest.raises(UsageError, match="has heads for re-ranking"):
        teach_words(find_checkpoint(DEFAULT_MODEL), Synonyms(["a, b"]), [look_book], tmp_path / "run")
