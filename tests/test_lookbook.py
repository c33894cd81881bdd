from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import UsageError
from ingest.lookbook.draw import ANNOTATIONS, SIZE, draw_lookbook, looks
from ingest.lookbook.labels import seen
from ingest.lookbook.wardrobe import COLOURS, LENGTHS, SLEEVES

NAME = re.compile(r"(WOMEN|MEN)-[A-Za-z_]+-id_\d{8}-\d{2}_([12347])_(front|side|back|full|additional)\.jpg")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def captions_of(folder: Path) -> dict[str, str]:
    captions: dict[str, str] = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    return captions


def rows_of(folder: Path, annotation: str) -> dict[str, list[int]]:
    lines = (folder / annotation).read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: [int(word) for word in line.split()[1:]] for line in lines}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lookbook")
    draw_lookbook(folder, count=24, seed=7)
    return folder


def test_the_same_seed_draws_the_same_bytes_whatever_the_hash_seed(drawn: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from ingest.lookbook.draw import draw_lookbook; "
    code += "draw_lookbook(Path(sys.argv[1]), 24, 7)"
    root = Path(__file__).resolve().parents[1]
    again = tmp_path / "again"
    environment = {"PYTHONHASHSEED": "4321", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, env=environment, cwd=tmp_path)
    assert digests(again) == digests(drawn)


def test_a_smaller_look_book_is_the_beginning_of_a_larger_one(drawn: Path, tmp_path: Path) -> None:
    draw_lookbook(tmp_path, count=10, seed=7)
    few, many = digests(tmp_path), digests(drawn)
    images = [name for name in few if name.startswith("images/")]
    assert len(images) == 10
    assert all(few[name] == many[name] for name in images)
    assert captions_of(tmp_path).items() <= captions_of(drawn).items()
    for annotation in ANNOTATIONS:
        larger = (drawn / annotation).read_text(encoding="utf-8")
        assert larger.startswith((tmp_path / annotation).read_text(encoding="utf-8"))


def test_another_seed_draws_other_pictures(drawn: Path, tmp_path: Path) -> None:
    draw_lookbook(tmp_path, count=6, seed=8)
    assert not set(digests(tmp_path).values()) & set(digests(drawn).values())


def test_every_image_has_a_name_a_caption_and_labels_in_range(drawn: Path) -> None:
    images = {path.name for path in (drawn / "images").iterdir()}
    shape, fabric, pattern = (rows_of(drawn, annotation) for annotation in ANNOTATIONS)
    assert len(images) == 24
    assert images == set(captions_of(drawn)) == set(shape) == set(fabric) == set(pattern)
    assert all(NAME.fullmatch(name) for name in images)
    highest = (5, 4, 3, 2, 4, 2, 2, 2, 4, 6, 2, 2)
    for row in shape.values():
        assert len(row) == 12
        assert all(0 <= value <= top for value, top in zip(row, highest, strict=True))
    assert all(
        len(row) == 3 and all(0 <= value <= 7 for value in row) for row in [*fabric.values(), *pattern.values()]
    )


def test_every_image_is_a_small_upright_jpeg_without_metadata(drawn: Path) -> None:
    for path in (drawn / "images").iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", SIZE)
            assert "exif" not in image.info


def test_views_of_one_product_share_id_and_category_and_their_names_are_unique() -> None:
    some = list(islice(looks(3), 400))
    assert len({look.name for look in some}) == 400
    by_product: dict[str, set[tuple[str, str]]] = {}
    for look in some:
        by_product.setdefault(look.product, set()).add((look.department, look.category))
    assert all(len(kinds) == 1 for kinds in by_product.values())
    assert len(by_product) < 200


def test_captions_say_what_the_labels_say(drawn: Path) -> None:
    words = {
        0: ("floral",),
        1: ("graphic",),
        2: ("stripe",),
        3: ("pure color", "solid color"),
        4: ("lattice", "plaid"),
    }
    words |= {5: ("mixed", "complicated", "other"), 6: ("color block",)}
    fabrics = ("denim", "cotton", "leather", "furry", "knitting", "chiffon", "other")
    necks = (("v-shape",), ("square",), ("round", "crew"), ("stand",), ("lapel",), ("suspenders",))
    shape, fabric, pattern = (rows_of(drawn, annotation) for annotation in ANNOTATIONS)
    for name, caption in captions_of(drawn).items():
        for value in fabric[name]:
            assert value == 7 or fabrics[value] in caption
        for value in pattern[name]:
            assert value == 7 or any(word in caption for word in words[value])
        neckline = shape[name][9]
        assert ("neckline" in caption) == (neckline != 6)
        assert neckline == 6 or any(word in caption for word in necks[neckline])
        assert ("ring on" in caption or " a ring." in caption) == (shape[name][7] == 1)
        assert ("hat" in re.findall(r"[a-z]+", caption)) == (shape[name][3] == 1)
        assert ("glasses" in caption) == (shape[name][4] in (1, 2))
        assert ("belt" in caption) == (shape[name][8] == 1)


def test_captions_name_the_colour_of_every_garment_that_is_seen(drawn: Path) -> None:
    captions = captions_of(drawn)
    for look in islice(looks(7), 24):
        view = seen(look)
        for piece in (view.upper, view.lower, view.outer):
            assert piece is None or (piece.cloth.colour in COLOURS and piece.cloth.colour in captions[look.name])


def test_what_is_out_of_sight_is_labelled_not_visible() -> None:
    for look in islice(looks(5), 300):
        view = seen(look)
        if look.shot.turn == "back":
            assert view.neckline == "" and view.glasses is None and view.navel_covered is None
        if look.shot.frame in ("upper", "torso"):
            assert view.lower is None and view.length == "" and view.socks is None
        if look.shot.frame == "torso":
            assert view.hat is None


def test_many_different_outfits_are_drawn() -> None:
    some = list(islice(looks(7), 600))
    views = [seen(look) for look in some]
    assert {view.sleeve for view in views} == set(SLEEVES)
    assert {view.length for view in views} == {*LENGTHS, ""}
    assert len({look.outfit.top.neckline for look in some}) == 6
    pieces = [p for look in some for p in (look.outfit.top, look.outfit.lower, look.outfit.outer) if p]
    assert len({piece.kind for piece in pieces}) >= 20
    assert len({piece.cloth.fabric for piece in pieces}) == 7
    assert len({piece.cloth.pattern for piece in pieces}) == 7
    assert len({piece.cloth.colour for piece in pieces}) >= 18


def test_progress_is_told_and_the_result_counts_products(tmp_path: Path) -> None:
    told: list[int] = []
    result = draw_lookbook(tmp_path / "new" / "folder", count=5, seed=1, progress=told.append)
    assert told == [1, 2, 3, 4, 5]
    assert (result.images, result.seed) == (5, 1)
    assert 1 <= result.products <= 5


def test_the_readme_says_that_these_are_drawings(drawn: Path) -> None:
    readme = (drawn / "README.txt").read_text(encoding="utf-8")
    assert "drawings made by a program" in readme and "not DeepFashion data" in readme
    assert "24 pictures" in readme and "seed 7" in readme


def test_a_folder_with_foreign_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"holiday\.jpg"):
        draw_lookbook(tmp_path, count=2)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_real_data_set_in_the_same_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "WOMEN-Tees_Tanks-id_00000001-01_1_front.jpg").write_bytes(b"a photograph")
    with pytest.raises(UsageError, match="images"):
        draw_lookbook(tmp_path, count=2)
    assert (tmp_path / "images" / "WOMEN-Tees_Tanks-id_00000001-01_1_front.jpg").read_bytes() == b"a photograph"


def test_a_foreign_file_among_the_drawings_is_refused(tmp_path: Path) -> None:
    draw_lookbook(tmp_path, count=2)
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"mine\.jpg"):
        draw_lookbook(tmp_path, count=2)
    assert (tmp_path / "images" / "mine.jpg").exists()


def test_a_look_book_can_be_drawn_over_an_older_one(tmp_path: Path) -> None:
    draw_lookbook(tmp_path, count=4, seed=1)
    draw_lookbook(tmp_path, count=2, seed=2)
    assert {path.name for path in (tmp_path / "images").iterdir()} == set(captions_of(tmp_path))


@pytest.mark.parametrize("count", [0, -3])
def test_a_look_book_without_images_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match=str(count)):
        draw_lookbook(tmp_path / "none", count=count)
    assert not (tmp_path / "none").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        draw_lookbook(tmp_path / "file", count=1)
