"""Accessories: hats, neckwear, wristwear, rings, belts and bags."""

from __future__ import annotations

import numpy as np

from ingest.lookbook.figure import Body
from ingest.lookbook.head import beside, head_middle
from ingest.lookbook.paper import Mark, Sheet, crescent, oval, paint, smooth, stroke, tinted
from ingest.lookbook.wardrobe import COLOURS, Extras


def draw_hat(sheet: Sheet, body: Body, extras: Extras) -> None:
    """Draw a hat on the head."""
    x, y = head_middle(body)
    colour = (226, 200, 150) if extras.hat == "straw" else COLOURS[extras.colour]
    edge = tinted(colour, 1.25) if sum(colour) < 200 else tinted(colour, 0.68)
    facing = body.shot.facing if body.shot.turn == "side" else 0
    if extras.hat == "beanie":
        half = [(4.6, y - 5.0), (4.7, y - 2.0)]
        dome = smooth([*beside(x, half[::-1], -1), (x, y - 8.6), *beside(x, half)])
        rib = [(-4.9, -3.8), (0.0, -4.4), (4.9, -3.8), (4.9, -1.5), (0.0, -2.0), (-4.9, -1.5)]
        lines = [Mark(np.array([(x + k, y - 5), (x + k, y - 1)]), edge, 0.16) for k in (-3, -1.5, 0, 1.5, 3)]
        paint(sheet, [dome], colour, (), edge)
        paint(sheet, [smooth([(x + a, y + b) for a, b in rib])], tinted(colour, 0.88), lines, edge)
        return
    half = [(1.6, y - 8.2), (4.2, y - 6.4), (4.5, y - 2.6)]
    crown = smooth([*beside(x, half[::-1], -1), (x, y - 7.6), *beside(x, half)])
    shade = Mark(crescent((x + 3.0, y - 7.0), (x + 3.4, y - 2.6), -0.6, 0.9), (0, 0, 0, 40))
    if extras.hat == "cap":
        paint(sheet, [crown], colour, [shade, Mark(np.array([(x, y - 9), (x, y - 2)]), edge, 0.2)], edge)
        if body.shot.turn != "back":
            high, low = x + facing * 2.2, x + facing * 4.0
            top = [(high - 4.4, y - 3.0), (x + facing * 3, y - 3.8), (high + 4.4, y - 3.0)]
            peak = smooth([*top, (low + 3.6, y - 1.5), (low, y - 1.9), (low - 3.6, y - 1.5)])
            paint(sheet, [peak], tinted(colour, 0.85), (), edge)
        return
    half = [(5.0, y - 3.6), (8.6, y - 2.4), (4.0, y - 1.6)]
    brim = smooth([*beside(x, half[::-1], -1), *beside(x, half)])
    band = np.array([(x - 5, y - 4.8), (x + 5, y - 4.8), (x + 5, y - 3.2), (x - 5, y - 3.2)])
    paint(sheet, [brim], tinted(colour, 0.94), (), edge)
    paint(sheet, [crown], colour, [shade, Mark(band, tinted(colour, 0.5))], edge)


def draw_neckwear(sheet: Sheet, body: Body, extras: Extras) -> None:
    """Draw a necklace with a pendant, or a scarf."""
    if extras.neckwear == "necklace":
        gold = (206, 162, 70)
        chain = smooth([(-2.3, 15.4), (-1.6, 18.2), (0.0, 20.6), (1.6, 18.2), (2.3, 15.4)], closed=False)
        stroke(sheet, chain * (body.slim, 1.0), gold, 0.34)
        paint(sheet, [oval(0.0, 21.3, 0.7, 0.8)], gold, (), tinted(gold, 0.7))
        return
    colour = COLOURS[extras.colour]
    edge = tinted(colour, 0.68)
    lines = [Mark(crescent((-3.6, 15.0 + k), (3.6, 15.4 + k), 0.5, 0.3), (0, 0, 0, 50)) for k in (0.0, 1.4)]
    tail = smooth([(0.6, 17.0), (3.2, 17.2), (3.6, 30.0), (3.6, 30.0), (0.8, 30.4), (0.8, 30.4)])
    stripes = [Mark(np.array([(0, k), (5, k)]), tinted(colour, 1.5), 0.5) for k in (26.4, 28.2)]
    paint(sheet, [tail * (body.slim, 1.0)], colour, stripes, edge)
    wrap = smooth([(-3.4, 13.0), (0.0, 14.2), (3.4, 13.0), (4.6, 16.0), (2.8, 18.4), (-2.8, 18.4), (-4.6, 16.0)])
    paint(sheet, [wrap], colour, lines, edge)


