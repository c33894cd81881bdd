from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.errors import ImageError, SourceError, UsageError
from engine.records import Item, Rejected
from ingest.sources.table import Columns, TableSource

KAGGLE = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName\n"


def shop(root: Path, table: str, *names: str, name: str = "styles.csv", folder: str = "images") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for photo in names:
        (root / folder / photo).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 8), "white").save(root / folder / photo)
    (root / name).write_text(table, encoding="utf-8")
    return root / name


def split(path: Path, **options: Any) -> tuple[list[Item], list[Rejected]]:
    entries = list(TableSource(path, **options).items())
    return [e for e in entries if isinstance(e, Item)], [e for e in entries if isinstance(e, Rejected)]


def test_kaggles_table_is_recognised_with_its_unquoted_commas(tmp_path: Path) -> None:
    rows = (
        "15970,Men,Apparel,Topwear,Shirts,Navy Blue,Fall,2011,Casual,Turtle Check Men Navy Blue Shirt\n"
        "7491,Women,Apparel,Bottomwear,Shorts,Pink,Summer,,Sports,Women's Shorts, Pink, 3.5\n"
        '7497,Women,Apparel,Bottomwear,Shorts,NA,Summer,2012,NA,"Women\'s 3.5"" Short, Purple"\n'
    )
    path = shop(tmp_path, KAGGLE + rows, "15970.jpg", "7491.jpg", "7497.JPG")
    source = TableSource(path)
    items, rejected = split(path)
    assert rejected == []
    assert source.description == "product table (Kaggle styles.csv): 3 rows"
    assert [item.id for item in items] == ["15970", "7491", "7497"]
    assert items[0].payload == {
        **{"gender": "Men", "category": "Apparel", "subcategory": "Topwear", "article_type": "Shirts"},
        **{"colour": "Navy Blue", "season": "Fall", "year": 2011, "usage": "Casual"},
        "title": "Turtle Check Men Navy Blue Shirt",
    }
    assert items[0].captions == ("Turtle Check Men Navy Blue Shirt",)
    assert items[1].payload["title"] == "Women's Shorts, Pink, 3.5"
    assert items[2].payload["title"] == "Women's 3.5\" Short, Purple"
    assert "year" not in items[1].payload
    assert {"colour", "usage"}.isdisjoint(items[2].payload)
    assert source.fields() == {
        **dict.fromkeys(("gender", "category", "subcategory", "article_type", "colour", "season"), "keyword"),
        **{"year": "integer", "usage": "keyword", "title": "text"},
    }


def test_kaggles_table_may_lack_the_year_or_write_it_as_a_fraction(tmp_path: Path) -> None:
    row = "1,Men,Apparel,Topwear,Shirts,Blue,Fall,{}Casual,Title\n"
    without = shop(tmp_path / "a", KAGGLE.replace("year,", "") + row.format(""), "1.jpg")
    assert "year" not in TableSource(without).fields()
    fraction = shop(tmp_path / "b", KAGGLE + row.format("2012.0,"), "1.jpg")
    assert split(fraction)[0][0].payload["year"] == 2012


def test_a_column_gets_the_one_type_that_fits_all_its_values(tmp_path: Path) -> None:
    table = (
        "sku,Base Colour,inStock,sizeEU,price,added,code,story,empty,width\n"
        "a1,red,yes,38,19.90,2024-05-01,007,a dress for the long evenings of summer,NA,nan\n"
        "a2,NA,No,40,20,2024-05-02T10:00:00Z,12,,,3\n"
        'a3," dark red ",,nan,1e2,,12,it is the very best one there is,null,4\n'
    )
    path = shop(tmp_path, table, "a1.png", "a2.jpeg", "a3.webp", name="shop.csv")
    source = TableSource(path)
    assert source.fields() == {
        **{"base_colour": "keyword", "in_stock": "bool", "size_eu": "integer", "price": "float"},
        **{"added": "datetime", "code": "keyword", "story": "text", "width_": "integer"},
    }
    first, second, third = split(path)[0]
    assert first.payload == {
        **{"base_colour": "red", "in_stock": True, "size_eu": 38, "price": 19.9, "code": "007"},
        **{"added": "2024-05-01T00:00:00", "story": "a dress for the long evenings of summer"},
    }
    assert second.payload == {
        **{"in_stock": False, "size_eu": 40, "price": 20.0, "added": "2024-05-02T10:00:00+00:00"},
        **{"code": "12", "width_": 3},
    }
    assert third.payload["base_colour"] == "dark red"
    assert isinstance(second.payload["price"], float)


