from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import UsageError
from engine.records import Item
from eval.bounds import ceiling_hit
from eval.examination import Examination, Figure, Section
from eval.harness import Gallery, examine
from eval.trec import write_qrels
from eval.truth import examine_ground_truth, load_ground_truth

D = 32
Vectors = npt.NDArray[np.float32]


class Toy:
    """A little world with known answers: photograph n has vector n, and its caption embeds near it."""

    def __init__(self, photographs: int = 240, noise: float = 0.0, same_caption_every: int = 0) -> None:
        rng = np.random.default_rng(0)
        self.vectors = unit(rng.standard_normal((photographs, D)))
        self.items = [
            Item(
                f"{n}.jpg",
                "",
                {
                    "product_id": f"id{n // 4}",
                    "view": ("front", "side", "back", "full")[n % 4],
                    "outer": n % 3 == 0,
                    "serial": f"{n}",
                    "price": n,
                },
                (f"garment {0 if same_caption_every and n % same_caption_every == 0 else n}",),
            )
            for n in range(photographs)
        ]
        self.noise = noise

    def gallery(self, kept: slice = slice(None)) -> Gallery:
        return Gallery([item.id for item in self.items[kept]], self.vectors[kept])

    def embed(self, texts: list[str]) -> Vectors:
        rng = np.random.default_rng(1)
        rows = self.vectors[[int(text.split()[1]) for text in texts]]
        return unit(rows + self.noise * rng.standard_normal(rows.shape))

    def search(self, vectors: Vectors, limit: int) -> list[list[str]]:
        order = np.argsort(-(vectors @ self.vectors.T), axis=1, kind="stable")
        return [[self.items[column].id for column in row[:limit]] for row in order]


def test_a_perfect_encoder_gets_full_marks_everywhere() -> None:
    toy = Toy()
    found = examine(toy.items, toy.gallery(), toy.embed, toy.search, resamples=200)
    for section in found.sections:
        if section.relevance == "strict":
            assert values(section) == {"hit@1": 1, "hit@5": 1, "hit@10": 1, "MRR": 1, "MRR@10": 1, "median rank": 1}
    assert len(found.sections) == 5
    assert [one.value for one in found.index] == [1, 1]
    assert found.gallery == found.queries == 240
    assert all(case.rank == 1 and case.hits[0] == case.query.item_id for case in found.best)
    assert {len(case.hits) for case in (*found.best, *found.worst)} == {5}


def test_a_collapsed_encoder_gets_no_marks_although_everything_ties() -> None:
    toy = Toy()
    toy.vectors = np.tile(toy.vectors[:1], (240, 1))
    found = examine(toy.items, toy.gallery(), toy.embed, resamples=100)
    for section in (*found.sections[:3], *found.small_galleries):
        assert values(section)["hit@10"] == 0
    assert values(found.sections[0])["median rank"] == 240
    assert values(found.sections[3])["median rank"] == 240


def test_a_random_encoder_reaches_chance_and_no_more() -> None:
    toy = Toy(photographs=960)
    rng = np.random.default_rng(3)
    found = examine(toy.items, toy.gallery(), lambda texts: unit(rng.standard_normal((len(texts), D))), resamples=500)
    for section in (*found.sections, *found.small_galleries):
        for figure in section.figures:
            assert figure.chance is not None
            assert figure.value == pytest.approx(figure.chance, abs=0.05, rel=0.15)
    for figure in found.precision:
        assert figure.value == pytest.approx(figure.chance, abs=0.03)


def test_every_figure_carries_its_gallery_its_queries_its_chance_and_an_interval_around_it() -> None:
    toy = Toy(noise=0.25)
    for figure in all_figures(examine(toy.items, toy.gallery(), toy.embed, toy.search, resamples=500)):
        assert figure.low <= figure.value <= figure.high
        assert figure.gallery in (240, 32) and figure.queries > 0
        assert figure.chance is not None


