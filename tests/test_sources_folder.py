from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import ImageError, SourceError
from engine.records import Item, Rejected
from ingest.sources.folder import FolderSource


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 8), "white").save(path, "PNG")
    return path


def split(root: Path) -> tuple[list[Item], list[Rejected]]:
    entries = list(FolderSource(root).items())
    return [e for e in entries if isinstance(e, Item)], [e for e in entries if isinstance(e, Rejected)]


def reasons(root: Path) -> dict[str, tuple[str, str]]:
    found = {entry.uri.removeprefix(f"{root}/"): (entry.state, entry.reason) for entry in split(root)[1]}
    assert len(found) == len(split(root)[1])
    return found


def test_photographs_come_sorted_with_their_paths_as_ids(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "women/dress/1.webp", "women/2.jpeg", "zebra.tif"):
        photo(tmp_path / name)
    items, rejected = split(tmp_path)
    assert rejected == []
    assert [item.id for item in items] == ["a", "b", "zebra", "women/2", "women/dress/1"]
    stat = (tmp_path / "women/2.jpeg").stat()
    assert (items[3].uri, items[3].payload, items[3].captions) == (str(tmp_path / "women/2.jpeg"), {}, ())
    assert (items[3].size_bytes, items[3].mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert FolderSource(tmp_path).description == "folder: 5 photographs"
    assert next(iter(FolderSource(tmp_path, id_prefix="mine/").items())).id == "mine/a"  # type: ignore[union-attr]


def test_photographs_that_differ_only_in_their_suffix_keep_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg", "c.jpg.png", "c.jpg", "d/a.jpg"):
        photo(tmp_path / name)
    assert [item.id for item in split(tmp_path)[0]] == ["a.jpg", "a.png", "b", "c", "c.jpg.png", "d/a"]


def test_captions_and_metadata_lie_beside_the_photograph(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(tmp_path / name)
    (tmp_path / "a.txt").write_text("\ufeffRed dress.\n\n  Long sleeves.  \n", encoding="utf-8")
    (tmp_path / "a.json").write_text(
        '{"baseColour": "red", "price": 5, "size": {"eu": "38"}, "tags": ["x"], "uri": "u"}'
    )
    (tmp_path / "b.json").write_text('{"price": 7.5, "title": "Blue dress", "size": {"eu": null}, "none": null}')
    (tmp_path / "c.json").write_text('{"caption": ["One.", "Two."], "title": "Three", "price": "NaN"}')
    items, rejected = split(tmp_path)
    assert rejected == []
    assert [item.captions for item in items] == [("Red dress.", "Long sleeves."), ("Blue dress",), ("One.", "Two.")]
    assert items[0].payload == {"base_colour": "red", "price": 5.0, "size_eu": 38, "tags": ["x"], "uri_": "u"}
    assert items[1].payload == {"price": 7.5, "title": "Blue dress"}
    assert items[2].payload == {"title": "Three"}
    assert FolderSource(tmp_path).fields() == {
        **{"base_colour": "keyword", "price": "float", "size_eu": "integer", "tags": "keyword", "title": "text"},
        "uri_": "keyword",
    }


def test_titles_are_text_and_products_keywords_whatever_they_look_like(tmp_path: Path) -> None:
    for name, metadata in (("a", '{"Title": "Red", "productId": 123}'), ("b", '{"Title": ["Blue", "Wool"]}')):
        photo(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.json").write_text(metadata)
    assert FolderSource(tmp_path).fields() == {"title": "text", "product_id": "keyword"}
    items, _ = split(tmp_path)
    assert [item.payload for item in items] == [{"title": "Red", "product_id": "123"}, {"title": "Blue, Wool"}]


def test_a_sidecar_that_cannot_be_read_is_quarantined_and_its_photograph_kept(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(tmp_path / name)
    (tmp_path / "a.json").write_text("{broken")
    (tmp_path / "b.json").write_text("[1]")
    (tmp_path / "c.txt").write_bytes(b"caf\xe9")
    assert [item.id for item in split(tmp_path)[0]] == ["a", "b", "c"]
    found = reasons(tmp_path)
    assert found["a.json"][1].startswith("metadata that is no valid JSON")
    assert found["b.json"] == ("quarantined", "metadata that is no JSON object")
    assert found["c.txt"] == ("quarantined", "captions that are no UTF-8 text")


def test_keys_of_sidecars_that_differ_in_case_only_are_one_field(tmp_path: Path) -> None:
    for name, key in (("a", "price"), ("b", "Price")):
        photo(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.json").write_text(f'{{"{key}": 10.5}}')
    assert [item.payload.get("price") for item in split(tmp_path)[0]] == [10.5, 10.5]


def test_every_other_file_is_excluded_with_its_reason(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    photo(tmp_path / ".hidden.jpg")
    photo(tmp_path / ".cache/thumb.jpg")
    for name in ("README", "notes.txt", "b.json", "film.mp4"):
        (tmp_path / name).write_text("x")
    assert reasons(tmp_path) == {
        ".hidden.jpg": ("excluded", "hidden"),
        ".cache": ("excluded", "hidden"),
        "README": ("excluded", "not a photograph (no suffix)"),
        "notes.txt": ("excluded", "not a photograph (.txt)"),
        "b.json": ("excluded", "not a photograph (.json)"),
        "film.mp4": ("excluded", "not a photograph (.mp4)"),
    }


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are made otherwise there")
def test_links_end_and_special_files_are_not_opened(tmp_path: Path) -> None:
    photo(tmp_path / "a/b/1.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "alias.jpg").symlink_to(tmp_path / "a/b/1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [item.id for item in split(tmp_path)[0]] == ["alias", "a/b/1"]
    assert reasons(tmp_path) == {
        "gone.jpg": ("quarantined", "a link that leads nowhere"),
        "pipe.jpg": ("excluded", "no regular file"),
        "a/b/up": ("excluded", "the same folder again, through a link"),
        "again": ("excluded", "the same folder again, through a link"),
    }


def test_names_of_any_script_are_fine_and_undecodable_ones_are_quarantined(tmp_path: Path) -> None:
    photo(tmp_path / "Kleid für Mädchen/日本 👗.jpg")
    try:
        (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
        (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert [item.id for item in split(tmp_path)[0]] == ["Kleid für Mädchen/日本 👗"]
    reason = ("quarantined", "its name is no valid UTF-8: rename it")
    assert reasons(tmp_path) == {"caf\\udce9": reason, "\\udcff.jpg": reason}
    for entry in split(tmp_path)[1]:
        entry.uri.encode("utf-8")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whom nothing is forbidden to")
def test_an_unreadable_folder_is_quarantined_and_the_rest_is_read(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        assert [item.id for item in split(tmp_path)[0]] == ["a"]
        assert reasons(tmp_path) == {"locked": ("quarantined", "unreadable folder: permission denied")}
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_a_deep_tree_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 600)
    deep.mkdir(parents=True)
    photo(deep / "a.jpg")
    assert [item.id for item in split(tmp_path)[0]] == ["d/" * 600 + "a"]


def test_the_order_is_the_same_every_time(tmp_path: Path) -> None:
    for n in (5, 3, 11, 1):
        photo(tmp_path / f"{n % 2}/{n}.jpg")
    source = FolderSource(tmp_path)
    assert list(source.items()) == list(source.items())


def test_read_gives_the_file_and_says_when_it_is_gone(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    source = FolderSource(tmp_path)
    (item,) = split(tmp_path)[0]
    assert source.read(item) == path.read_bytes()
    path.unlink()
    with pytest.raises(ImageError, match="unreadable: no such file"):
        source.read(item)


def test_a_folder_without_photographs_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match=r"holds no photographs: name a folder with \.jpg"):
        FolderSource(tmp_path)