def test_codes_that_look_like_powers_of_ten_are_keywords(tmp_path: Path) -> None:
    path = shop(tmp_path, "image,code,size,ratio\na.jpg,E10,38,1e3\nb.jpg,e4,E40,.5\n", "a.jpg", "b.jpg", name="t.csv")
    source = TableSource(path)
    assert source.fields() == {"code": "keyword", "size": "keyword", "ratio": "float"}
    items, _ = split(path)
    assert [item.payload for item in items] == [
        {"code": "E10", "size": "38", "ratio": 1000.0},
        {"code": "e4", "size": "E40", "ratio": 0.5},
    ]


@pytest.mark.parametrize("header", ["product_id", "productId", "Product ID"])
def test_numbers_of_products_are_keywords_however_their_column_is_written(header: str, tmp_path: Path) -> None:
    path = shop(tmp_path, f"image,{header}\na.jpg,1001\n", "a.jpg", name="t.csv")
    assert TableSource(path).fields() == {"product_id": "keyword"}
    assert split(path)[0][0].payload == {"product_id": "1001"}


def test_an_image_column_may_name_files_in_every_usual_way(tmp_path: Path) -> None:
    absolute = tmp_path / "elsewhere.jpg"
    Image.new("RGB", (6, 8)).save(absolute)
    cells = ["images/a.jpg", "b.jpg", "c", "deep/d.png", str(absolute), "../shop/images/e.JPG"]
    table = "image,label\n" + "".join(f"{cell},x\n" for cell in cells)
    path = shop(tmp_path / "shop", table, "a.jpg", "b.jpg", "c.jpg", "deep/d.png", "e.JPG", name="images.csv")
    items, rejected = split(path)
    assert rejected == []
    assert [Path(item.uri).name for item in items] == ["a.jpg", "b.jpg", "c.jpg", "d.png", "elsewhere.jpg", "e.JPG"]
    assert [item.id for item in items[:4]] == ["images/a", "b", "c", "deep/d"]
    assert all(item.payload == {"label": "x"} for item in items)


def test_the_images_may_lie_beside_the_table(tmp_path: Path) -> None:
    path = shop(tmp_path, "file_name,text\na.jpg,Red dress\n", "a.jpg", name="t.csv", folder=".")
    (item,), rejected = split(path)
    assert (item.id, item.captions, item.payload, rejected) == ("a", ("Red dress",), {}, [])


def test_captions_titles_and_products_are_found_by_their_usual_names(tmp_path: Path) -> None:
    table = "id;product_name;Caption;description;product_id\n1;Red dress;A dress.;Silky, red.;77\n2;Blue dress;;;77\n"
    path = shop(tmp_path, table, "1.jpg", "2.jpg", name="t.csv")
    first, second = split(path)[0]
    assert first.captions == ("A dress.", "Silky, red.")
    assert second.captions == ("Blue dress",)
    assert first.payload == {"title": "Red dress", "product_id": "77"}
    assert TableSource(path).fields() == {"title": "text", "product_id": "keyword"}


