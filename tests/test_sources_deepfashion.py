from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import SourceError
from engine.records import Item, Rejected
from ingest.sources.deepfashion import DeepFashionSource
from ingest.sources.detect import open_source
from ingest.sources.kinds import RESERVED

SIDE = "WOMEN-Tees_Tanks-id_00000813-09_2_side.jpg"
MAN = "MEN-Denim-id_00000080-01_7_additional.jpg"
FRONT = "WOMEN-Dresses-id_00000021-02_1_front.jpg"
NAMES = (MAN, FRONT, SIDE)

COMMA_LINE = 3 if sys.version_info < (3, 13) else 2
"""Where Python's json sees a comma too many: at what follows it, or at the comma."""


def data_set(root: Path, *, images: str = "images", labels: str = "labels", neckline_gap: bool = False) -> Path:
    (root / images).mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        Image.new("RGB", (7, 11), "white").save(root / images / name)
    (root / "captions.json").write_text(json.dumps({SIDE: "Her shirt has long sleeves.", MAN: "He wears denim."}))
    shape, texture = root / labels / "shape", root / labels / "texture"
    shape.mkdir(parents=True)
    texture.mkdir(parents=True)
    lapel, nothing = (5, 7) if neckline_gap else (4, 6)
    extra = "" if neckline_gap else f"{FRONT} 0 0 0 1 1 1 0 0 0 3 0 1\n"
    (shape / "shape_anno_all.txt").write_text(
        f"{SIDE} 3 4 2 1 2 0 1 2 1 {lapel} 1 0\n{MAN} 5 4 3 2 4 2 2 2 4 {nothing} 2 2\n{extra}"
    )
    (texture / "fabric_ann.txt").write_text(f"{SIDE} 0 7 1\n{MAN} 7 7 7\n")
    (texture / "pattern_ann.txt").write_text(f"{SIDE} 0 6 3\n")
    return root


def split(root: Path) -> tuple[list[Item], list[Rejected]]:
    entries = list(DeepFashionSource(root).items())
    return [e for e in entries if isinstance(e, Item)], [e for e in entries if isinstance(e, Rejected)]


def test_names_captions_and_labels_become_readable_values(tmp_path: Path) -> None:
    items, rejected = split(data_set(tmp_path))
    assert rejected == []
    assert [item.uri for item in items] == [str(tmp_path / "images" / name) for name in NAMES]
    side = items[2]
    assert side.id == SIDE.removesuffix(".jpg")
    assert side.captions == ("Her shirt has long sleeves.",)
    assert side.payload == {
        **{"gender": "women", "category": "tees tanks", "product_id": "WOMEN-Tees_Tanks-id_00000813"},
        **{"variant": "09", "view": "side", "sleeve_length": "long", "socks": "leggings", "hat": True},
        **{"glasses": "sunglasses", "neckwear": False, "wrist_wearing": True, "waist": "belt", "neckline": "lapel"},
        **{"cardigan": False, "navel_covered": False, "upper_fabric": "denim", "outer_fabric": "cotton"},
        **{"upper_pattern": "floral", "lower_pattern": "color block", "outer_pattern": "pure color"},
    }
    stat = (tmp_path / "images" / SIDE).stat()
    assert (side.size_bytes, side.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def test_what_is_not_visible_is_absent_and_never_false(tmp_path: Path) -> None:
    man = split(data_set(tmp_path))[0][0]
    assert man.payload.keys() == {"gender", "category", "product_id", "variant", "view"}


def test_both_numberings_of_the_neckline_are_told_apart_by_the_whole_file(tmp_path: Path) -> None:
    readme = split(data_set(tmp_path / "readme"))[0]
    page = split(data_set(tmp_path / "page", neckline_gap=True))[0]
    assert readme[2].payload["neckline"] == page[2].payload["neckline"] == "lapel"
    assert readme[1].payload["neckline"] == "standing"
    path = tmp_path / "readme/labels/shape/shape_anno_all.txt"
    path.write_text(path.read_text() + f"{SIDE} 3 4 2 1 2 0 1 2 1 7 1 0\n")
    with pytest.raises(SourceError, match=r"shape_anno_all.txt numbers the neckline in two ways"):
        DeepFashionSource(tmp_path / "readme")


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("images", "."), (".", "."), (".", "labels")])
def test_every_layout_of_the_download_gives_the_same_items(tmp_path: Path, images: str, labels: str) -> None:
    usual = split(data_set(tmp_path / "usual"))[0]
    items, rejected = split(data_set(tmp_path / "other", images=images, labels=labels))
    assert [(i.id, i.payload, i.captions) for i in items] == [(i.id, i.payload, i.captions) for i in usual]
    assert all(entry.reason == "a folder, where only files are looked at" for entry in rejected)


