"""What is printed on a piece or pieced together: chest prints and blocks of colour."""

from __future__ import annotations

import numpy as np

from ingest.lookbook.figure import Body
from ingest.lookbook.paper import Curve, Mark, crescent, oval, smooth, tinted
from ingest.lookbook.wardrobe import Piece


def print_marks(piece: Piece, body: Body, leg: int = 0) -> list[Mark]:
    """Return the print of a graphic piece: on the chest, or on one leg."""
    if piece.cloth.pattern != "graphic" or (leg < 0):
        return []
    if leg:
        hip, knee, _ = body.legs[leg]
        return drawing(piece, (hip[0] + knee[0]) / 2, 59.0, 0.5)
    if piece.kind in ("leggings", "skirt", "trousers"):
        return []
    x = body.middle(27.0) + (1.2 * body.shot.facing if body.slim < 1 else 0.0)
    return drawing(piece, x, 27.4, 0.92 * (0.8 if body.slim < 1 else 1.0))


def drawing(piece: Piece, x: float, y: float, size: float) -> list[Mark]:
    """Return one of six prints around a place; ``size`` 1 is about eight units wide."""
    ink = piece.cloth.accent
    other = tinted(ink, 0.7) if sum(ink) > 380 else tinted(ink, 1.45)
    base = piece.cloth.base

    def put(points: list[tuple[float, float]], corners: bool = True) -> Curve:
        spots = [(x + a * size, y + b * size) for a, b in points]
        return np.array(spots) if corners else smooth(spots)

    if piece.cloth.motif == 0:
        star = [
            (
                (4.4 if k % 2 == 0 else 1.8) * float(np.sin(k * np.pi / 5)),
                -(4.4 if k % 2 == 0 else 1.8) * float(np.cos(k * np.pi / 5)),
            )
            for k in range(10)
        ]
        return [Mark(put(star), ink)]
    if piece.cloth.motif == 1:
        bands = [Mark(put([(-4.5, k), (4.5, k), (4.5, k + 0.5), (-4.5, k + 0.5)]), base) for k in (0.4, 1.6, 2.8)]
        return [Mark(oval(x, y, 4.2 * size, 4.2 * size), ink), *bands]
    if piece.cloth.motif == 2:
        heart = [
            (0.0, 4.0),
            (0.0, 4.0),
            (-3.6, 0.6),
            (-3.6, -2.4),
            (-1.6, -3.6),
            (0.0, -1.8),
            (0.0, -1.8),
            (1.6, -3.6),
            (3.6, -2.4),
            (3.6, 0.6),
        ]
        return [
            Mark(put(heart, False), ink),
            Mark(crescent((x - 2.4 * size, y), (x - 1.6 * size, y - 2.4 * size), 0.3, 0.4), (255, 255, 255, 120)),
        ]
    if piece.cloth.motif == 3:
        return [
            Mark(oval(x + 1.6 * size, y - 2.0 * size, 1.5 * size, 1.5 * size), other),
            Mark(put([(-4.8, 3.4), (-1.2, -3.0), (2.2, 3.4)]), ink),
            Mark(put([(0.4, 3.4), (2.6, -0.4), (5.0, 3.4)]), other),
        ]
    if piece.cloth.motif == 4:
        return [Mark(put([(1.4, -4.4), (-2.8, 0.6), (-0.4, 0.6), (-1.4, 4.4), (2.8, -0.8), (0.4, -0.8)]), ink)]
    letters = []
    for k, column in enumerate((-3.9, -1.3, 1.3)):
        letters.append(Mark(put([(column, -2.2), (column + 0.8, -2.2), (column + 0.8, 1.6), (column, 1.6)]), ink))
        foot = (-2.2, -1.5) if k == 1 else (0.9, 1.6)
        letters.append(
            Mark(put([(column, foot[0]), (column + 2.2, foot[0]), (column + 2.2, foot[1]), (column, foot[1])]), ink)
        )
    return [*letters, Mark(put([(-4.0, 2.4), (3.6, 2.4), (3.6, 3.0), (-4.0, 3.0)]), other)]


def block_marks(piece: Piece, body: Body, sleeve: bool = False, leg: int = 0) -> list[Mark]:
    """Return the second colour of a colour-blocked piece as large areas."""
    if piece.cloth.pattern != "color block":
        return []
    second = piece.cloth.accent
    motif = piece.cloth.motif % 3
    if piece.kind in ("leggings", "trousers", "skirt", "shorts"):
        cut = 62.0 if piece.length not in ("three-point", "medium short") else 50.0
        return [Mark(np.array([(-40.0, cut), (40.0, cut), (40.0, 120.0), (-40.0, 120.0)]), second)]
    if sleeve:
        return (
            [Mark(np.array([(-40.0, -20.0), (40.0, -20.0), (40.0, 120.0), (-40.0, 120.0)]), second)]
            if motif == 1
            else []
        )
    if leg:
        return []
    if motif == 0:
        areas = [[(-40.0, 30.0), (40.0, 30.0), (40.0, 120.0), (-40.0, 120.0)]]
    elif motif == 1:
        areas = [[(-40.0, 10.0), (40.0, 10.0), (40.0, 22.6), (-40.0, 22.6)]]
    else:
        areas = [[(body.middle(30.0), 10.0), (40.0, 10.0), (40.0, 120.0), (body.middle(46.0), 120.0)]]
    return [Mark(np.array(area), second) for area in areas]