def test_equal_captions_lower_the_ceiling_and_the_strict_mark_but_not_the_multi_positive_one() -> None:
    toy = Toy(same_caption_every=2)
    for n in range(0, 240, 2):
        toy.vectors[n] = toy.vectors[0]
    found = examine(toy.items, toy.gallery(), toy.embed, resamples=100)
    strict, _, equal = (values(section) for section in found.sections[:3])
    ceiling = next(figure.ceiling for figure in found.sections[0].figures if figure.name == "hit@10")
    assert ceiling == pytest.approx(ceiling_hit(np.array([120, 1] * 120), 10))
    assert ceiling == pytest.approx(0.5 + 0.5 * 10 / 120)
    assert strict["hit@10"] == 0.5  # ties count against us
    assert equal["hit@1"] == 1
    assert equal["recall@10"] == pytest.approx(ceiling)


def test_a_photograph_that_is_not_in_the_gallery_stays_in_the_denominator() -> None:
    toy = Toy()
    found = examine(toy.items, toy.gallery(slice(0, 180)), toy.embed, resamples=100)
    assert (found.gallery, found.queries, found.items_not_in_gallery) == (180, 240, 60)
    assert values(found.sections[0])["hit@10"] == 0.75
    assert values(found.sections[3])["hit@10"] == 0.75
    assert found.first_ranks.count(None) == 60
    assert found.worst[0].rank is None


def test_a_photograph_that_is_not_in_the_gallery_is_never_found_however_few_captions_there_are() -> None:
    toy = Toy(photographs=8)
    found = examine(toy.items, toy.gallery(slice(0, 6)), toy.embed, resamples=100)
    for section in (found.sections[0], found.sections[3]):
        assert values(section)["hit@10"] == 0.75
    assert values(found.sections[4])["hit@10"] == 0.75


def test_a_photograph_that_is_not_in_the_gallery_has_no_ceiling_by_one_of_the_same_caption_that_is() -> None:
    toy = Toy(photographs=8)
    toy.items[7] = replace(toy.items[7], captions=toy.items[0].captions)
    found = examine(toy.items, toy.gallery(slice(0, 7)), toy.embed, resamples=100)
    ceiling = next(figure.ceiling for figure in found.sections[0].figures if figure.name == "hit@10")
    assert ceiling == 7 / 8


def test_intervals_are_those_of_whole_products() -> None:
    toy = Toy(photographs=64)
    wrong = [f"garment {n if n // 4 % 2 else (n + 7) % 64}" for n in range(64)]  # of every second product all
    items = [replace(item, captions=(caption,)) for item, caption in zip(toy.items, wrong, strict=True)]
    alone = [replace(item, payload={}) for item in items]
    widths = []
    for asked in (items, alone):
        found = examine(asked, toy.gallery(), toy.embed, resamples=300)
        hits = [section.figures[0] for section in (found.sections[0], *found.sections[3:], *found.small_galleries)]
        assert [hit.value for hit in hits] == pytest.approx([0.5] * 5, abs=0.05)
        widths.append([hit.high - hit.low for hit in hits])
    assert widths[0] == pytest.approx([2 * width for width in widths[1]], rel=0.3)


def test_captions_that_differ_in_case_and_spacing_only_are_one_candidate() -> None:
    toy = Toy()
    toy.items[1] = replace(toy.items[1], captions=("GARMENT  0",))
    found = examine(toy.items, toy.gallery(), toy.embed, resamples=10)
    assert [section.figures[0].gallery for section in found.sections] == [240, 240, 240, 239, 239]


def test_in_galleries_of_32_a_photograph_is_asked_for_by_its_first_caption() -> None:
    toy = Toy()
    items = [replace(item, captions=(*item.captions, f"garment {n + 9}")) for n, item in enumerate(toy.items[:200])]
    found = examine(items, toy.gallery(), toy.embed, resamples=10)
    assert [values(section)["hit@1"] for section in found.small_galleries] == [1, 1]


