"""Lower garments: skirts, and trousers of every kind."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from ingest.lookbook.fabric import swatch
from ingest.lookbook.figure import Body, leg_widths, trunk
from ingest.lookbook.paper import Mark, Sheet, Spot, crescent, oval, paint, shaded_side, smooth, stroke, tube
from ingest.lookbook.prints import block_marks, print_marks
from ingest.lookbook.sewing import contour, fill_cloth, folds, hem_line, shadow, side_band, veiled
from ingest.lookbook.wardrobe import Piece

SKIRT_HEMS = {"three-point": 60.0, "medium short": 69.5, "three-quarter": 81.0, "long": 92.5}
LEG_SHARES = {"three-point": 0.24, "medium short": 0.47, "three-quarter": 0.74, "long": 0.985}
FLARES = {"pencil": (0.5, -0.02), "a-line": (0.9, 0.12), "full": (1.4, 0.25)}
LEG_EASES = {
    "skinny": (0.3, 0.3, 0.3, 0.35, 0.4),
    "straight": (0.5, 0.9, 1.3, 1.4, 1.7),
    "wide": (0.5, 1.1, 1.9, 2.5, 3.1),
}
SPREADS = {"skinny": 0.0, "straight": 0.35, "wide": 1.0}
THREAD = (206, 150, 84)


def draw_lower(sheet: Sheet, body: Body, piece: Piece, rng: Random) -> None:
    """Draw a skirt, or trousers of any kind."""
    fill = swatch(piece.cloth, sheet.image.size, sheet.scale, rng)
    with veiled(sheet, piece):
        if piece.kind == "skirt":
            draw_skirt(sheet, body, piece, fill, rng)
        else:
            draw_trousers(sheet, body, piece, fill, rng)


def draw_skirt(sheet: Sheet, body: Body, piece: Piece, fill: Image.Image, rng: Random) -> None:
    """Draw a skirt with its pleats."""
    left, right = skirt_edges(body, 36.6, SKIRT_HEMS[piece.length], piece.cut)
    outline = [left[0], left[0], right[0], right[0], *right[1:], *hem_line(left[-1], right[-1]), *left[:0:-1]]
    marks = [*block_marks(piece, body), *folds(piece, left, right), *waistband(piece, body)]
    if piece.cut != "pencil":
        marks += pleats(body, left, right, (-0.75, -0.45, -0.15, 0.2, 0.5, 0.75))
    fill_cloth(sheet, [smooth(outline, steps=5)], piece, fill, marks, rng)


def skirt_edges(body: Body, top: float, hem: float, cut: str) -> tuple[list[Spot], list[Spot]]:
    """Return left and right edge of a skirt from ``top`` to ``hem``."""
    ease, flare = FLARES[cut]
    narrow = 0.8 if body.slim < 1 else 1.0
    left, right = [], []
    for y in (top, 41.0, 46.0, 0.5 * (46.0 + hem), hem):
        half = body.half(min(y, 46.0)) + ease * min(1.0, (y - 34.0) / 8.0) + flare * max(0.0, y - 41.0) * narrow
        middle = body.middle(min(y, 46.0))
        left.append((middle - half, y))
        right.append((middle + half, y))
    return left, right


def pleats(body: Body, left: list[Spot], right: list[Spot], places: tuple[float, ...]) -> list[Mark]:
    """Return folds that fan out from the waist to the hem, at places from -1 (left) to 1 (right)."""
    x, y = (left[-1][0] + right[-1][0]) / 2, right[-1][1]
    spread, waist = (right[-1][0] - left[-1][0]) / 2, body.half(36.5) * 0.9
    top = body.middle(36.5)
    return [Mark(crescent((top + k * waist, 38.4), (x + k * spread, y), k * 0.7, 0.5), (0, 0, 0, 30)) for k in places]


def waistband(piece: Piece, body: Body) -> list[Mark]:
    """Return the band, and for sewn trousers the fly and the pockets, in the thread's colour."""
    line = (*contour(piece.cloth), 235)
    thread = (*THREAD, 220) if piece.cloth.fabric == "denim" else line
    wide, x = body.half(38.5) + 2, body.middle(39.0)
    band = smooth([(x - wide, 38.7), (x, 39.2), (x + wide, 38.7)], closed=False)
    marks = [Mark(band, line, 0.26)]
    if piece.kind == "leggings" or (piece.kind == "skirt" and piece.cloth.fabric != "denim"):
        return marks
    if body.shot.turn == "back":
        for s in (-1, 1):
            pocket = [(1.8, 42.0), (5.2, 42.0), (5.0, 45.6), (3.5, 46.8), (1.9, 45.6), (1.8, 42.0)]
            marks.append(Mark(np.array([(x + s * across, y) for across, y in pocket]), thread, 0.24))
        return marks
    for s in (-1, 1):
        slit = [(x + s * across * body.slim, y) for across, y in ((3.8, 39.0), (4.6, 41.4), (7.2, 42.6))]
        marks.append(Mark(smooth(slit, closed=False), thread, 0.24))
    marks.append(Mark(smooth([(x, 39.1), (x + 0.1, 44.0), (x + 0.2, 49.5)], closed=False), thread, 0.24))
    marks.append(Mark(oval(x + 0.7, 38.0, 0.4, 0.4), thread))
    return marks