def test_columns_can_be_named(tmp_path: Path) -> None:
    table = "nr,foto,heading,words,garment\n5,a.jpg,Red dress,It is red,g1\n"
    path = shop(tmp_path, table, "a.jpg", name="t.csv")
    columns = Columns(id="nr", image="foto", title="heading", caption="words", product="garment")
    (item,), _ = split(path, columns=columns, id_prefix="x-")
    assert (item.id, item.captions) == ("x-5", ("It is red",))
    assert item.payload == {"title": "Red dress", "product_id": "g1"}
    with pytest.raises(UsageError, match=r"--image-column 'photo': .*t.csv has only the columns nr, foto, heading"):
        TableSource(path, columns=Columns(image="photo"))


def test_a_table_without_images_names_its_columns_and_the_option(tmp_path: Path) -> None:
    path = shop(tmp_path, "colour,size\nred,5\n", "a.jpg", name="t.csv")
    with pytest.raises(SourceError, match=r"its columns are colour, size: .*--image-column"):
        TableSource(path)


def test_json_lines_keep_their_types_and_lists(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "image": "a.jpg", "captions": ["One.", "Two."], "tags": ["new", "red"], "size": {"eu": 38}},
        {"id": 2, "image": "b.jpg", "captions": "Three.", "tags": [], "price": 5, "sale": True, "size": {"eu": None}},
        {"id": 3, "image": "c.jpg", "price": float("nan"), "sale": False},
        {"id": 4, "image": "d.jpg", "price": 7.5, "score": "high"},
    ]
    path = shop(
        tmp_path, "".join(json.dumps(row) + "\n" for row in rows), *(f"{n}.jpg" for n in "abcd"), name="t.jsonl"
    )
    source = TableSource(path)
    assert source.fields() == {
        **{"tags": "keyword", "size_eu": "integer", "price": "float", "sale": "bool"},
        "score": "keyword",
    }
    items = split(path)[0]
    assert [item.captions for item in items] == [("One.", "Two."), ("Three.",), (), ()]
    assert items[0].payload == {"tags": ["new", "red"], "size_eu": 38}
    assert items[1].payload == {"price": 5.0, "sale": True}
    assert items[2].payload == {"sale": False}