def test_galleries_of_32_are_kept_apart_from_the_full_gallery() -> None:
    toy = Toy(noise=0.5)
    found = examine(toy.items, toy.gallery(), toy.embed, resamples=100)
    assert [section.direction for section in found.small_galleries] == ["text to image", "image to text"]
    for section in found.small_galleries:
        hit = next(figure for figure in section.figures if figure.name == "hit@10")
        assert (hit.gallery, hit.queries) == (32, 224)
        assert hit.chance == pytest.approx(10 / 32)
        assert hit.value > values(found.sections[0])["hit@10"]
    assert examine(toy.items[:20], toy.gallery(), toy.embed, resamples=10).small_galleries == ()


def test_galleries_of_32_have_no_photograph_that_the_whole_gallery_lacks() -> None:
    toy = Toy()
    found = examine(toy.items, toy.gallery(slice(0, 180)), toy.embed, resamples=100)
    assert [section.figures[0].queries for section in found.small_galleries] == [160, 160]
    assert [values(section)["hit@1"] for section in found.small_galleries] == [1, 1]
    few = examine(toy.items, toy.gallery(slice(0, 5)), toy.embed, resamples=10)
    assert few.small_galleries == ()


def test_galleries_of_32_are_drawn_anew_for_every_seed() -> None:
    toy = Toy(noise=0.5)
    one, other = (examine(toy.items, toy.gallery(), toy.embed, resamples=10, seed=seed) for seed in (1, 2))
    assert values(one.small_galleries[0]) != values(other.small_galleries[0])


def test_in_galleries_of_32_texts_ask_for_images_in_one_direction_and_images_for_texts_in_the_other() -> None:
    toy = Toy()
    found = examine(toy.items, toy.gallery(), lambda texts: np.tile(toy.vectors[:1], (len(texts), 1)), resamples=10)
    by_text, by_image = (values(section)["hit@10"] for section in found.small_galleries)
    assert by_text == pytest.approx(10 / 32, abs=0.05)
    assert by_image == 0, "all texts tie"


def test_a_view_that_the_gallery_lacks_is_a_right_answer_that_its_own_query_does_not_find() -> None:
    toy = Toy()
    toy.vectors = unit(np.repeat(toy.vectors[:60], 4, axis=0) + 0.01 * toy.vectors)
    found = examine(toy.items, toy.gallery(slice(0, 239)), toy.embed, resamples=10)
    assert values(found.sections[1])["recall@10"] == pytest.approx(239.75 / 240)


def test_by_product_any_view_of_the_product_is_right() -> None:
    toy = Toy()
    shifted = [replace(item, captions=(f"garment {n // 4 * 4 + (n + 1) % 4}",)) for n, item in enumerate(toy.items)]
    found = examine(shifted, toy.gallery(), toy.embed, resamples=100)
    assert values(found.sections[0])["hit@1"] == 0
    assert values(found.sections[1])["hit@1"] == 1
    assert values(found.sections[1])["recall@1"] == 0.25
    assert {group.figure.value for group in found.groups} == {1}


def test_attribute_fields_come_from_the_data_and_small_groups_are_left_out() -> None:
    toy = Toy()
    toy.items[0] = replace(toy.items[0], payload={**toy.items[0].payload, "view": "rare"})
    found = examine(toy.items, toy.gallery(), toy.embed, resamples=100)
    assert {figure.name for figure in found.precision} == {"view", "outer"}
    assert {(group.field, group.value) for group in found.groups} == {
        *(("view", view) for view in ("front", "side", "back", "full")),
        ("outer", "yes"),
        ("outer", "no"),
    }
    assert all(group.figure.queries >= 20 for group in found.groups)


def test_attribute_precision_is_the_share_of_hits_with_the_value_asked_for() -> None:
    items = [Item(f"{n}", "", {"colour": "red" if n < 15 else "blue"}, (f"garment {n}",)) for n in range(40)]
    angles = np.where(np.arange(40) < 15, 0.0, 1.5) + np.arange(40) * 1e-3
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = examine(
        items, Gallery([i.id for i in items], vectors), lambda texts: vectors[[int(t.split()[1]) for t in texts]]
    )
    assert found.precision[0].value == 1
    assert found.precision[0].chance == pytest.approx((15 * 15 + 25 * 25) / 40 / 40)