def test_label_files_in_the_root_itself_are_found(tmp_path: Path) -> None:
    data_set(tmp_path)
    for path in list(tmp_path.glob("labels/*/*.txt")):
        path.rename(tmp_path / path.name)
    assert split(tmp_path)[0][2].payload["upper_fabric"] == "denim"


def test_fields_are_exactly_what_can_occur(tmp_path: Path) -> None:
    source = DeepFashionSource(data_set(tmp_path))
    fields = source.fields()
    occurring = {name for item in source.items() if isinstance(item, Item) for name in item.payload}
    assert occurring == fields.keys()
    assert not RESERVED & fields.keys()
    assert (fields["hat"], fields["sleeve_length"]) == ("bool", "keyword")


def test_every_file_but_the_photographs_may_be_missing(tmp_path: Path) -> None:
    data_set(tmp_path)
    for path in [*tmp_path.glob("labels/*/*.txt"), tmp_path / "captions.json"]:
        path.unlink()
    source = open_source(tmp_path)
    assert source.kind == "deepfashion"
    assert source.fields().keys() == {"gender", "category", "product_id", "variant", "view"}
    assert source.description == "DeepFashion-MultiModal: 3 photographs"


def test_a_photograph_that_captions_or_labels_name_but_is_not_there_is_quarantined_once(tmp_path: Path) -> None:
    (data_set(tmp_path) / "images" / SIDE).unlink()
    items, rejected = split(tmp_path)
    assert len(items) == 2
    files = "captions.json, shape_anno_all.txt, fabric_ann.txt, pattern_ann.txt"
    assert [(entry.state, entry.reason) for entry in rejected] == [
        ("quarantined", f"named in {files}, but there is no such image")
    ]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "captions.json",
            '{\n"a.jpg": "text",\n}',
            rf"captions.json:{COMMA_LINE} is no valid JSON",
        ),
        ("captions.json", '["a"]', r"captions.json:1 is no JSON object"),
        ("captions.json", '{"a.jpg": 5}', r"captions.json: the caption of 'a.jpg' is no text"),
        ("labels/shape/shape_anno_all.txt", f"{SIDE} 1 2 3\n", r"shape_anno_all.txt:1 must hold an image name and 12"),
        ("labels/texture/fabric_ann.txt", f"\n{SIDE} 1 x 3\n", r"fabric_ann.txt:2 must hold an image name and 3"),
        ("labels/texture/pattern_ann.txt", f"{SIDE} 1 8 3\n", r"pattern_ann.txt:1 has 8 for lower_pattern"),
    ],
)
def test_a_malformed_line_is_named_with_its_file(tmp_path: Path, file: str, text: str, message: str) -> None:
    (data_set(tmp_path) / file).write_text(text)
    with pytest.raises(SourceError, match=message):
        DeepFashionSource(tmp_path)


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    source = DeepFashionSource(data_set(tmp_path), id_prefix="df/")
    item = next(entry for entry in source.items() if isinstance(entry, Item))
    assert item.id == "df/" + MAN.removesuffix(".jpg")
    assert source.read(item) == (tmp_path / "images" / MAN).read_bytes()