def draw_wrist(sheet: Sheet, body: Body, extras: Extras, side: int) -> None:
    """Draw a watch or bracelets around the wrist."""
    _, elbow, wrist = body.arms[side]
    dx, dy = wrist[0] - elbow[0], wrist[1] - elbow[1]
    length = float(np.hypot(dx, dy))
    nx, ny = -dy / length, dx / length
    half = 1.5 if body.person.woman else 1.8
    metal = (206, 162, 70)
    for back in (0.3, 1.1) if extras.wrist == "bracelet" else (0.5,):
        at = (wrist[0] - dx / length * back, wrist[1] - dy / length * back)
        ends = np.array([(at[0] - nx * half, at[1] - ny * half), (at[0] + nx * half, at[1] + ny * half)])
        stroke(
            sheet,
            ends,
            metal if extras.wrist == "bracelet" else (58, 44, 40),
            0.45 if extras.wrist == "bracelet" else 0.9,
        )
        if extras.wrist == "watch":
            paint(sheet, [oval(at[0], at[1], 1.0, 1.0)], (240, 238, 230), (), (58, 44, 40))


def draw_ring(sheet: Sheet, body: Body, side: int) -> None:
    """Draw a ring on a finger."""
    _, elbow, wrist = body.arms[side]
    dx, dy = wrist[0] - elbow[0], wrist[1] - elbow[1]
    length = float(np.hypot(dx, dy))
    at = (wrist[0] + dx / length * 3.7, wrist[1] + dy / length * 3.7)
    paint(sheet, [oval(at[0], at[1], 0.55, 0.55)], (236, 188, 70), (), (150, 104, 30))


def draw_belt(sheet: Sheet, body: Body, extras: Extras) -> None:
    """Draw a belt with a buckle around the waist."""
    wide = body.half(37.8) + 0.9
    x = body.middle(37.8)
    colour = COLOURS[extras.colour]
    edge = tinted(colour, 1.3) if sum(colour) < 200 else tinted(colour, 0.65)
    strap = smooth(
        [
            (x - wide, 36.8),
            (x, 37.3),
            (x + wide, 36.8),
            (x + wide, 36.8),
            (x + wide, 38.6),
            (x, 39.2),
            (x - wide, 38.6),
            (x - wide, 36.8),
        ],
        steps=4,
    )
    paint(sheet, [strap], colour, (), edge)
    if body.shot.turn != "back":
        x += 1.2 * body.shot.facing if body.slim < 1 else 0.0
        frame = np.array([(x - 1.2, 37.0), (x + 1.2, 37.0), (x + 1.2, 39.4), (x - 1.2, 39.4), (x - 1.2, 37.0)])
        stroke(sheet, frame, (222, 184, 96), 0.42)


def draw_bag(sheet: Sheet, body: Body, extras: Extras) -> None:
    """Draw a handbag in the right hand of the picture, or a bag on a strap across the body."""
    colour = COLOURS[extras.colour]
    edge = tinted(colour, 1.3) if sum(colour) < 200 else tinted(colour, 0.65)
    if extras.bag == "hand":
        x, y = body.arms[1][2]
        x, y = x + 0.6, y + 4.0
        loop = smooth([(x - 2.0, y + 3.6), (x - 1.4, y), (x + 1.4, y), (x + 2.0, y + 3.6)], closed=False)
        stroke(sheet, loop, edge, 0.6)
        bag = smooth(
            [
                (x - 3.6, y + 3.4),
                (x - 3.6, y + 3.4),
                (x + 3.6, y + 3.4),
                (x + 3.6, y + 3.4),
                (x + 4.6, y + 10.0),
                (x + 3.6, y + 11.0),
                (x - 3.6, y + 11.0),
                (x - 4.6, y + 10.0),
            ]
        )
    else:
        side = body.shot.facing
        strap = smooth([(-side * 4.6 * body.slim, 16.6), (side * 1.0, 30.0), (side * 7.4, 46.0)], closed=False)
        stroke(sheet, strap, edge, 0.7)
        x, y = side * 7.8, 43.0
        bag = smooth(
            [
                (x - 3.2, y + 3.0),
                (x - 3.2, y + 3.0),
                (x + 3.2, y + 3.0),
                (x + 3.2, y + 3.0),
                (x + 3.5, y + 8.0),
                (x + 2.6, y + 8.8),
                (x - 2.6, y + 8.8),
                (x - 3.5, y + 8.0),
            ]
        )
    flap = smooth([(x - 3.6, y + 3.0), (x + 3.6, y + 3.0), (x + 3.0, y + 5.8), (x, y + 6.6), (x - 3.0, y + 5.8)])
    paint(sheet, [bag], colour, [Mark(flap, (0, 0, 0, 40))], edge)
    paint(sheet, [oval(x, y + 6.4, 0.5, 0.5)], (222, 184, 96))
