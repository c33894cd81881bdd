"""How every garment is finished: its contour, its folds and its light, and what its fabric asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
from PIL import Image

from ingest.lookbook.paper import Colour, Curve, Mark, Sheet, Spot, crescent, paint, stroke, tinted
from ingest.lookbook.wardrobe import Cloth, Piece


def contour(cloth: Cloth) -> Colour:
    """Return the colour of a piece's outline: darker than the cloth, or lighter where that is nearly black."""
    base = cloth.base
    return tinted(base, 1.22) if sum(base) < 200 else tinted(base, 0.7)


@contextmanager
def veiled(sheet: Sheet, piece: Piece) -> Iterator[None]:
    """Let what lies below shine through whatever is drawn in this context, if the piece is of chiffon."""
    below = sheet.image.copy() if piece.cloth.fabric == "chiffon" else None
    yield
    if below is not None:
        sheet.image.paste(Image.blend(below, sheet.image, 0.84))


def shadow(piece: Piece) -> tuple[Colour, int]:
    """Return colour and opacity of a fold: dark, or on nearly black cloth light."""
    return ((0, 0, 0), 34) if sum(piece.cloth.base) > 200 else ((255, 255, 255), 16)


def fill_cloth(
    sheet: Sheet, outlines: list[Curve], piece: Piece, fill: Image.Image, marks: list[Mark], rng: Random
) -> None:
    """Fill outlines with the cloth of a piece, and finish them as its fabric asks."""
    fabric = piece.cloth.fabric
    paint(sheet, outlines, fill, marks, contour(piece.cloth))
    if fabric == "furry":
        for outline in outlines:
            ragged(sheet, outline, piece.cloth.base, rng)


def ragged(sheet: Sheet, outline: Curve, base: Colour, rng: Random) -> None:
    """Draw hairs that stand out over the edge of fur."""
    middle = outline.mean(axis=0)
    for x, y in outline.tolist():
        for _ in range(3):
            reach = rng.uniform(0.5, 1.3)
            dx, dy = x - middle[0], y - middle[1]
            length = max(float(np.hypot(dx, dy)), 1e-6)
            px, py = x + rng.uniform(-0.7, 0.7), y + rng.uniform(-0.7, 0.7)
            tip = (px + dx / length * reach, py + dy / length * reach + 0.5)
            stroke(
                sheet,
                np.array([(px - dx / length, py - dy / length), tip]),
                tinted(base, rng.choice((0.8, 0.92, 1.0, 1.3))),
                0.24,
            )


def folds(piece: Piece, left: list[Spot], right: list[Spot]) -> list[Mark]:
    """Return shading for a piece between two edges: a shadow on one side, light on the other, folds, seams, gloss."""
    dark = (0, 0, 0) if sum(piece.cloth.base) > 200 else (255, 255, 255)
    soft = 34 if dark == (0, 0, 0) else 16
    marks = [
        Mark(side_band(right, 0.34), (*dark, soft)),
        Mark(side_band(right, 0.14), (*dark, soft)),
        Mark(side_band(left, 0.12), (255, 255, 255, 26)),
    ]
    top, bottom = left[0][1], left[-1][1]
    for share, height, bow in ((0.3, 0.55, 0.5), (-0.35, 0.7, -0.4), (0.05, 0.82, 0.3)):
        x = (left[-1][0] + right[-1][0]) / 2 + share * (right[-1][0] - left[-1][0])
        start = (x * 0.8, top + (bottom - top) * height * 0.8)
        marks.append(Mark(crescent(start, (x, bottom - 0.6), bow, 0.5), (*dark, soft + 10)))
    if piece.cloth.fabric == "leather":
        for share in (-0.5, -0.16, 0.4):
            x = (left[-1][0] + right[-1][0]) / 2 + share * (right[-1][0] - left[-1][0])
            start = (x * 0.9, top + (bottom - top) * 0.2)
            marks.append(Mark(crescent(start, (x, top + (bottom - top) * 0.86), 0.7, 0.7), (255, 255, 255, 84)))
    return marks


def side_band(edge: list[Spot], share: float) -> Curve:
    """Return the strip along one edge of the trunk, as wide as a share of the half width."""
    inner = [(x * (1 - share), y) for x, y in edge]
    return np.array([*edge, *inner[::-1]])


def hem_line(left: Spot, right: Spot) -> list[Spot]:
    """Return a slightly rounded hem between two corners, from right to left."""
    middle = ((left[0] + right[0]) / 2, right[1] + 0.7)
    return [right, middle, left]
