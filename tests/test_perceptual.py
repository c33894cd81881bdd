"""Near-identical shots are found, and other garments of the same cut are not taken for one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ingest.perceptual import MAX_BITS, Look, LookIndex, look_of
from ingest.perceptual import _same_colours as same_colours


def shirt(colour: tuple[int, int, int], size: tuple[int, int] = (360, 480)) -> Image.Image:
    """A garment of one colour on a white ground, with folds."""
    height, width = size[1], size[0]
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    inside = ((x - 0.5) ** 2 / 0.08 + (y - 0.5) ** 2 / 0.16) < 1
    folds = 0.75 + 0.25 * np.sin(18 * x + 7 * y)
    pixels = np.where(inside[..., None], np.array(colour) * folds[..., None], 250.0)
    return Image.fromarray(pixels.astype(np.uint8))


def again(image: Image.Image, **save: object) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, **save)  # type: ignore[arg-type]
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize("quality", [40, 60, 75, 95])
def test_a_photograph_saved_at_another_quality_is_found(quality: int) -> None:
    index = LookIndex()
    index.add("original", look_of(shirt((180, 30, 40))))
    assert index.find(look_of(again(shirt((180, 30, 40)), format="JPEG", quality=quality)), "copy") == "original"


@pytest.mark.parametrize("side", [90, 180, 300, 720])
def test_a_resized_photograph_is_found(side: int) -> None:
    index = LookIndex()
    index.add("original", look_of(shirt((30, 80, 160))))
    resized = shirt((30, 80, 160)).resize((side, side * 4 // 3), Image.Resampling.LANCZOS)
    assert index.find(look_of(resized), "copy") == "original"


@pytest.mark.parametrize("other", [(30, 40, 180), (30, 150, 60), (120, 30, 40), (200, 60, 70), (90, 90, 90)])
def test_another_colour_of_the_same_cut_is_not_the_same(other: tuple[int, int, int]) -> None:
    index = LookIndex()
    index.add("red", look_of(shirt((180, 30, 40))))
    assert index.find(look_of(shirt(other)), "other") is None


def test_a_mirrored_photograph_is_not_the_same() -> None:
    index = LookIndex()
    index.add("left", look_of(shirt((180, 30, 40))))
    mirrored = shirt((180, 30, 40)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert index.find(look_of(mirrored), "right") is None


def test_the_index_agrees_with_comparing_all_and_gives_the_first() -> None:
    rng = np.random.default_rng(0)
    cells = bytes(192)
    looks: list[Look] = []
    for _ in range(400):
        bits = int.from_bytes(rng.bytes(16), "big") if not looks or rng.random() < 0.3 else looks[-1].bits
        for at in rng.integers(0, 128, int(rng.integers(0, 4))):
            bits ^= 1 << int(at)
        looks.append(Look(bits, cells if rng.random() < 0.9 else bytes([200]) * 192))
    index = LookIndex()
    for n, look in enumerate(looks):
        expected = next(
            (
                str(m)
                for m, other in enumerate(looks[:n])
                if (look.bits ^ other.bits).bit_count() <= MAX_BITS
                and same_colours(look, np.frombuffer(other.cells, np.uint8))
            ),
            None,
        )
        assert index.find(look, str(n)) == expected
        index.add(str(n), look)


def test_an_item_is_not_its_own_twin_and_its_former_look_is_forgotten() -> None:
    first, second = look_of(shirt((180, 30, 40))), look_of(shirt((30, 40, 180)))
    index = LookIndex()
    index.add("a", first)
    assert index.find(first, "a") is None
    index.add("a", second)
    assert index.find(first, "b") is None and index.find(second, "b") == "a"


def test_the_hash_is_written_as_32_hexadecimal_digits() -> None:
    assert Look(255, b"").hex == "0" * 30 + "ff"