def test_index_agreement_is_about_the_index_and_not_about_the_model() -> None:
    toy = Toy(noise=3.0)

    def half(vectors: Vectors, limit: int) -> list[list[str]]:
        return [[*ids[:5], "gone.jpg", ids[0]] for ids in toy.search(vectors, limit)]

    found = examine(toy.items, toy.gallery(), toy.embed, half, resamples=100)
    assert found.index[0].name == "index agreement@10"
    assert found.index[0].value == 0.5
    assert values(found.sections[0])["hit@10"] < 0.5


def test_what_an_index_returns_beyond_what_was_asked_for_does_not_count() -> None:
    toy = Toy()

    def late(vectors: Vectors, limit: int) -> list[list[str]]:
        return [[*ids[limit:], *ids[:limit]] for ids in toy.search(vectors, 2 * limit)]

    assert [one.value for one in examine(toy.items, toy.gallery(), toy.embed, late, resamples=10).index] == [0, 0]


def test_an_index_that_returns_an_equal_photograph_instead_agrees() -> None:
    toy = Toy()
    toy.vectors[120:] = toy.vectors[:120]

    def other(vectors: Vectors, limit: int) -> list[list[str]]:
        order = np.argsort(-(vectors @ toy.vectors.T)[:, ::-1], axis=1, kind="stable")
        return [[toy.items[239 - column].id for column in row[:limit]] for row in order]

    assert examine(toy.items, toy.gallery(), toy.embed, other, resamples=100).index[0].value == 1


def test_captions_cut_and_items_without_captions_are_counted() -> None:
    toy = Toy()
    toy.items[0] = replace(toy.items[0], captions=())
    toy.items[1] = replace(toy.items[1], captions=(" ",))
    found = examine(
        toy.items, toy.gallery(), toy.embed, count_tokens=lambda text: len(text), token_limit=10, resamples=10
    )
    assert (found.items_without_caption, found.queries) == (2, 238)
    assert found.captions_cut == 238 - 98  # "garment 2" .. "garment 99" have at most 10 letters
    assert examine(toy.items, toy.gallery(), toy.embed, resamples=10).captions_cut is None


def test_the_same_seed_gives_the_same_examination() -> None:
    toy = Toy(noise=0.3)
    one, two = (examine(toy.items, toy.gallery(), toy.embed, toy.search, resamples=100, seed=5) for _ in range(2))
    assert one == two


def test_what_cannot_be_examined_is_refused_with_its_cause() -> None:
    toy = Toy()
    with pytest.raises(UsageError, match="no captions to ask"):
        examine([Item("a", "")], toy.gallery(), toy.embed)
    with pytest.raises(UsageError, match="empty"):
        examine(toy.items, Gallery([], np.empty((0, D), dtype=np.float32)), toy.embed)
    with pytest.raises(UsageError, match=r"'0.jpg' twice"):
        examine(toy.items, Gallery(["0.jpg", "0.jpg"], toy.vectors[:2]), toy.embed)
    with pytest.raises(UsageError, match="1 ids but 2 vectors"):
        examine(toy.items, Gallery(["0.jpg"], toy.vectors[:2]), toy.embed)
    with pytest.raises(UsageError, match=r"row 0 of the texts has the length 2"):
        examine(toy.items, toy.gallery(), lambda texts: 2 * toy.embed(texts))
    with pytest.raises(UsageError, match=r"row 0 of the texts has the length 1\.02"):
        examine(toy.items, toy.gallery(), lambda texts: np.float32(1.02) * toy.embed(texts))
    with pytest.raises(UsageError, match=r"row 0 of the gallery has the length 0\.98"):
        examine(toy.items, Gallery([item.id for item in toy.items], np.float32(0.98) * toy.vectors), toy.embed)
    with pytest.raises(UsageError, match="answered 239 of 240"):
        examine(toy.items, toy.gallery(), toy.embed, lambda vectors, limit: toy.search(vectors, limit)[1:])


TRUTH = {"red": {"a": 1.0, "b": 2.0, "z": 1.0, "c": 0.0}, "blue": {"d": 1.0}, "green": {"y": 1.0}}


