from __future__ import annotations

import random
from collections import defaultdict
from itertools import count

import pytest

from engine.errors import UsageError
from engine.records import Item
from eval.captions import ask, count_cut
from eval.split import PARTS, Part, group_of, part_of, split


def catalogue(products: int = 2000, views: int = 4) -> list[Item]:
    return [
        Item(f"p{n}_{view}.jpg", "", {"product_id": f"id{n}"}, (f"caption {n} {view}",))
        for n in range(products)
        for view in range(views)
    ]


def parts(items: list[Item], **options: bool) -> dict[Part, list[Item]]:
    return {part: list(split(items, part, **options)) for part in PARTS}


def test_no_product_straddles_the_split() -> None:
    where = defaultdict(set)
    for part, items in parts(catalogue()).items():
        for item in items:
            where[item.payload["product_id"]].add(part)
    assert len(where) == 2000
    assert all(len(found) == 1 for found in where.values())


def test_every_item_is_in_exactly_one_part() -> None:
    items = catalogue()
    assert sorted(item.id for part in parts(items).values() for item in part) == sorted(item.id for item in items)


def test_the_shares_are_those_asked_for() -> None:
    sizes = {part: len(items) / 40_000 for part, items in parts(catalogue(10_000)).items()}
    assert sizes["test"] == pytest.approx(0.2, abs=0.015)
    assert sizes["validation"] == pytest.approx(0.8 * 0.05, abs=0.01)
    assert len(list(split(catalogue(), "test", train_share=0.0))) == 8000
    assert not list(split(catalogue(), "test", train_share=1.0))


def test_the_split_does_not_depend_on_order_and_an_item_keeps_its_part_when_the_catalogue_grows() -> None:
    items = catalogue()
    shuffled = random.Random(0).sample(items, len(items))
    half = {item.id for item in split(items[:4000], "test")}
    assert {item.id for item in split(items, "test")} == {item.id for item in split(shuffled, "test")}
    assert half == {item.id for item in split(items, "test")} & {item.id for item in items[:4000]}


def test_the_split_is_the_same_for_ever() -> None:
    assigned = [part_of(f"product:{n}") for n in range(60)]
    assert [n for n, part in enumerate(assigned) if part == "test"] == [10, 17, 20, 21, 23, 32, 39, 40, 41, 48, 58]
    assert [n for n, part in enumerate(assigned) if part == "validation"] == [28]
    assert [part_of(f"product:{n}", seed=43) for n in range(40)] != [part_of(f"product:{n}") for n in range(40)]


def test_another_share_for_validation_leaves_the_test_part_as_it_is() -> None:
    items = catalogue()
    assert list(split(items, "test", validation_share=0.3)) == list(split(items, "test"))


def test_the_split_streams() -> None:
    endless = (Item(str(n), "") for n in count())
    assert group_of(next(split(endless, "test"))).startswith("photograph:")


def test_titles_group_where_there_is_no_product_and_ids_where_there_is_no_title() -> None:
    one, two = Item("1", "", {"title": "Lucera  Silver Earrings"}), Item("2", "", {"title": "lucera silver earrings "})
    assert group_of(one) == group_of(two)
    assert group_of(Item("3", "")) != group_of(Item("4", ""))
    assert group_of(Item("5", "", {"product_id": "7", "title": "a"})) == group_of(Item("6", "", {"product_id": "7"}))
    assert group_of(Item("7", "")) != group_of(Item("8", "", {"product_id": "7"}))


def test_a_split_by_photograph_leaks_products_as_it_says() -> None:
    by_photograph = parts(catalogue(), by_photograph=True)
    trained = {item.payload["product_id"] for item in by_photograph["train"]}
    assert sum(item.payload["product_id"] in trained for item in by_photograph["test"]) > 1000


def test_a_part_or_a_share_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(UsageError, match="'dev' is no part"):
        list(split([], "dev"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"train_share=80"):
        list(split([], "train", train_share=80))


def test_every_caption_asks_and_knows_its_right_answers_three_ways() -> None:
    items = [
        Item("a", "", {"product_id": "1"}, ("A red dress.", "Long sleeves.", "a RED  dress.")),
        Item("b", "", {"product_id": "1"}, ("Seen from behind.", " ")),
        Item("c", "", {}, ("a red dress.",)),
        Item("d", "", {}),
    ]
    queries = ask(items)
    assert [query.text for query in queries] == ["A red dress.", "Long sleeves.", "Seen from behind.", "a red dress."]
    assert len({query.id for query in queries}) == 4
    assert queries[0].item_id == "a"
    assert queries[0].product == ("a", "b")
    assert queries[0].equal_caption == ("a", "c")
    assert queries[3].product == ("c",)
    assert ask(items[:1], catalogue=items)[0].equal_caption == ("a", "c")


def test_captions_beyond_the_limit_of_the_tokenizer_are_counted() -> None:
    assert count_cut(["one two three", "one two", ""], lambda text: len(text.split()), limit=2) == 1