def draw_trousers(sheet: Sheet, body: Body, piece: Piece, fill: Image.Image, rng: Random) -> None:
    """Draw trousers: two tubes along the legs and the hips above them."""
    share = LEG_SHARES[piece.length]
    slim = 0.85 if body.slim < 1 else 1.0
    widths = [(w + e) * slim for w, e in zip(leg_widths(body), LEG_EASES[piece.cut], strict=True)]
    left, right = trunk(body, 36.8, 47.5, 0.4)
    middle = body.middle(48.0)
    crotch = [(middle + 1.5, 50.2), (middle - 1.5, 50.2)]
    hips = smooth([left[0], left[0], right[0], right[0], *right[1:], *crotch, *left[:0:-1]], steps=5)
    ink, soft = shadow(piece)
    for side in (-body.shot.facing, body.shot.facing):
        hip, knee, _ = line = apart(body.legs[side], side * SPREADS[piece.cut] * slim)
        marks = [*block_marks(piece, body, leg=side), *print_marks(piece, body, leg=side)]
        marks.append(Mark(shaded_side(line, widths, share), (*ink, soft)))
        marks.append(Mark(crescent((hip[0] - 0.6, 54.0), (knee[0] - 0.2, 66.0), 0.5, 0.5), (*ink, soft)))
        if share > 0.6:
            for k in (-1.2, 1.0):
                crease = crescent((knee[0] - 1.9, 71.4 + k), (knee[0] + 1.6, 70.6 + k), 0.5, 0.35)
                marks.append(Mark(crease, (*ink, soft + 10)))
        if piece.cloth.fabric == "leather":
            gloss = crescent((hip[0] - 1.2, 52.0), (knee[0] - 0.6, 84.0), 0.3, 0.6)
            marks.append(Mark(gloss, (255, 255, 255, 90)))
        if piece.cloth.fabric == "denim":
            marks.append(Mark(tube(line, [w * 0.86 for w in widths], share), (*THREAD, 120), 0.16))
        fill_cloth(sheet, [tube(line, widths, share)], piece, fill, marks, rng)
    marks = [*block_marks(piece, body), *waistband(piece, body), Mark(side_band(right, 0.3), (*ink, soft))]
    paint(sheet, [hips], fill, marks)
    for edge in (left, right):
        stroke(sheet, smooth(edge, closed=False), contour(piece.cloth), 0.34)
    stroke(sheet, np.array([left[0], right[0]]), contour(piece.cloth), 0.34)


def apart(leg: tuple[Spot, Spot, Spot], shift: float) -> tuple[Spot, Spot, Spot]:
    """Return a leg's line moved outwards towards its end, so that two wide trouser legs stay two."""
    hip, knee, ankle = leg
    return (hip[0] + shift * 0.2, hip[1]), (knee[0] + shift, knee[1]), (ankle[0] + shift * 1.4, ankle[1])