def answer(texts: Sequence[str], limit: int) -> list[list[str]]:
    return [{"red": ["a", "c", "b"], "blue": ["c", "d"], "green": ["a"]}[text][:limit] for text in texts]


def test_a_ground_truth_is_marked_as_the_benchmark_does_and_missing_answers_stay_in_the_denominator() -> None:
    found = examine_ground_truth(TRUTH, answer, ["a", "b", "c", "d"], resamples=100)
    marks = {figure.name: figure.value for figure in found.figures}
    assert marks["recall@1"] == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert marks["recall@10"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert marks["hit@10"] == pytest.approx(2 / 3)
    assert marks["MRR@10"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert (found.queries, found.relevant, found.relevant_missing) == (3, 5, 2)
    assert (found.queries_with_missing, found.queries_without_answer) == (2, 1)
    ceilings = {figure.name: figure.ceiling for figure in found.figures}
    assert ceilings["recall@1"] == pytest.approx((1 / 3 + 1 + 0) / 3)


def test_the_ground_truth_file_is_read_in_both_its_forms(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"red": {"a": 1, "b": 0}, "blue": ["c", "d"]}), encoding="utf-8-sig")
    assert load_ground_truth(path) == {"red": {"a": 1, "b": 0}, "blue": {"c": 1, "d": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: .* line 1"),
        ("{}", "no queries"),
        ("[1]", "no queries"),
        ('{"red": 3}', "'red' has 3"),
        ('{"red": {"a": "much"}}', "'a': the relevance 'much'"),
        ('{"red": {"a": true}}', "relevance True"),
        ('{"red": {"a": NaN}}', "relevance nan"),
        ('{" ": ["a"]}', "query without a word"),
        (r'{"\ud83d": ["a"]}', "half a character"),
        (f'{{"red": {{"a": {"9" * 5000}}}}}', "cannot be read"),
        (r'{"red": ["\ud83d"]}', r"the item '\\ud83d' has half a character"),
        (f'{{"red": {{"a": {"9" * 400}}}}}', "the relevance 9{40} is no number"),
        ('{"red": {"a": -1e999}}', "relevance -inf is no number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"red": {"a": 0}}', "no item with a relevance above 0"),
        ('{"red": ["a"], "red": ["b"]}', "'red' twice"),
    ],
)
def test_a_ground_truth_of_another_form_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_ground_truth(path)


def test_a_ground_truth_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json"):
        load_ground_truth(tmp_path / "gone.json")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        load_ground_truth(tmp_path / "photo.jpg")
    with pytest.raises(UsageError, match="no queries"):
        examine_ground_truth({}, answer, [])


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def values(section: Section) -> dict[str, float]:
    return {figure.name: figure.value for figure in section.figures}


def all_figures(found: Examination) -> list[Figure]:
    sections = [figure for section in (*found.sections, *found.small_galleries) for figure in section.figures]
    made = [*sections, *found.index, *found.precision, *(group.figure for group in found.groups)]
    assert not any(math.isnan(figure.value) for figure in made)
    return made


def test_the_answers_that_an_examination_writes_are_a_ground_truth_once_their_queries_are_said_to_be_texts(
    tmp_path: Path,
) -> None:
    truth = {"red dress": {"a": 1.0}, "blue": {"b c": 1.0}}
    write_qrels(tmp_path / "qrels.trec", truth)
    with pytest.raises(UsageError, match=r"qrels\.trec: name it \.qrels if its queries are texts"):
        load_ground_truth(tmp_path / "qrels.trec")
    (tmp_path / "qrels.trec").rename(tmp_path / "answers.qrels")
    assert load_ground_truth(tmp_path / "answers.qrels") == truth


def test_judgements_of_the_search_page_are_a_ground_truth(tmp_path: Path) -> None:
    path = tmp_path / "judgements.qrels"
    path.write_text("red%20dress 0 a 1\nred%20dress 0 b 0\nblue 0 c 0\n")
    assert load_ground_truth(path) == {"red dress": {"a": 1, "b": 0}}
