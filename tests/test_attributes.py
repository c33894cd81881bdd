"""Words for attributes learn from photographs: those with all values of a text come first, then those with some."""

from __future__ import annotations

import itertools
import random
import re
from functools import partial
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
from engine.errors import SourceError, UsageError
from engine.records import Item
from eval.split import split, split_of
from ingest.sources.detect import open_source
from ingest.sources.source import Source
from train.attributes import (
    ALONE,
    SHARE,
    TOGETHER,
    Asked,
    Directions,
    ask_for,
    find_directions,
    learn_directions,
    phrase,
)
from train.pairs import Pairs
from train.synonyms import Synonyms
from train.towers import towers_of
from train.words import Taught, teach_words

COLOURS, TYPES = ("blue", "red", "green"), ("shirts", "shoes", "bags")
WORDS = [*COLOURS, *TYPES]


def catalogue(each: int = 4, domains: int = 1) -> tuple[Pairs, torch.Tensor]:
    """Return items of every colour and type, and embeddings made of both and a little of their own."""
    combinations = [both for both in itertools.product(COLOURS, TYPES) for _ in range(each)] * domains
    has = np.array([[word in both for word in WORDS] for both in combinations])
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(len(WORDS), 32, generator=generator)
    own = torch.randn(len(combinations), 32, generator=generator)
    images = F.normalize(torch.from_numpy(has).float() @ directions + 0.5 * own, dim=1)
    names = [str(row) for row in range(len(combinations))]
    fields = ["colour"] * len(COLOURS) + ["type"] * len(TYPES)
    numbers = np.repeat(np.arange(domains), len(combinations) // domains)
    pixels = np.zeros((len(names), 0, 0, 3), dtype=np.uint8)
    return Pairs([Item(name, name) for name in names], pixels, has, WORDS, fields, names, names, numbers), images


def test_a_text_is_to_find_photographs_that_have_all_it_says_and_a_few_that_have_some() -> None:
    pairs, images = catalogue()
    asked = ask_for(pairs, images, random.Random(0))
    row = asked.texts.index("blue shirts")
    blue, shirts = (
        images[np.flatnonzero(pairs.attributes[:, WORDS.index(word)])].mean(dim=0) for word in ("blue", "shirts")
    )
    has_both = pairs.attributes[:, [WORDS.index("blue"), WORDS.index("shirts")]].all(axis=1)
    both = images[np.flatnonzero(has_both)].mean(dim=0)
    torch.testing.assert_close(asked.means[row], TOGETHER * both + (1 - TOGETHER) * (blue + shirts) / 2)
    assert {said for said, column in asked.rows.items() if asked.values[row, column]} == {("blue",), ("shirt",)}


def test_texts_lie_in_the_end_where_photographs_with_all_values_come_first() -> None:
    pairs, images = catalogue()
    asked = ask_for(pairs, images, random.Random(0))
    before = F.normalize(torch.randn(len(asked.texts), 32, generator=torch.Generator().manual_seed(1)), dim=1)
    directions = find_directions(asked, before, 20.0, seed=0)
    after = F.normalize(before + asked.values.float() @ directions, dim=1)

    def found(texts: torch.Tensor) -> float:
        """Return the share of the first four photographs that have all values of a text."""
        first = (texts @ images.T).topk(4).indices.numpy()
        wanted = asked.values.numpy()[:, None, [asked.rows[phrase(word)] for word in WORDS]]
        return float((pairs.attributes[first] >= wanted).all(axis=2).mean())

    assert found(before) < 0.4
    assert found(after) > 0.8
    rows = np.arange(len(asked.texts))
    assert asked.loss(after, rows, 20.0) < asked.loss(before, rows, 20.0)


def test_the_loss_is_the_cross_entropy_of_the_photographs_to_their_shares() -> None:
    pairs, images = catalogue()
    asked = ask_for(pairs, images, random.Random(0))
    text, has = asked.texts.index("blue shirts"), torch.from_numpy(pairs.attributes)
    blue, shirts = has[:, WORDS.index("blue")].double(), has[:, WORDS.index("shirts")].double()
    both = blue * shirts
    share = TOGETHER * both / both.sum() + (1 - TOGETHER) * (blue / blue.sum() + shirts / shirts.sum()) / 2
    embedded = F.normalize(torch.ones(1, 32), dim=1)
    scores = F.log_softmax(20.0 * (embedded @ images.T).double(), dim=1)
    assert float(asked.loss(embedded, np.array([text]), 20.0)) == pytest.approx(-float(scores @ share), rel=1e-5)


def test_a_text_is_asked_among_photographs_whose_sources_have_its_attributes_only() -> None:
    pairs, images = catalogue(domains=2)
    asked = ask_for(pairs, images, random.Random(0))
    rows, embedded = np.flatnonzero(asked.domains == 0), F.normalize(torch.ones(len(asked.texts), 32), dim=1)
    before = asked.loss(embedded[rows], rows, 20.0)
    images[len(images) // 2 :] = F.normalize(torch.ones(32), dim=0)  # of the other source: all that was asked for
    again = ask_for(pairs, images, random.Random(0))
    torch.testing.assert_close(again.loss(embedded[rows], rows, 20.0), before)
    assert float(again.loss(embedded, np.arange(len(again.texts)), 20.0)) != pytest.approx(float(before))


def test_a_text_moves_the_further_the_less_it_says_beside_attributes_and_not_at_all_without() -> None:
    directions = Directions({("blue",): 0, ("tshirt",): 1, ("formal", "shoe"): 2, ("shoe",): 3}, torch.eye(4, 8))
    before = F.normalize(torch.ones(1, 8), dim=1)

    def added(text: str) -> list[float]:
        """Return how much of each direction a text gets, as a part of what lies along none of them."""
        moved = directions.move([text], before)[0]
        return ((moved[:4] / moved[7] - 1) * before[0, 0]).tolist()

    assert added("blue T-Shirts") == pytest.approx([SHARE, SHARE, 0, 0], abs=1e-6)
    assert added("formal shoes") == pytest.approx([0, 0, SHARE, 0], abs=1e-6)
    assert added("Acme blue t-shirt, No.5") == pytest.approx([SHARE / 2**ALONE] * 2 + [0, 0], abs=1e-6)
    assert added("nothing of that") == pytest.approx([0] * 4, abs=1e-6)


def test_stressed_fields_move_texts_further_and_others_as_far_as_before() -> None:
    pairs, images = catalogue()
    asked = ask_for(pairs, images, random.Random(0))
    before = F.normalize(torch.randn(len(asked.texts), 32, generator=torch.Generator().manual_seed(1)), dim=1)
    once, more = (learn_directions(asked, pairs, before, 20.0, stress, seed=0) for stress in ({}, {"colour": 5.0}))
    times = torch.ones(len(once.rows))
    times[[once.rows[phrase(word)] for word in COLOURS]] = 5.0
    torch.testing.assert_close(more.vectors, times[:, None] * once.vectors)


@pytest.mark.usefixtures("without_onnx")
def test_photographs_of_the_training_part_alone_are_looked_at(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, seen = find_checkpoint(str(make_tiny_clip(tmp_path / "clip"))), list[Pairs]()
    share, seed = split_of(base)
    items = [item for item in look_book.items() if isinstance(item, Item)]

    def noted(pairs: Pairs, images: torch.Tensor, rng: random.Random) -> Asked:
        seen.append(pairs)
        with torch.no_grad():
            torch.testing.assert_close(images, towers.embed_images(towers.model.eval(), pairs.pixels))
        return ask_for(pairs, images, rng)

    towers = towers_of(base, "cpu")
    monkeypatch.setattr("train.words.ask_for", noted)
    teach_words(base, Synonyms(["a, b"]), [look_book], tmp_path / "run", attributes={}, epochs=1)
    assert {item.id for item in seen[0].items} == {item.id for item in split(items, "train", seed, share)}


def test_a_field_that_no_photograph_has_and_photographs_without_attributes_are_named(
    look_book: Source, tmp_path: Path
) -> None:
    base, words = find_checkpoint(str(make_tiny_clip(tmp_path / "clip"))), Synonyms(["a, b"])
    with pytest.raises(UsageError, match=r"no photograph has the attribute 'sheen': .*gender"):
        teach_words(base, words, [look_book], tmp_path / "run", attributes={"sheen": 2.0})
    (tmp_path / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
        (tmp_path / "photos" / f"{number}.txt").write_text(f"hat {number}")
    with pytest.raises(SourceError, match="has attributes"):
        teach_words(base, words, [open_source(tmp_path / "photos")], tmp_path / "run", attributes={})


@pytest.mark.usefixtures("without_onnx")
def test_a_taught_checkpoint_notes_that_it_looked_and_its_texts_come_near_to_where_they_are_to_lie(
    look_book: Source, tmp_path: Path
) -> None:
    base, told = find_checkpoint(str(make_tiny_clip(tmp_path / "clip"))), list[Taught]()
    words, stress = Synonyms(["quux => trousers"]), {"gender": 2.0}
    begun = list[str]()
    teach = partial(teach_words, base, words, [look_book], tmp_path / "run", attributes=stress, epochs=3)
    folder = teach(begin=begun.append, report=told.append)
    assert [one.split()[0] for one in begun] == ["looking", "reading"]
    assert Checkpoint(folder).notes["taught"]["attributes"] == stress
    assert told[-1].kept > told[0].kept
    assert "attributes by their photographs" in (folder / "README.md").read_text(encoding="utf-8")


def test_beside_the_new_layers_of_a_text_tower_the_last_frozen_one_learns_attributes_and_only_attributes(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_onnx(monkeypatch)
    base, words = find_checkpoint(DEFAULT_MODEL), Synonyms(["quux => trousers"])
    assert base.new_text_layers == 1

    def learnt(attributes: dict[str, float] | None, out: Path) -> set[int]:
        """Return which layers of the text tower are others than before."""
        folder = teach_words(base, words, [look_book], out, attributes=attributes, epochs=1)
        ours, theirs = load_file(folder / "model.safetensors"), load_file(base.folder / "model.safetensors")
        changed = {name for name in ours if "text_model" in name and not torch.equal(ours[name], theirs[name])}
        return {int(found[1]) for name in changed if (found := re.search(r"layer\.(\d+)", name))}

    last = int(base.config["text_config"]["num_hidden_layers"]) - 1
    assert learnt(None, tmp_path / "words") == {last}
    assert learnt({}, tmp_path / "attributes") == {last, last - 1}