def test_parquet_gives_what_the_same_rows_give_as_json_lines(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"id": 1, "image": "a.jpg", "caption": "Red.", "price": 5.0, "tags": ["x", "y"], "size": {"eu": 38}},
        {"id": 2, "image": "b.jpg", "caption": None, "price": None, "tags": None, "size": {"eu": 40}},
    ]
    lines = shop(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "a.jpg", "b.jpg", name="t.jsonl")
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    assert split(tmp_path / "t.parquet") == split(lines)
    assert TableSource(tmp_path / "t.parquet").fields() == TableSource(lines).fields()

    fine = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    parquet.write_table(pa.table({"image": ["a.jpg"], "shot": fine}), tmp_path / "fine.parquet")
    ((item,), _) = split(tmp_path / "fine.parquet")
    assert str(item.payload["shot"]).startswith("2023-11-14T22:13:20.123456"), "nanoseconds are cut"
    parquet.write_table(pa.table({"image": [{"bytes": b"x", "path": "a"}]}), tmp_path / "inside.parquet")
    with pytest.raises(SourceError, match=r"column 'image' of .* holds the photographs themselves"):
        TableSource(tmp_path / "inside.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(SourceError, match=r"no\.parquet is no readable Parquet file"):
        TableSource(tmp_path / "no.parquet")
    decimals = pa.table({"id": [1], "price": [Decimal("9.50")]})
    parquet.write_table(decimals, tmp_path / "d.parquet")
    assert TableSource(tmp_path / "d.parquet").fields()["price"] == "float"


def test_parquet_keeps_binary_texts_and_times_that_python_has_not(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    shop(tmp_path, "", "a.jpg", "b.jpg")
    cells = {
        "image": pa.array([b"a.jpg"]),
        "title": pa.array([b"a red dress"], pa.large_binary()),
        "until": pa.array([10_000_000], pa.date32()),
        "at": pa.array([1_234_567_891], pa.time64("ns")),
        "lasts": pa.array([1_234_567_891], pa.duration("ns")),
        "worn": pa.array([[1_700_000_000_123_456_789]], pa.list_(pa.timestamp("ns"))),
        "shot": pa.array(
            [{"by": b"me", "when": 1_700_000_000_000_000_000}],
            pa.struct([("by", pa.binary()), ("when", pa.timestamp("ns"))]),
        ),
    }
    parquet.write_table(pa.table(cells), tmp_path / "t.parquet")
    ((item,), _) = split(tmp_path / "t.parquet")
    assert item.payload == {
        "title": "a red dress",
        "until": "29349-01-26",
        "at": "00:00:01.234567",
        "lasts": "0:00:01.234567",
        "worn": ["2023-11-14T22:13:20.123456"],
        "shot_by": "me",
        "shot_when": "2023-11-14T22:13:20",
    }
    times = pa.array([0, 3 * 10**11], pa.timestamp("s"))
    parquet.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "at": times}), tmp_path / "far.parquet")
    items, _ = split(tmp_path / "far.parquet")
    assert [item.payload["at"] for item in items] == ["1970-01-01T00:00:00", "11476-08-15 05:20:00.000"]
    never = pa.array([10**15], pa.timestamp("s"))
    parquet.write_table(pa.table({"image": ["a.jpg"], "at": never}), tmp_path / "never.parquet")
    with pytest.raises(SourceError, match=r"column 'at' of .* has a time that no calendar has"):
        TableSource(tmp_path / "never.parquet")
    parquet.write_table(pa.table({"image": ["a.jpg"], "jpg": [b"\xff\xd8"]}), tmp_path / "bytes.parquet")
    with pytest.raises(SourceError, match=r"column 'jpg' of .* holds bytes that are no text"):
        TableSource(tmp_path / "bytes.parquet")
    parquet.write_table(pa.table([["a.jpg"], ["b"], ["c"]], ["image", "tag", "tag"]), tmp_path / "twice.parquet")
    with pytest.raises(SourceError, match="names a column twice: 'tag'"):
        TableSource(tmp_path / "twice.parquet")


def test_long_whole_numbers_stay_apart(tmp_path: Path) -> None:
    longs, longer = [2**63 - 1, 2**63 - 2], [2**63, 2**63 + 1]
    rows = [{"image": f"{n}.jpg", "ref": longs[n], "code": longer[n], "part": [0.5, 2**60][n]} for n in range(2)]
    path = shop(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "0.jpg", "1.jpg", name="t.jsonl")
    items, _ = split(path)
    assert TableSource(path).fields() == {"ref": "integer", "code": "keyword", "part": "keyword"}
    assert [item.payload["ref"] for item in items] == longs
    assert [item.payload["code"] for item in items] == [str(each) for each in longer]


def test_nested_keys_that_collide_are_both_kept_and_half_characters_become_question_marks(tmp_path: Path) -> None:
    line = r'{"image": "a.jpg", "a": {"b": 1}, "a_b": 2, "caption": "cut \ud83d"}'
    (item,), _ = split(shop(tmp_path, line, "a.jpg", name="t.jsonl"))
    assert (item.payload, item.captions) == ({"a_b": 2, "a_b_2": 1}, ("cut ?",))


