"""The heart: what a query is made of, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.checkpoint import find_checkpoint
from engine.encoder import Encoder, encode_image, load_encoder
from engine.errors import FilterError, UsageError
from engine.passport import make_passport
from engine.records import Point, point_id
from engine.search import Page, Query, embed_query, named_points, search
from engine.store.open import open_store
from engine.store.protocol import CollectionSpec, Store

COLOURS = {"red": (200, 20, 30), "green": (20, 160, 60), "blue": (30, 50, 190), "white": (250, 250, 250)}


def picture(colour: str, stripes: bool) -> Image.Image:
    image = Image.new("RGB", (64, 80), COLOURS[colour])
    if stripes:
        for top in range(0, 80, 16):
            image.paste((0, 0, 0), (0, top, 64, top + 8))
    return image


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(find_checkpoint("fashion-small"))


@pytest.fixture(scope="module")
def store(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("search")
    spec = CollectionSpec(
        encoder.checkpoint.dimension, make_passport(encoder), {"colour": "keyword", "striped": "bool"}
    )
    with open_store(str(folder), "fashion") as store:
        store.create(spec)
        store.upsert(
            [
                Point(
                    point_id(f"{colour}-{striped}"),
                    encode_image(encoder, picture(colour, striped)),
                    {"item_id": f"{colour}-{striped}", "colour": colour, "striped": striped},
                )
                for colour in COLOURS
                for striped in (False, True)
            ]
        )
        yield store


def test_a_photograph_finds_itself_first(store: Store, encoder: Encoder) -> None:
    hits = search(store, encoder, Query(images=[picture("green", True)]), Page(limit=3))
    assert hits[0].item_id == "green-True"
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_words_are_ranked_by_the_cosine_with_every_photograph(store: Store, encoder: Encoder) -> None:
    text = encoder.encode_texts(["striped shirt"])[0]
    records, _ = store.scroll(vectors=True)
    cosines = {str((r.payload or {})["item_id"]): float(text @ r.vector) for r in records if r.vector is not None}
    hits = search(store, encoder, Query("striped shirt"), Page(limit=8))
    assert {hit.item_id for hit in hits} == set(cosines)
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines.values(), reverse=True), abs=1e-3)


def test_a_filter_holds_and_an_unknown_field_is_an_error(store: Store, encoder: Encoder) -> None:
    page = Page(filter={"must": [{"key": "striped", "match": {"value": True}}]})
    assert {hit.payload["striped"] for hit in search(store, encoder, Query("red"), page)} == {True}
    with pytest.raises(FilterError, match="colour"):
        search(store, encoder, Query("red"), Page(filter={"must": [{"key": "color", "match": {"value": "red"}}]}))


def test_offset_and_limit_cut_the_same_ranking(store: Store, encoder: Encoder) -> None:
    whole = [hit.id for hit in search(store, encoder, Query("blue"), Page(limit=8))]
    parts = [search(store, encoder, Query("blue"), Page(limit=3, offset=offset)) for offset in (0, 3, 6)]
    assert [hit.id for part in parts for hit in part] == whole


def test_more_like_this_leaves_the_example_out(store: Store, encoder: Encoder) -> None:
    hits = search(store, encoder, Query(like=["red-True"]), Page(limit=10))
    assert len(hits) == 7
    assert "red-True" not in {hit.item_id for hit in hits}


def test_a_filter_holds_beside_an_example_and_the_example_stays_out(store: Store, encoder: Encoder) -> None:
    page = Page(filter={"must": [{"key": "striped", "match": {"value": True}}]})
    hits = search(store, encoder, Query(like=["red-True"]), page)
    assert {hit.item_id for hit in hits} == {f"{colour}-True" for colour in COLOURS} - {"red-True"}


def test_an_item_whose_id_is_the_point_id_of_another_is_meant_before_that_other(tmp_path: Path) -> None:
    vectors = np.eye(2, dtype=np.float32)
    names = ("coat", point_id("coat"))
    with open_store(str(tmp_path), "fashion") as store:
        store.create(CollectionSpec(2, {}))
        store.upsert([Point(point_id(name), row, {"item_id": name}) for name, row in zip(names, vectors, strict=True)])
        found = named_points(store, [*names, point_id(names[1]).upper(), "hat"])
        assert [(name, (record.payload or {})["item_id"]) for name, record in found.items()] == [
            *((name, name) for name in names),
            (point_id(names[1]).upper(), names[1]),
        ]


def test_nothing_but_unwanted_parts_finds_what_resembles_them_least(store: Store, encoder: Encoder) -> None:
    for query, wanted in (
        (Query(unwanted=["red"]), Query("red")),
        (Query(unlike=["red-True"]), Query(like=["red-True"])),
    ):
        least = [hit.id for hit in search(store, encoder, query, Page(limit=8))]
        most = [hit.id for hit in search(store, encoder, wanted, Page(limit=8))]
        assert least == most[::-1]


def test_browsing_refuses_what_only_a_comparison_gives(store: Store, encoder: Encoder) -> None:
    for page in (Page(min_score=0.5), Page(group_by="colour")):
        with pytest.raises(UsageError, match="needs something to look for"):
            search(store, encoder, Query(), page)


def test_an_unwanted_example_moves_down(store: Store, encoder: Encoder) -> None:
    page = Page(limit=8)
    plain = [h.item_id for h in search(store, encoder, Query(images=[picture("red", False)]), page)]
    less = [
        h.item_id for h in search(store, encoder, Query(images=[picture("red", False)], unlike=["blue-True"]), page)
    ]
    assert "blue-True" in plain
    assert "blue-True" not in less


def test_a_mixture_is_the_weighted_sum_of_its_parts(store: Store, encoder: Encoder) -> None:
    image = picture("white", False)
    query = Query("red shirt", ["stripes"], [image], ["blue-False"], ["red-True"], 2.0, 0.5, 0.7, 0.3)
    texts = encoder.encode_texts(["red shirt", "stripes"])
    records = named_points(store, ["blue-False", "red-True"], vectors=True)
    stored = {name: record.vector for name, record in records.items() if record.vector is not None}
    total = 2.0 * texts[0] - 0.3 * texts[1] + 0.5 * encode_image(encoder, image)
    total += 0.7 * stored["blue-False"] - 0.3 * stored["red-True"]
    vector = embed_query(encoder, query, stored)
    np.testing.assert_allclose(vector, total / np.linalg.norm(total), atol=1e-5)
    np.testing.assert_allclose(
        embed_query(encoder, Query("  ", like=["red-True"]), stored), stored["red-True"], atol=1e-6
    )


def test_many_of_a_kind_count_no_more_than_one(store: Store, encoder: Encoder) -> None:
    texts = encoder.encode_texts(["red shirt", "stripes", "dots"])
    names = ["blue-False", "green-True", "white-True"]
    rows = [record.vector for record in store.retrieve([point_id(name) for name in names], vectors=True)]
    stored = {name: row for name, row in zip(names, rows, strict=True) if row is not None}
    like, unlike = stored["blue-False"], (stored["green-True"] + stored["white-True"]) / 2
    total = texts[0] - 0.5 * (texts[1] + texts[2]) / 2 + like - 0.5 * unlike
    query = Query("red shirt", ["stripes", "dots"], like=names[:1] * 3, unlike=names[1:])
    np.testing.assert_allclose(embed_query(encoder, query, stored), total / np.linalg.norm(total), atol=1e-5)


def test_grouping_gives_the_best_of_each_value(store: Store, encoder: Encoder) -> None:
    hits = search(store, encoder, Query("red"), Page(limit=10, group_by="colour"))
    assert sorted(str(hit.payload["colour"]) for hit in hits) == sorted(COLOURS)


def test_without_a_query_the_filter_alone_lists(store: Store, encoder: Encoder) -> None:
    page = Page(filter={"must": [{"key": "colour", "match": {"value": "red"}}]})
    assert {hit.item_id for hit in search(store, encoder, Query(), page)} == {"red-True", "red-False"}


def test_browsing_turns_pages_in_the_order_of_point_ids(store: Store, encoder: Encoder) -> None:
    whole = sorted(point_id(f"{colour}-{striped}") for colour in COLOURS for striped in (False, True))
    pages = [search(store, encoder, Query(), Page(limit=3, offset=offset)) for offset in (0, 3, 6, 9)]
    assert [[hit.id for hit in page] for page in pages] == [whole[:3], whole[3:6], whole[6:], []]


def test_a_page_far_down_is_the_same_whether_or_not_it_is_asked_first_if_there_is_so_much(
    store: Store, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> list[list[str]]:
        pages = [Page(limit=3, offset=offset) for offset in (3, 7, 8)]
        return [
            [hit.id for hit in search(store, encoder, query, page)]
            for query in (Query("red"), Query())
            for page in pages
        ]

    plain = ask()
    assert [len(page) for page in plain] == [3, 1, 0] * 2
    monkeypatch.setattr("engine.search.SHALLOW", 2)
    assert ask() == plain


def test_min_score_and_exact_are_obeyed(store: Store, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = store.search, []
    monkeypatch.setattr(store, "search", lambda spec: (asked.append(spec.exact), real(spec))[1])
    hits = search(store, encoder, Query(images=[picture("blue", True)]), Page(min_score=0.999, exact=True))
    assert [hit.item_id for hit in hits] == ["blue-True"]
    assert len(search(store, encoder, Query("red"), Page(min_score=-1))) == 8
    assert asked == [True, False]


def test_numbers_that_cannot_be_meant_are_refused(store: Store, encoder: Encoder) -> None:
    for name in ("text_weight", "image_weight", "like_weight", "unwanted_weight"):
        for weight in (math.nan, math.inf, -math.inf):
            with pytest.raises(UsageError, match="a weight of"):
                search(store, encoder, replace(Query("red"), **{name: weight}), Page())
    for score in (-1.01, 1.01, math.nan):
        with pytest.raises(UsageError, match="a least score of"):
            search(store, encoder, Query("red"), Page(min_score=score))


def test_a_checkpoint_that_cannot_look_closer_says_so(store: Store, encoder: Encoder) -> None:
    assert encoder.checkpoint.token_heads is None
    for reranker in ("maxsim", "cross"):
        with pytest.raises(UsageError, match=f"re-ranking by '{reranker}' needs"):
            search(store, encoder, Query("red"), Page(rerank=reranker))  # type: ignore[arg-type]
    assert search(store, encoder, Query("red"), Page(rerank="none")) == search(store, encoder, Query("red"), Page())


@pytest.mark.parametrize(
    ("query", "words", "empty"),
    [
        (Query("red"), True, False),
        (Query("red", text_weight=0), False, False),
        (Query("red", text_weight=-1), False, False),
        (Query(" "), False, True),
        (Query("red", ["blue"]), False, False),
        (Query("red", images=[Image.new("RGB", (8, 8))]), False, False),
        (Query("red", like=["a"]), False, False),
        (Query("red", unlike=["a"]), False, False),
        (Query(unlike=["a"]), False, False),
        (Query(like=["a"]), False, False),
    ],
)
def test_a_query_in_words_alone_and_one_of_nothing_are_told_from_mixtures(
    query: Query, words: bool, empty: bool
) -> None:
    assert (query.is_words, query.is_empty) == (words, empty)


def test_an_unknown_item_and_parts_that_cancel_out_are_told(store: Store, encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="no item 'purple'"):
        search(store, encoder, Query(like=["purple"]), Page())
    with pytest.raises(UsageError, match="cancel each other out"):
        search(store, encoder, Query("red", ["red"], unwanted_weight=1.0), Page())
    nearly = {"a": np.array([1, 0], dtype=np.float32), "b": np.array([1, 1e-7], dtype=np.float32)}
    with pytest.raises(UsageError, match="cancel each other out"):
        embed_query(encoder, Query(like=["a"], unlike=["b"], unwanted_weight=1.0), nearly)


def test_a_store_can_be_opened_again_after_it_was_closed(encoder: Encoder, tmp_path: Path) -> None:
    for _ in range(2):
        with open_store(str(tmp_path), "fashion") as store:
            store.create(CollectionSpec(encoder.checkpoint.dimension, make_passport(encoder)))
            store.upsert([Point(point_id("a"), encode_image(encoder, picture("red", False)), {"item_id": "a"})])
            assert store.count() == 1


def test_unwanted_texts_without_a_word_are_left_out() -> None:
    assert Query("red", unwanted=["", " "]) == Query("red")
    assert Query(unwanted=[" "]).is_empty
