from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import SourceError, UsageError
from engine.records import Item
from ingest.sources.detect import KINDS, check_columns, open_source
from ingest.sources.table import Columns

KAGGLE = "id,gender,masterCategory,subCategory,articleType,baseColour,season,usage,productDisplayName\n"
DEEPFASHION = "WOMEN-Tees_Tanks-id_00000813-09_2_side.jpg"


def photos(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (6, 8), "white").save(folder / name, "JPEG")
    return folder


def archive(path: Path) -> Path:
    stream = io.BytesIO()
    Image.new("L", (6, 8)).save(stream, "PNG")
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = len(stream.getvalue())
        tar.addfile(info, io.BytesIO(stream.getvalue()))
    return path


def test_a_folder_with_kaggles_table_is_a_table(tmp_path: Path) -> None:
    photos(tmp_path / "images", "1.jpg")
    (tmp_path / "styles.csv").write_text(KAGGLE + "1,Men,Apparel,Topwear,Shirts,Blue,Fall,Casual,Shirt\n")
    (tmp_path / "images.csv").write_text("filename,link\n1.jpg,http://x\n")
    for path in (tmp_path, tmp_path / "styles.csv"):
        source = open_source(path)
        assert (source.kind, source.description) == ("table", "product table (Kaggle styles.csv): 1 row")


def test_one_table_beside_an_images_folder_is_a_table(tmp_path: Path) -> None:
    photos(tmp_path / "images", "1.jpg")
    (tmp_path / "shop.csv").write_text("id\n1\n")
    assert open_source(tmp_path).kind == "table"
    (tmp_path / "stock.csv").write_text("id\n1\n")
    assert open_source(tmp_path).kind == "folder"
    with pytest.raises(SourceError, match=r"holds 2 tables \(shop\.csv, stock\.csv\): name the one that is meant"):
        open_source(tmp_path, "table")


def test_named_columns_mean_a_table(tmp_path: Path) -> None:
    photos(tmp_path, "1.jpg")
    (tmp_path / "shop.csv").write_text("foto\n1.jpg\n")
    assert open_source(tmp_path).kind == "folder"
    table = open_source(tmp_path, columns=Columns(image="foto"))
    assert table.kind == "table"
    photos(tmp_path / "folder", "2.jpg")
    folder = open_source(tmp_path / "folder")
    check_columns([folder, table], Columns(image="foto"))
    with pytest.raises(UsageError, match="is no table: leave them out"):
        check_columns([folder], Columns(image="foto"))


def test_deepfashion_is_known_by_its_names_its_captions_or_its_labels(tmp_path: Path) -> None:
    photos(tmp_path / "names/images", DEEPFASHION)
    photos(tmp_path / "captions/images", "a.jpg")
    (tmp_path / "captions/captions.json").write_text('{"a.jpg": "A dress."}')
    photos(tmp_path / "labels", "a.jpg")
    (tmp_path / "labels/fabric_ann.txt").write_text("a.jpg 0 0 0\n")
    photos(tmp_path / "few", DEEPFASHION, "a.jpg")
    kinds = {name: open_source(tmp_path / name).kind for name in ("names", "captions", "labels", "few")}
    assert kinds == {"names": "deepfashion", "captions": "deepfashion", "labels": "deepfashion", "few": "folder"}


def test_tars_and_folders_of_tars_are_tars(tmp_path: Path) -> None:
    path = archive(tmp_path / "s-0.tar")
    assert open_source(path).kind == "tar"
    assert open_source(tmp_path).kind == "tar"
    photos(tmp_path, "a.jpg")
    assert open_source(tmp_path).kind == "folder"


def test_the_kind_can_be_given(tmp_path: Path) -> None:
    photos(tmp_path, DEEPFASHION)
    assert open_source(tmp_path, "folder").kind == "folder"
    (item,) = open_source(tmp_path, "folder", id_prefix="x/").items()
    assert isinstance(item, Item)
    assert item.id == "x/" + DEEPFASHION.removesuffix(".jpg")
    with pytest.raises(UsageError, match=f"unknown kind of source 'csv': choose one of {', '.join(KINDS)}"):
        open_source(tmp_path, "csv")
    with pytest.raises(SourceError, match="holds no table"):
        open_source(tmp_path, "table")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_ingest_is_one_clear_line_with_the_next_step(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SourceError, match=r"^no such file or folder: .*nowhere$"):
        open_source(tmp_path / "nowhere", kind)
    with pytest.raises(SourceError, match=r"^.* is empty: put photographs \(\.jpg, \.jpeg, \.png \.\.\.\) into it$"):
        open_source(tmp_path, kind)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match=r"^[^\n]*holds no (photographs|table)[^\n]*: [^\n]+$"):
        open_source(tmp_path, kind)


def test_a_file_that_is_neither_table_nor_tar_is_named(tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(SourceError, match=r"a\.jpg is one photograph: name its folder"):
        open_source(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=r"a\.pdf is neither a table nor a tar archive"):
        open_source(tmp_path / "a.pdf")
    with pytest.raises(SourceError, match=r"a\.jpg is one file, and 'folder' needs a folder"):
        open_source(tmp_path / "a.jpg", "folder")
