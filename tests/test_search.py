"""The heart: what a query is made of, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.checkpoint import find_checkpoint
from engine.encoder import Encoder, encode_image, load_encoder
from engine.errors import FilterError, UsageError
from engine.passport import make_passport
from engine.records import Point, point_id
from engine.search import Page, Query, embed_query, search
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
    query = Query("red shirt", ["stripes"], [image], ["blue-False"], [], 2.0, 0.5, 0.7, 0.3)
    texts = encoder.encode_texts(["red shirt", "stripes"])
    stored = store.retrieve([point_id("blue-False")], vectors=True)[0].vector
    assert stored is not None
    total = 2.0 * texts[0] - 0.3 * texts[1] + 0.5 * encode_image(encoder, image) + 0.7 * stored
    vector = embed_query(encoder, query, {"blue-False": stored})
    np.testing.assert_allclose(vector, total / np.linalg.norm(total), atol=1e-5)


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


def test_min_score_and_exact_are_obeyed(store: Store, encoder: Encoder) -> None:
    hits = search(store, encoder, Query(images=[picture("blue", True)]), Page(min_score=0.999, exact=True))
    assert [hit.item_id for hit in hits] == ["blue-True"]


def test_an_unknown_item_and_parts_that_cancel_out_are_told(store: Store, encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="no item 'purple'"):
        search(store, encoder, Query(like=["purple"]), Page())
    with pytest.raises(UsageError, match="cancel each other out"):
        search(store, encoder, Query("red", ["red"], unwanted_weight=1.0), Page())


def test_a_store_can_be_opened_again_after_it_was_closed(encoder: Encoder, tmp_path: Path) -> None:
    for _ in range(2):
        with open_store(str(tmp_path), "fashion") as store:
            store.create(CollectionSpec(encoder.checkpoint.dimension, make_passport(encoder)))
            store.upsert([Point(point_id("a"), encode_image(encoder, picture("red", False)), {"item_id": "a"})])
            assert store.count() == 1


def test_unwanted_texts_without_a_word_are_left_out() -> None:
    assert Query("red", unwanted=["", " "]) == Query("red")
    assert Query(unwanted=[" "]).is_empty