def test_every_row_and_every_file_is_accounted_for(tmp_path: Path) -> None:
    table = "id,title\n1,One\n2,Two\n1,One again\n,No id\n3,Three,surplus\n\n4\n"
    path = shop(tmp_path, table, "1.jpg", "1.png", "4.jpg", "9.jpg", "sub/8.jpg", name="t.csv")
    (tmp_path / "images/notes.txt").write_text("notes")
    (tmp_path / "images/.hidden.jpg").write_text("hidden")
    items, rejected = split(path)
    assert [item.id for item in items] == ["1", "4"]
    assert items[1].payload == {}
    assert [(Path(entry.uri).name, entry.state, entry.reason) for entry in rejected] == [
        ("t.csv:3", "quarantined", "no such image: images/2.*"),
        ("t.csv:4", "quarantined", "id '1' stands on line 2 already"),
        ("t.csv:5", "quarantined", "no image is named"),
        ("t.csv:6", "quarantined", "3 cells in a table of 2 columns: quote what holds a comma"),
        (".hidden.jpg", "excluded", "hidden"),
        ("1.png", "excluded", "no row in t.csv names it"),
        ("9.jpg", "excluded", "no row in t.csv names it"),
        ("notes.txt", "excluded", "not a photograph (.txt)"),
        ("8.jpg", "excluded", "no row in t.csv names it"),
    ]


def test_missing_images_and_addresses_are_quarantined_with_their_name(tmp_path: Path) -> None:
    table = "id,image\n1,gone.jpg\n2,https://shop.example/a.jpg\n3,\n4,a.jpg\n"
    items, rejected = split(shop(tmp_path, table, "a.jpg", name="t.csv"))
    assert [item.id for item in items] == ["4"]
    assert [entry.reason for entry in rejected] == [
        "no such image: gone.jpg",
        "https://shop.example/a.jpg is an address, not a file: download the photographs first",
        "no image is named",
    ]


def test_a_name_that_no_file_can_have_is_quarantined(tmp_path: Path) -> None:
    lines = '{"id": "1", "image": "a\\u0000b/c.jpg"}\n{"id": "2", "image": "a.jpg"}\n'
    items, rejected = split(shop(tmp_path, lines, "a.jpg", name="t.jsonl"))
    assert [item.id for item in items] == ["2"]
    assert [entry.state for entry in rejected] == ["quarantined"]


def test_a_line_that_is_no_json_is_quarantined_and_the_rest_is_read(tmp_path: Path) -> None:
    items, rejected = split(shop(tmp_path, '{"id": 1}\n{"id": 2\n[3]\n{"id": 4}\n', "1.jpg", "4.jpg", name="t.jsonl"))
    assert [item.id for item in items] == ["1", "4"]
    assert [entry.uri.rpartition(":")[2] for entry in rejected] == ["2", "3"]
    assert rejected[0].reason.startswith("no valid JSON")


