"""Outer garments: open at the front, closed from the back."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from ingest.lookbook.figure import Body
from ingest.lookbook.paper import Mark, Sheet, Spot, paint, smooth, tube
from ingest.lookbook.prints import block_marks
from ingest.lookbook.sewing import contour, fill_cloth, folds, hem_line
from ingest.lookbook.wardrobe import Piece

OUTER_HEMS = {"hip": 46.5, "thigh": 57.0, "knee": 68.0}


def draw_outer(sheet: Sheet, body: Body, piece: Piece, fill: Image.Image, rng: Random) -> None:
    """Draw the trunk of an open jacket, coat or cardigan; from the back it is closed."""
    hem = OUTER_HEMS[piece.length]
    left, right = outer_edges(body, hem)
    tip = body.half(17.6) + 1.1
    n = (2.9 if body.person.woman else 3.4) * (0.8 if body.slim < 1 else 1.0)
    if body.shot.turn == "back":
        outline = [
            (-tip, 18.6),
            (-tip * 0.9, 17.0),
            (-n, 15.2),
            (0.0, 15.8),
            (n, 15.2),
            (tip * 0.9, 17.0),
            (tip, 18.6),
            *right,
            *hem_line(left[-1], right[-1]),
            *left[::-1],
        ]
        seam = Mark(np.array([(0.0, 20.0), (body.middle(46), hem)]), (*contour(piece.cloth), 200), 0.2)
        fill_cloth(
            sheet,
            [smooth(outline, steps=5)],
            piece,
            fill,
            [*block_marks(piece, body), *folds(piece, left, right), seam],
            rng,
        )
        collar = smooth([(-n, 14.0), (0.0, 14.6), (n, 14.0), (n + 1.4, 17.2), (0.0, 18.0), (-n - 1.4, 17.2)])
        if piece.neckline == "lapel":
            paint(sheet, [collar], fill, (), contour(piece.cloth))
        return
    shift = 1.6 * body.shot.facing if body.slim < 1 else 0.0
    opening = 2.6 * body.slim
    for s, edge in ((-1, left), (1, right)):
        inner_top, inner = (s * n, 15.2), (shift + s * opening, 27.0)
        low = (body.middle(46) + shift + s * (opening + 1.6), hem + 0.5)
        outline = [inner_top, (s * tip * 0.9, 17.0), (s * tip, 18.6), *edge, edge[-1], low, low, inner, inner_top]
        marks = [
            *block_marks(piece, body),
            *(folds(piece, left, right) if s > 0 else folds(piece, left, right)[2:3]),
            *outer_details(piece, body, s, hem),
        ]
        fill_cloth(sheet, [smooth(outline, steps=5)], piece, fill, marks, rng)
        if piece.neckline == "lapel":
            flap = smooth(
                [
                    (s * (n - 0.3), 14.2),
                    (s * (n - 0.3), 14.2),
                    (s * (n + 2.2), 17.4),
                    (s * (n + 2.8), 20.4),
                    (s * (n + 2.8), 20.4),
                    (shift + s * (opening + 1.6), 21.6),
                    (shift + s * opening, 29.0),
                    (shift + s * opening, 29.0),
                ],
                steps=4,
            )
            paint(sheet, [flap], fill, [Mark(flap, (255, 255, 255, 22))], contour(piece.cloth))
        elif piece.kind == "cardigan":
            band = tube([inner_top, inner, low], (0.8, 0.8))
            paint(sheet, [band], fill, [Mark(band, (0, 0, 0, 34))], contour(piece.cloth))


def outer_edges(body: Body, hem: float) -> tuple[list[Spot], list[Spot]]:
    """Return left and right edge of an outer garment."""
    left, right = [], []
    for y in (21.0, 26.0, 31.0, 37.0, 43.0, 0.5 * (43.0 + hem), hem):
        half = max(body.half(min(y, 46.0)), body.half(36.0) + 1.0) + 1.5 + max(0.0, y - 43.0) * 0.07
        left.append((body.middle(min(y, 46.0)) - half, y))
        right.append((body.middle(min(y, 46.0)) + half, y))
    return left, right


def outer_details(piece: Piece, body: Body, side: int, hem: float) -> list[Mark]:
    """Return pockets, seams and zips."""
    thread = (206, 150, 84, 220) if piece.cloth.fabric == "denim" else (*contour(piece.cloth), 230)
    marks = []
    if piece.kind == "denim jacket":
        box = np.array(
            [
                (side * 3.4, 24.0),
                (side * 6.2, 24.0),
                (side * 6.0, 28.0),
                (side * 4.8, 28.8),
                (side * 3.5, 28.0),
                (side * 3.4, 24.0),
            ]
        )
        marks.append(Mark(box * (body.slim, 1.0), thread, 0.22))
        marks.append(Mark(np.array([(side * 4.6, 29.0), (side * 4.2, hem)]) * (body.slim, 1.0), thread, 0.2))
        marks.append(Mark(np.array([(-12.0, hem - 2.0), (12.0, hem - 2.0)]), thread, 0.22))
    elif piece.kind in ("coat", "blazer", "jacket", "vest"):
        y = min(hem - 5.0, 42.0)
        marks.append(Mark(np.array([(side * 4.4, y + 0.8), (side * 7.4, y)]) * (body.slim, 1.0), thread, 0.4))
    return marks
