"""Upper garments: tops, and the upper part of dresses and jumpsuits."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from ingest.lookbook.figure import Body, arm_widths, trunk
from ingest.lookbook.lowers import SKIRT_HEMS, draw_trousers, pleats, skirt_edges
from ingest.lookbook.paper import Mark, Sheet, Spot, crescent, oval, paint, shaded_side, smooth, stroke, tinted, tube
from ingest.lookbook.prints import block_marks, print_marks
from ingest.lookbook.sewing import contour, fill_cloth, folds, hem_line, shadow, veiled
from ingest.lookbook.wardrobe import Outfit, Piece

SLEEVE_SHARES = {"short": 0.36, "medium": 0.64, "long": 0.985}
EASES = {"fitted": 0.45, "regular": 1.0, "loose": 1.7, "cropped": 0.8}


def draw_top(sheet: Sheet, body: Body, outfit: Outfit, fill: Image.Image, rng: Random) -> None:
    """Draw the trunk of the upper garment, with the skirt of a dress or the legs of a jumpsuit."""
    piece = outfit.top
    ease = EASES.get(piece.cut, 0.6)
    hem = {"cropped": 33.0, "fitted": 44.0, "regular": 45.5, "loose": 48.0}.get(piece.cut, 45.0)
    if outfit.tucked or outfit.whole:
        hem = 38.0
    left, right = trunk(body, 20.0, hem, ease)
    if piece.kind == "dress":
        lower_left, lower_right = skirt_edges(body, 37.0, SKIRT_HEMS[piece.length], piece.cut)
        left, right = [*left[:-1], *lower_left], [*right[:-1], *lower_right]
    if piece.kind in ("sweater", "hoodie", "sweatshirt") and not outfit.tucked:
        left[-1], right[-1] = (left[-1][0] * 0.93, hem), (right[-1][0] * 0.93, hem)
    outline = [*shoulder_line(body, piece), *right, *hem_line(left[-1], right[-1]), *left[::-1]]
    marks = [
        *block_marks(piece, body),
        *print_marks(piece, body),
        *folds(piece, left, right),
        *top_details(body, piece, left, right),
    ]
    with veiled(sheet, piece):
        if piece.kind == "jumpsuit":
            draw_trousers(sheet, body, piece, fill, rng)
        fill_cloth(sheet, [smooth(outline, steps=5)], piece, fill, marks, rng)
        draw_neck_finish(sheet, body, piece, fill)


def shoulder_line(body: Body, piece: Piece) -> list[Spot]:
    """Return the upper edge of a top from the left armhole over the neckline to the right armhole."""
    wide = body.half(17.6)
    arm = body.half(22.0)
    neck = neckline(body, piece)
    if piece.neckline == "suspenders":
        return [(-arm - 0.2, 22.8), (-arm * 0.98, 22.0), *neck, (arm * 0.98, 22.0), (arm + 0.2, 22.8)]
    if piece.sleeve == "sleeveless":
        edge = wide * 0.74
        return [
            (-arm - 0.3, 22.6),
            (-edge, 20.2),
            (-edge, 17.0),
            (-edge, 17.0),
            *neck,
            (edge, 17.0),
            (edge, 17.0),
            (edge, 20.2),
            (arm + 0.3, 22.6),
        ]
    tip = wide + 0.5
    return [(-tip, 18.6), (-tip * 0.9, 17.3), *neck, (tip * 0.9, 17.3), (tip, 18.6)]


def neckline(body: Body, piece: Piece) -> list[Spot]:
    """Return the neckline from left to right; from the back every neckline is a shallow curve."""
    n = (3.0 if body.person.woman else 3.6) * (0.8 if body.slim < 1 else 1.0)
    m = 0.4 * body.shot.facing if body.slim < 1 else 0.0
    if piece.neckline == "suspenders":
        return [(-3.6 * body.slim, 21.6), (m, 23.0), (3.6 * body.slim, 21.6)]
    if body.shot.turn == "back":
        return [(-n, 15.9), (0.0, 16.7), (n, 15.9)]
    if piece.neckline == "v":
        return [(-n, 15.8), (-n, 15.8), (m, 23.2), (m, 23.2), (n, 15.8), (n, 15.8)]
    if piece.neckline == "square":
        q = n + 1.0
        return [
            (-q, 16.4),
            (-q, 16.4),
            (m - q, 21.0),
            (m - q, 21.0),
            (m + q, 21.0),
            (m + q, 21.0),
            (q, 16.4),
            (q, 16.4),
        ]
    if piece.neckline == "standing":
        return [(-n + 0.3, 15.2), (m, 16.4), (n - 0.3, 15.2)]
    if piece.neckline == "lapel":
        return [(-n + 0.4, 15.2), (m, 19.4), (m, 19.4), (n - 0.4, 15.2)]
    depth = 19.6 if body.person.woman else 18.4
    return [(-n, 15.8), (m - n * 0.62, depth - 1.0), (m, depth), (m + n * 0.62, depth - 1.0), (n, 15.8)]


def top_details(body: Body, piece: Piece, left: list[Spot], right: list[Spot]) -> list[Mark]:
    """Return seams, plackets, buttons, pockets and ribbed hems."""
    line = (*contour(piece.cloth), 230)
    marks: list[Mark] = []
    bottom = left[-1][1]
    front = body.shot.turn != "back"
    m = 0.8 * body.shot.facing if body.slim < 1 else 0.0
    if front and piece.kind in ("shirt", "blouse", "polo") and piece.neckline == "lapel":
        end = 27.0 if piece.kind == "polo" else bottom
        marks.append(Mark(np.array([(m, 19.0), (m, end)]), line, 0.22))
        marks.append(Mark(np.array([(m + 1.1, 19.6), (m + 1.1, end)]), line, 0.14))
        button = tinted(piece.cloth.base, 1.7 if sum(piece.cloth.base) < 420 else 0.5)
        marks += [
            Mark(oval(m + 0.55, y, 0.34, 0.34), button) for y in np.arange(21.5, end - 0.5, 4.2 if end > 30 else 2.4)
        ]
    if piece.kind in ("sweater", "hoodie", "sweatshirt"):
        band = np.array(
            [
                (left[-1][0] - 1, bottom - 2.0),
                (right[-1][0] + 1, bottom - 2.0),
                (right[-1][0] + 1, bottom + 2),
                (left[-1][0] - 1, bottom + 2),
            ]
        )
        marks.append(Mark(band, (0, 0, 0, 26)))
    if front and piece.kind == "hoodie":
        pocket = [
            (-4.4 * body.slim, 42.6),
            (-3.0 * body.slim, 36.6),
            (3.0 * body.slim, 36.6),
            (4.4 * body.slim, 42.6),
            (-4.4 * body.slim, 42.6),
        ]
        marks.append(Mark(np.array(pocket), line, 0.26))
        marks += [
            Mark(crescent((m + s * 1.4, 18.4), (m + s * 1.7, 25.0), 0.2 * s, 0.34), (248, 246, 240)) for s in (-1, 1)
        ]
    if piece.kind in ("dress", "jumpsuit"):
        waist = smooth([(-body.half(36.5) - 1, 36.6), (0.0, 37.2), (body.half(36.5) + 1, 36.6)], closed=False)
        marks.append(Mark(waist, line, 0.2))
    if piece.kind == "dress" and piece.cut != "pencil":
        marks += pleats(body, left, right, (-0.7, -0.4, -0.1, 0.25, 0.55))
    if piece.kind == "shirt" and piece.cloth.fabric == "denim" and front:
        for s in (-1, 1):
            marks.append(
                Mark(
                    np.array(
                        [
                            (s * 2.0, 25.0),
                            (s * 5.2, 25.0),
                            (s * 5.0, 28.6),
                            (s * 3.6, 29.4),
                            (s * 2.1, 28.6),
                            (s * 2.0, 25.0),
                        ]
                    )
                    * (body.slim, 1),
                    line,
                    0.2,
                )
            )
    return marks


def draw_neck_finish(sheet: Sheet, body: Body, piece: Piece, fill: Image.Image) -> None:
    """Draw what edges the neckline: a ribbed band, a collar, a stand-up collar or straps."""
    line = contour(piece.cloth)
    back = body.shot.turn == "back"
    n = (3.0 if body.person.woman else 3.6) * (0.8 if body.slim < 1 else 1.0)
    m = 0.4 * body.shot.facing if body.slim < 1 else 0.0
    if piece.neckline == "suspenders":
        for s in (-1, 1):
            strap = tube(
                [(s * 4.4 * body.slim, 16.6), (s * 4.3 * body.slim, 19.0), (s * 3.9 * body.slim, 22.4)], (0.5, 0.45)
            )
            paint(sheet, [strap], fill, (), line)
    elif piece.neckline == "standing":
        collar = smooth(
            [
                (-n + 0.6, 12.6),
                (0.0, 13.2),
                (n - 0.6, 12.6),
                (n - 0.6, 12.6),
                (n + 0.4, 16.6),
                (0.0, 17.6),
                (-n - 0.4, 16.6),
                (-n + 0.6, 12.6),
            ]
        )
        paint(sheet, [collar], fill, [Mark(crescent((-n, 14.6), (n, 14.6), 0.6, 0.3), (0, 0, 0, 40))], line)
    elif piece.neckline == "lapel" and back:
        paint(
            sheet,
            [smooth([(-n, 14.4), (0.0, 14.9), (n, 14.4), (n + 1.0, 17.0), (0.0, 17.6), (-n - 1.0, 17.0)])],
            fill,
            (),
            line,
        )
    elif piece.neckline == "lapel":
        for s in (-1, 1):
            flap = smooth(
                [
                    (s * (n - 0.5), 14.2),
                    (s * (n - 0.5), 14.2),
                    (m + s * 0.1, 19.4),
                    (m + s * 0.1, 19.4),
                    (m + s * 2.6, 20.6),
                    (m + s * 2.6, 20.6),
                    (s * (n + 1.3), 16.6),
                ],
                steps=4,
            )
            paint(sheet, [flap], fill, [Mark(flap, (255, 255, 255, 24))], line)
    elif piece.kind in ("tee", "sweater", "sweatshirt", "hoodie", "polo") and piece.neckline in ("round", "v"):
        path = smooth(neckline(body, piece), closed=False, steps=5)
        stroke(sheet, path, tinted(piece.cloth.base, 0.84), 0.9)
        stroke(sheet, path, line, 0.24)


def draw_sleeve(
    sheet: Sheet, body: Body, piece: Piece, side: int, fill: Image.Image, rng: Random, extra: float = 0.0
) -> None:
    """Draw one sleeve over its arm."""
    if piece.sleeve == "sleeveless":
        return
    shoulder, elbow, wrist = body.arms[side]
    share = SLEEVE_SHARES[piece.sleeve]
    ease = (
        extra + {"fitted": 0.35, "loose": 0.8}.get(piece.cut, 0.65) + (0.45 if piece.cloth.fabric == "chiffon" else 0)
    )
    widths = [w + ease for w in arm_widths(body)]
    start = (shoulder[0] - side * 0.3 * body.slim, shoulder[1])
    line = (start, elbow, wrist)
    ink, soft = shadow(piece)
    marks = [*block_marks(piece, body, sleeve=True), Mark(shaded_side(line, widths, share), (*ink, soft))]
    if share > 0.5:
        for k in (-0.6, 0.5):
            x, y = elbow[0] + k, elbow[1] - 0.4 + k
            marks.append(Mark(crescent((x - 1.3, y), (x + 1.2, y + 0.6), 0.4, 0.35), (*ink, soft + 14)))
    if piece.cloth.fabric == "leather":
        gloss = crescent((start[0] - 0.6, start[1] + 2), (elbow[0] - 0.5, elbow[1] - 1), 0.3, 0.5)
        marks.append(Mark(gloss, (255, 255, 255, 90)))
    with veiled(sheet, piece):
        if share > 0.5:
            # A sharply bent tube crosses itself at the elbow, which would leave a hole.
            paint(sheet, [oval(elbow[0], elbow[1], widths[2] * 0.9, widths[2] * 0.9)], fill)
        fill_cloth(sheet, [tube(line, widths, share, crown=0.62)], piece, fill, marks, rng)
