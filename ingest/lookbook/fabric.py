"""Cloth as pixels: the grain of a fabric, and the pattern that is woven into it or printed on it."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ingest.lookbook.paper import Colour, tinted
from ingest.lookbook.wardrobe import Cloth

TILE = 108
"""Side of the repeated square of cloth, in pixels: a multiple of every grain's own period, so that no seam shows."""


def swatch(cloth: Cloth, size: tuple[int, int], scale: float, rng: Random) -> Image.Image:
    """Return cloth that covers the canvas; ``scale`` (pixels per body unit) lets patterns grow with the figure."""
    zoom = 2 if scale > 14 else 1
    tile = np.asarray(woven(cloth, zoom, rng))
    if cloth.fabric in GRAINS:
        light = GRAINS[cloth.fabric]()[: tile.shape[0], : tile.shape[1], None]
        tile = np.clip(tile.astype(np.int16) + light, 0, 255).astype(np.uint8)
    across, down = -(-size[0] // tile.shape[1]), -(-size[1] // tile.shape[0])
    return Image.fromarray(np.tile(tile, (down, across, 1)))


def woven(cloth: Cloth, zoom: int, rng: Random) -> Image.Image:
    """Return one repeat of the pattern."""
    base, second = cloth.base, cloth.accent
    side = TILE * zoom
    tile = Image.new("RGB", (side, side), base)
    pen = ImageDraw.Draw(tile, "RGBA")
    if cloth.pattern == "striped":
        striped(pen, side, second, cloth.motif, zoom)
    elif cloth.pattern == "lattice":
        lattice(pen, side, base, second, cloth.motif)
    elif cloth.pattern == "floral":
        floral(pen, side, second, cloth.motif, zoom, rng)
    elif cloth.pattern == "other":
        mixed(pen, side, second, cloth.motif, rng)
    return tile


def striped(pen: ImageDraw.ImageDraw, side: int, second: Colour, motif: int, zoom: int) -> None:
    """Horizontal stripes, or upright ones for every third motif."""
    count = (4, 6, 8)[motif % 3]
    thick = side / count * (0.5, 0.32)[motif // 3 % 2]
    for index in range(count):
        at = index * side / count
        if motif == 2:
            pen.rectangle((round(at), 0, round(at + thick), side), fill=second)
        else:
            pen.rectangle((0, round(at), side, round(at + thick)), fill=second)


def lattice(pen: ImageDraw.ImageDraw, side: int, base: Colour, second: Colour, motif: int) -> None:
    """Plaid: translucent bands both ways, with a fine line between them."""
    count = (2, 3, 4)[motif % 3]
    step = side / count
    fine = tinted(second, 1.5) if sum(base) < 380 else tinted(second, 0.6)
    for index in range(count):
        at = round(index * step)
        thick = round(step * 0.42)
        pen.rectangle((at, 0, at + thick, side), fill=(*second, 130))
        pen.rectangle((0, at, side, at + thick), fill=(*second, 130))
    for index in range(count):
        at = round((index + 0.72) * step)
        pen.line((at, 0, at, side), fill=(*fine, 200), width=2)
        pen.line((0, at, side, at), fill=(*fine, 200), width=2)


def floral(pen: ImageDraw.ImageDraw, side: int, second: Colour, motif: int, zoom: int, rng: Random) -> None:
    """Scattered five-petalled flowers with leaves, kept off the seam of the repeat."""
    count = (5, 7, 9)[motif % 3]
    cells = [(column, row) for column in range(3) for row in range(3)]
    heart = (246, 212, 92) if second != (246, 212, 92) else (200, 46, 52)
    leaf = (74, 128, 84)
    radius = (12.0, 10.0, 8.5)[motif % 3] * zoom
    for column, row in rng.sample(cells, count):
        x = (column + 0.5 + rng.uniform(-0.1, 0.1)) * side / 3
        y = (row + 0.5 + rng.uniform(-0.1, 0.1)) * side / 3
        for sign in (-1, 1):
            pen.ellipse(ring(x + sign * radius * 0.95, y + radius * 0.8, radius * 0.42, radius * 0.24), fill=leaf)
        for petal in range(5):
            dx, dy = PETALS[petal]
            pen.ellipse(
                ring(x + dx * radius * 0.68, y + dy * radius * 0.68, radius * 0.56, radius * 0.56), fill=second
            )
        pen.ellipse(ring(x, y, radius * 0.34, radius * 0.34), fill=heart)


def mixed(pen: ImageDraw.ImageDraw, side: int, second: Colour, motif: int, rng: Random) -> None:
    """Dots, zigzag or spots: patterns that have no name of their own in the data set."""
    if motif % 3 == 0:
        step = side / 6
        for row in range(6):
            for column in range(3):
                x, y = (column * 2 + row % 2 + 0.5) * step, (row + 0.5) * step
                pen.ellipse(ring(x, y, step * 0.3, step * 0.3), fill=second)
    elif motif % 3 == 1:
        step = side / 6
        for row in range(-1, 7, 2):
            path = [(round(i * step), round((row + i % 2) * step)) for i in range(7)]
            pen.line(path, fill=second, width=round(step * 0.34))
    else:
        for row in range(5):
            for column in range(5):
                x = (column + rng.uniform(0.3, 0.7)) * side / 5
                y = (row + rng.uniform(0.3, 0.7)) * side / 5
                r = side / 5 * rng.uniform(0.2, 0.3)
                pen.ellipse(ring(x, y, r, r * 0.75), fill=tinted(second, 0.75))
                pen.ellipse(ring(x + r * 0.1, y, r * 0.5, r * 0.36), fill=second)


def ring(x: float, y: float, rx: float, ry: float) -> tuple[int, int, int, int]:
    """Return an ellipse's box in whole pixels."""
    return (round(x - rx), round(y - ry), round(x + rx), round(y + ry))


PETALS = ((0.0, -1.0), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309))

Light = npt.NDArray[np.int16]
"""What a fabric's grain adds to the brightness of a repeat of cloth: (height, width), int16."""


@cache
def noise(height: int, width: int, key: int) -> npt.NDArray[np.float64]:
    """Return the same uniform noise in [-1, 1] every time: (height, width), float64."""
    words = np.random.Generator(np.random.PCG64(key)).integers(0, 2001, size=(height, width))
    return (words.astype(np.float64) - 1000.0) / 1000.0


@cache
def twill() -> Light:
    """Denim: a fine diagonal rib, and threads of uneven darkness."""
    y, x = np.mgrid[0:216, 0:216]
    rib = np.where((x + y) % 6 < 3, 9, -9)
    threads = noise(1, 216, 1) * 9
    return np.rint(rib + threads + noise(216, 216, 2) * 10).astype(np.int16)


@cache
def ribs() -> Light:
    """Knit: columns of small V-shaped stitches."""
    y, x = np.mgrid[0:216, 0:216]
    column = x % 12
    stitch = (y + np.abs(column - 6) * 1.2) % 9
    return np.rint(np.where(column < 2, -26, 0) + np.where(stitch < 3, -12, 7) + noise(216, 216, 3) * 5).astype(
        np.int16
    )


@cache
def plain() -> Light:
    """Cotton: hardly any grain."""
    return np.rint(noise(216, 216, 4) * 4).astype(np.int16)


@cache
def fleece() -> Light:
    """Fur: short upright hairs of uneven brightness."""
    hairs = noise(216, 216, 5)
    for shift in (1, 2, 3, 4, 5):
        hairs = hairs + np.roll(noise(216, 216, 5), shift, axis=0)
    return np.rint(hairs * 14).astype(np.int16)


@cache
def satin() -> Light:
    """Other: a soft sheen in slanting bands."""
    y, x = np.mgrid[0:216, 0:216]
    phase = ((x * 2 + y) % 54).astype(np.float64)
    sheen: Light = np.rint(np.abs(phase - 27) * 0.55 - 7).astype(np.int16)
    return sheen


GRAINS = {"denim": twill, "knitted": ribs, "cotton": plain, "furry": fleece, "other": satin}
