"""Captions learn to find their photographs among all others, and whatever else is said stays where it was."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from tiny_clip import make_tiny_clip
from training import leave_out_onnx

from engine.checkpoint import DEFAULT_MODEL, Checkpoint, find_checkpoint
from engine.encoder import load_encoder
from engine.errors import SourceError, UsageError
from engine.records import Item
from eval.split import split, split_of
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.captions import Captions, teach_captions, ways_to_say
from train.lesson import known_texts, make_lesson
from train.pairs import Pairs
from train.recipe import OptimizerRecipe
from train.run import Progress
from train.synonyms import Synonyms
from train.towers import towers_of

WORDS = Synonyms(["quux => trousers"])


def shop(*captions: str, products: tuple[str, ...] = (), domains: tuple[int, ...] = ()) -> Pairs:
    """Return photographs with one caption each, or attributes alone where it is empty."""
    names = [str(row) for row in range(len(captions))]
    items = [Item(name, name, captions=(said,) if said else ()) for name, said in zip(names, captions, strict=True)]
    pixels, has = np.zeros((len(names), 0, 0, 3), dtype=np.uint8), np.ones((len(names), 2), dtype=bool)
    numbers = np.array(domains or [0] * len(names), dtype=np.int64)
    keys = [said or name for name, said in zip(names, captions, strict=True)]
    return Pairs(items, pixels, has, ["blue", "shirt"], ["colour", "type"], keys, products or names, numbers)


def unit(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def loss_of(pairs: Pairs, images: torch.Tensor, embedded: torch.Tensor, rows: list[int]) -> float:
    ways = [np.array([row]) for row in range(len(pairs))]
    return float(Captions(pairs, images, ways).loss(embedded, np.array(rows), torch.tensor(10.0)))


def test_a_caption_is_set_against_all_photographs_and_a_photograph_against_the_captions_of_the_batch() -> None:
    images, embedded = unit(5, 0), unit(2, 1)
    among_photographs = F.cross_entropy(10 * embedded @ images.t(), torch.tensor([1, 3]))
    among_captions = F.cross_entropy(10 * images[[1, 3]] @ embedded.t(), torch.tensor([0, 1]))
    expected = (among_photographs + among_captions) / 2
    assert loss_of(shop(*"abcde"), images, embedded, [1, 3]) == pytest.approx(float(expected), rel=1e-5)


def test_photographs_of_the_same_caption_or_product_are_right_answers_and_share_the_target() -> None:
    pairs, images, embedded = shop("a", "b", "a", "c", products=("p", "q", "r", "p")), unit(4, 0), unit(1, 1)
    scores = F.log_softmax(10 * embedded @ images.t(), dim=1)[0]
    expected = -scores[[0, 2, 3]].mean() / 2  # the only caption of its batch is right for its photograph
    assert loss_of(pairs, images, embedded, [0]) == pytest.approx(float(expected), rel=1e-5)


def test_photographs_of_which_nobody_knows_whether_a_text_is_theirs_are_left_out() -> None:
    pairs, embedded = shop("", "a", "", domains=(0, 0, 1)), unit(1, 1)
    images, others = unit(3, 0), unit(3, 0)
    others[2] = embedded[0]  # as near as can be
    assert loss_of(pairs, images, embedded, [0]) == pytest.approx(loss_of(pairs, others, embedded, [0]))
    others[1] = embedded[0]
    assert loss_of(pairs, images, embedded, [0]) < loss_of(pairs, others, embedded, [0]) - 0.1


def test_a_long_caption_is_said_whole_and_in_parts_and_what_has_none_by_its_attributes() -> None:
    sentences = ("A red hat.", "It is made of felt.", "It has a ribbon.")
    whole, plain, nothing = ways_to_say(shop(" ".join(sentences), "blue jeans", ""), random.Random(0))
    parts = {" ".join(some) for count in (1, 2, 3) for some in itertools.permutations(sentences, count)}
    assert whole[0] == " ".join(sentences)
    assert len(whole) > 1
    assert set(whole) <= parts
    assert (plain, nothing) == (["blue jeans"], ["blue shirt"])


def test_what_captions_say_is_no_part_of_what_is_to_stay() -> None:
    pairs = shop("old trousers", "red hat")
    lesson = make_lesson(WORDS, known_texts(pairs, random.Random(0), ["blue shirt"]), [], random.Random(0), 9)
    left = lesson.without({"old trousers", "red hat"})
    assert {"old trousers", "red hat"} <= set(lesson.said)
    assert set(lesson.said) - set(left.said) == {"old trousers", "red hat"}
    meant = dict(zip(left.said, left.meant, strict=True))
    assert (meant["quux"], meant["blue shirt"]) == (("trousers",), ("blue shirt",))
    assert meant["old quux"] == ("old trousers",)


def test_tokens_are_left_out_of_what_learns_above_frozen_layers_but_never_the_first(tmp_path: Path) -> None:
    towers, texts = towers_of(find_checkpoint(DEFAULT_MODEL), "cpu"), ["a red hat with a ribbon", "jeans"]
    towers.prepare(None, texts, OptimizerRecipe(), tmp_path)
    towers.model.eval()
    with torch.no_grad():
        every, some, none = (towers.text_rows(np.array([0, 1]), texts, share) for share in (0.0, 0.5, 1.0))
    assert torch.isfinite(none).all()  # the first token is left, by which a text is read
    assert not torch.allclose(every, some, atol=1e-3)
    assert not torch.allclose(every, none, atol=1e-3)
    torch.testing.assert_close(every, towers.embed_texts(towers.model, texts), atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["bundled", "any CLIP"])
def test_captions_find_more_than_before_and_photographs_stay_where_they_were(
    kind: str, look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_onnx(monkeypatch)
    base = find_checkpoint(DEFAULT_MODEL if kind == "bundled" else str(make_tiny_clip(tmp_path / "clip")))
    monkeypatch.setattr("train.pupil.RATE", 2e-3)  # a tiny tower learns as fast as new layers
    told, begun = list[Progress](), list[str]()
    folder = teach_captions(
        base, WORDS, [look_book], tmp_path / "run", epochs=8, threads=1, begin=begun.append, report=told.append
    )
    assert [one.split()[0] for one in begun] == ["looking", "reading"]
    losses = [one.loss for one in told if one.validation is None]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    marks = [one.validation for one in told if one.validation is not None]
    assert len(marks) == 10  # before the first epoch, after each, and of the mixture
    taught = Checkpoint(folder)
    assert taught.notes["validation"] == marks[-1]
    assert marks[-1]["mrr"] >= max(marks[0]["mrr"], marks[-2]["mrr"])
    ours, theirs = load_file(folder / "model.safetensors"), load_file(base.folder / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name].to(ours[name].dtype)) for name in ours if "vision" in name)
    assert (taught.trained_split, taught.new_text_layers) == (base.trained_split, base.new_text_layers)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["truncation"] is tokenizer["padding"] is None  # however long the last texts of the run were
    share, seed = split_of(base)
    learnt = len(list(split([item for item in look_book.items() if isinstance(item, Item)], "train", seed, share)))
    assert f"the captions of {learnt} photographs" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("without_onnx")
def test_a_text_that_is_no_caption_stays_nearer_than_without_being_kept(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = find_checkpoint(DEFAULT_MODEL)
    monkeypatch.setattr("train.captions.best_mixture", lambda *_: 1.0)

    def moved(weight: float, out: Path) -> float:
        """Return 1 - cosine of where a phrase lies in the end to where what it means lay before."""
        monkeypatch.setattr("train.captions.STAY", weight)
        folder = teach_captions(base, WORDS, [look_book], out, epochs=8, threads=1)
        after = load_encoder(find_checkpoint(str(folder)), "cpu").encode_texts(["new quux"])[0]
        return 1 - float(after @ load_encoder(base, "cpu").encode_texts(["new trousers"])[0])

    assert moved(100.0, tmp_path / "kept") < moved(0.0, tmp_path / "free")


def test_photographs_without_a_validation_part_and_a_folder_in_use_are_refused(
    look_book: Source, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "one.png")
    (tmp_path / "photos" / "one.json").write_text(json.dumps({"title": "hat"}))
    base = find_checkpoint(DEFAULT_MODEL)
    with pytest.raises(SourceError, match="give more"):
        teach_captions(base, WORDS, [open_source(tmp_path / "photos")], tmp_path / "run", epochs=1)
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists already"):
        teach_captions(base, WORDS, [look_book], tmp_path / "run", epochs=1)