def test_a_quotation_mark_that_is_not_closed_costs_its_own_line_and_no_other(tmp_path: Path) -> None:
    rows = ["1.jpg,a red one", '2.jpg,"an open one', "3.jpg,a blue one", '4.jpg,"one, quoted"', '5.jpg,"one\nof two"']
    path = shop(tmp_path, "\n".join(["image,title", *rows]) + "\n", *(f"{n}.jpg" for n in range(1, 6)), name="t.csv")
    found, rejected = split(path)
    assert [item.payload["title"] for item in found] == ["a red one", "a blue one", "one, quoted", "one\nof two"]
    assert [entry.uri.rpartition(":")[2] for entry in rejected if entry.state == "quarantined"] == ["3"]
    path.write_text('image,title\n1.jpg,"an open one\n' + "\n" * 1000 + "2.jpg,a blue one\n")
    assert [item.payload["title"] for item in split(path)[0]] == ["a blue one"]
    path.write_text('image,title,x\n1.jpg,"one\nof two" ,x\n')
    assert [item.payload["title"] for item in split(path)[0]] == ["one\nof two"], "a blank behind a mark is no flaw"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: its first line must name the columns"),
        (b"id,title\n", "has no rows"),
        (b"id,id\n1,2\n", "names a column twice: 'id'"),
        (b"id,title\n1,\xff\xfe\n", "cannot be read as UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = shop(tmp_path, "", "1.jpg", name="t.csv")
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        TableSource(path)


@pytest.mark.skipif(sys.platform != "linux", reason="others take no such name")
def test_a_table_whose_name_is_no_unicode_is_described_in_words_that_can_be_printed(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    table = tmp_path / os.fsdecode(b"caf\xe9.csv")
    table.write_text("id,image\n1,a.png\n")
    assert TableSource(table).description == "product table (caf\\udce9.csv): 1 row"


def test_tabs_a_byte_order_mark_and_colliding_headers_are_fine(tmp_path: Path) -> None:
    table = "\ufeffid\tBase Colour\tbase_colour\turi\t价\n1\tred\tblue\tu\t5\n"
    (item,), _ = split(shop(tmp_path, table, "1.jpg", name="t.tsv"))
    assert item.payload == {"base_colour": "red", "base_colour_2": "blue", "uri_": "u", "column_30f31cb7": 5}


def test_a_header_without_latin_letters_or_with_too_many_has_one_name_in_every_source(tmp_path: Path) -> None:
    long = "Please describe the garment that is shown, and all that you know of how it was made and worn and mended"
    one = shop(tmp_path / "one", f"id,颜色,价格,{long}\n1,红,10,wool\n", "1.jpg", name="t.csv")
    two = shop(tmp_path / "two", f"id,品牌,颜色,{long}\n1,Nike,蓝,silk\n", "1.jpg", name="t.csv")
    (first,), _ = split(one)
    (second,), _ = split(two)
    names = {value: name for item in (first, second) for name, value in item.payload.items()}
    assert names["红"] == names["蓝"] != names["Nike"]
    assert names["wool"] == names["silk"]
    assert len(names["wool"]) <= 100
    assert f"'颜色' is {names['红']}" in TableSource(one).description


def test_objects_and_lists_within_lists_are_kept_as_json(tmp_path: Path) -> None:
    lines = '{"id": "1", "image": "a.jpg", "parts": [{"name": "sleeve"}, ["k", "v"], "collar"]}\n'
    (item,), _ = split(shop(tmp_path, lines, "a.jpg", name="t.jsonl"))
    assert item.payload["parts"] == ['{"name": "sleeve"}', '["k", "v"]', "collar"]


def test_the_order_and_the_items_are_the_same_every_time(tmp_path: Path) -> None:
    table = "id,title\n" + "".join(f"{n},Title {n}\n" for n in (5, 3, 9, 1))
    source = TableSource(shop(tmp_path, table, *(f"{n}.jpg" for n in range(10)), name="t.csv"))
    once = list(source.items())
    assert once == list(source.items())
    assert [entry.id for entry in once if isinstance(entry, Item)] == ["5", "3", "9", "1"]


def test_a_table_too_large_to_be_kept_gives_the_same_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{n},{n % 3},{'NA' if n % 2 else 'red'},Title {n}\n" for n in range(20))
    path = shop(tmp_path, "id,size,colour,title\n" + rows, *(f"{n}.jpg" for n in range(19)), name="t.csv")
    small = TableSource(path)
    monkeypatch.setattr("ingest.sources.rows._SMALL_BYTES", 0)
    monkeypatch.setattr("ingest.sources.table._BLOCK_ROWS", 7)
    large = TableSource(path)
    assert large.fields() == small.fields() == {"size": "integer", "colour": "keyword", "title": "text"}
    assert list(large.items()) == list(small.items())
    assert large.description == small.description


def test_read_gives_the_file_and_says_when_it_is_gone(tmp_path: Path) -> None:
    path = shop(tmp_path, "id\n1\n", "1.jpg", name="t.csv")
    source = TableSource(path)
    (item,), _ = split(path)
    assert len(source.read(item)) == item.size_bytes == (tmp_path / "images/1.jpg").stat().st_size
    (tmp_path / "images/1.jpg").unlink()
    with pytest.raises(ImageError, match="unreadable: no such file"):
        source.read(item)
