"""The head: face, hair from every side, glasses."""

from __future__ import annotations

import numpy as np

from ingest.lookbook.figure import Body
from ingest.lookbook.paper import Colour, Mark, Sheet, Spot, crescent, oval, paint, smooth, stroke, tinted
from ingest.lookbook.wardrobe import Person

HAIRS: tuple[Colour, ...] = (
    (34, 28, 30), (58, 40, 32), (96, 62, 40), (140, 92, 52), (204, 160, 96), (232, 204, 148), (156, 66, 40),
    (170, 168, 170),
)  # fmt: skip


def head_middle(body: Body) -> Spot:
    """Return the middle of the head."""
    return (0.5 * body.shot.facing if body.shot.turn == "side" else 0.0, 6.6)


def draw_head(sheet: Sheet, body: Body) -> None:
    """Draw the head: the face from the front, half of it turned away from the side, only hair from the back."""
    x, y = head_middle(body)
    skin, dark = body.skin, tinted(body.skin, 0.78)
    jaw = 0.0 if body.person.woman else 0.35
    side = body.shot.facing if body.shot.turn == "side" else 0
    for ear in (-1, 1):
        if ear != side:
            paint(sheet, [oval(x + ear * 3.95 - side * 0.5, y + 0.8, 0.8, 1.3)], skin, (), dark)
    half = [(3.2, y - 4.0), (3.95, y - 0.4), (3.5 + jaw * 0.5, y + 2.6), (2.0 + jaw, y + 4.7)]
    chin = (x + side * 0.5, y + 5.6)
    face = smooth([(x, y - 5.6), *beside(x, half), chin, *beside(x, half[::-1], -1)])
    cheek = smooth(
        [
            (x + 2.0, y - 4.0),
            (x + 4.2, y - 1.0),
            (x + 3.6, y + 3.4),
            (x + 1.2, y + 5.8),
            (x + 2.6, y + 2.4),
            (x + 3.0, y),
        ]
    )
    marks = [Mark(cheek, (*tinted(skin, 0.75), 60))]
    if body.person.beard:
        beard = smooth(
            [
                (x - 4.4, y + 0.6),
                (x - 2.6, y + 2.0),
                (x, y + 1.9),
                (x + 2.6, y + 2.0),
                (x + 4.4, y + 0.6),
                (x + 3.6, y + 6.4),
                (x, y + 7.0),
                (x - 3.6, y + 6.4),
            ]
        )
        marks.append(Mark(beard, (*HAIRS[body.person.hair_colour], 200)))
    paint(sheet, [face], skin, marks, dark)
    if body.shot.turn != "back":
        draw_face(sheet, body, x + side * 1.0, y, side)
    draw_hair(sheet, body, x, y, side)


def draw_face(sheet: Sheet, body: Body, x: float, y: float, side: int) -> None:
    """Draw brows, eyes, nose and mouth."""
    skin, woman = body.skin, body.person.woman
    ink = (52, 40, 40)
    brow = tinted(HAIRS[body.person.hair_colour], 0.8)
    for eye in (-1, 1):
        near = 0.78 if eye == side else 1.0
        ex = x + eye * 1.75 * near
        paint(
            sheet, [crescent((ex - 0.85 * near, y + 0.35), (ex + 0.85 * near, y + 0.35), -0.55, 1.0)], (250, 248, 246)
        )
        paint(sheet, [oval(ex + side * 0.15, y + 0.3, 0.42, 0.5)], ink)
        paint(
            sheet,
            [crescent((ex - 1.0 * near, y + 0.3), (ex + 1.0 * near, y + 0.3), -0.75, 0.32 if woman else 0.22)],
            ink,
        )
        paint(
            sheet,
            [crescent((ex - 1.1 * near, y - 0.95), (ex + 1.1 * near, y - 0.95), -0.6, 0.3 if woman else 0.42)],
            brow,
        )
    paint(
        sheet,
        [crescent((x + 0.35 + side * 0.5, y + 0.9), (x + 0.1 + side * 0.5, y + 2.2), 0.35, 0.22)],
        tinted(skin, 0.72),
    )
    lips = (196, 84, 92) if woman else tinted(skin, 0.7)
    if body.person.skin > 4 and woman:
        lips = (150, 60, 70)
    wide = 1.25 if woman else 1.3
    paint(sheet, [crescent((x - wide, y + 3.3), (x + wide, y + 3.3), 0.0, 0.62 if woman else 0.4)], lips)
    paint(sheet, [crescent((x - wide, y + 3.3), (x + wide, y + 3.3), -0.3, 0.34)], tinted(lips, 0.85))


def draw_hair_behind(sheet: Sheet, body: Body) -> None:
    """Draw the hair that falls behind neck and shoulders; seen from the back it is drawn last instead."""
    person, (x, y) = body.person, head_middle(body)
    fill = tinted(HAIRS[person.hair_colour], 0.86)
    edge = tinted(fill, 0.75)
    if not person.woman:
        return
    back = -0.9 * body.shot.facing if body.shot.turn == "side" else 0.0
    x += back
    if person.hair in DROPS:
        drop = DROPS[person.hair]
        wide, swell = (5.2, 0.7) if person.hair == "wavy" else (4.5, 0.0)
        half = [(wide, y - 2.5), (wide + swell, y + drop * 0.45), (wide - 0.4, y + drop)]
        outline = smooth([(x, y - 6.2), *beside(x, half), (x, y + drop + 1.0), *beside(x, half[::-1], -1)])
        paint(sheet, [outline], fill, strands(x, y, wide, drop, edge), edge)
    elif person.hair == "ponytail":
        tip = x + back * 2
        tail = [(x, y - 4.0), (tip + 3.6, y - 1.0), (tip + 4.6, y + 9.0), (tip + 2.6, y + 14.0), (x + 2.0, y + 4.0)]
        paint(sheet, [smooth(tail)], fill, (), edge)
    elif person.hair == "bun":
        paint(sheet, [oval(x + back * 3, y - 6.6, 2.7, 2.4)], fill, (), edge)
    elif person.hair == "afro":
        paint(sheet, [oval(x, y - 1.2, 7.2, 7.4)], fill, (), edge)


def draw_hair(sheet: Sheet, body: Body, x: float, y: float, side: int) -> None:
    """Draw the hair on top of the head; from the back, all of it."""
    person = body.person
    fill = HAIRS[person.hair_colour]
    edge, gleam = tinted(fill, 0.75), (*tinted(fill, 1.35), 130)
    if body.shot.turn == "back":
        draw_hair_from_behind(sheet, person, x, y)
        return
    turn = side * 0.9
    outer, part = next(shape for styles, shape in CAPS if person.hair in styles)
    outline = [*beside(x, outer[::-1], -1), *beside(x, outer), *((x + a + turn * b, y + c) for a, b, c in part)]
    placed = [(a, b + y) for a, b in outline[: 2 * len(outer)]] + outline[2 * len(outer) :]
    paint(
        sheet, [smooth(placed)], fill, [Mark(crescent((x - 2.8, y - 4.4), (x + 1.2, y - 5.2), -0.5, 0.6), gleam)], edge
    )
    if person.hair == "knot":
        paint(sheet, [oval(x - side * 2.0, y - 6.8, 1.8, 1.6)], fill, (), edge)


def draw_hair_from_behind(sheet: Sheet, person: Person, x: float, y: float) -> None:
    """Draw the back of the head."""
    fill = HAIRS[person.hair_colour]
    edge, gleam = tinted(fill, 0.75), (*tinted(fill, 1.35), 130)
    low = DROPS.get(person.hair, 3.6)
    wide = (5.4 if person.hair == "wavy" else 4.6) * (1 if low > 5 else 0.8)
    half = [(3.6, y - 4.8), (4.5, y - 0.5), (wide, y + low)]
    cover = smooth([(x, y - 6.3), *beside(x, half), (x, y + low + 0.8), *beside(x, half[::-1], -1)])
    shine = Mark(crescent((x - 2.6, y - 4.0), (x + 2.0, y - 4.4), -0.8, 0.6), gleam)
    paint(sheet, [cover], fill, [*strands(x, y, 4.2, low, edge), shine], edge)
    if person.hair == "ponytail":
        tail = [(x - 1.0, y - 3.0), (x + 1.0, y - 3.0), (x + 2.2, y + 6.0), (x + 0.4, y + 15.0), (x - 1.8, y + 6.0)]
        paint(sheet, [smooth(tail)], fill, strands(x, y, 1.4, 12, edge), edge)
    if person.hair in ("bun", "knot"):
        paint(sheet, [oval(x, y - 4.4, 2.7, 2.5)], fill, (), edge)
    if person.hair in ("afro", "curly"):
        big = 7.0 if person.woman else 5.2
        paint(sheet, [oval(x, y - 1.4, big, big)], fill, (), edge)


def beside(x: float, half: list[Spot], side: int = 1) -> list[Spot]:
    """Return the right half of a symmetric outline around x, or with ``side`` -1 its mirror image."""
    return [(x + side * across, y) for across, y in half]


def strands(x: float, y: float, wide: float, drop: float, colour: Colour) -> list[Mark]:
    """Return lines that run down long hair."""
    return [
        Mark(crescent((x + wide * k * 0.6, y - 4), (x + wide * k, y + drop), 0.5 * k, 0.22), (*colour, 150))
        for k in (-0.75, -0.4, 0.1, 0.45, 0.8)
    ]


DROPS = {"long": 20.0, "wavy": 17.0, "bob": 7.0}
"""How far below the middle of the head hair reaches that is longer than the neck."""
Part = tuple[tuple[float, float, float], ...]
CAPS: tuple[tuple[tuple[str, ...], tuple[list[Spot], Part]], ...] = (
    (("buzz",), ([(0.8, -6.1), (3.5, -4.4), (4.1, -0.8)], ((3.1, 0, -3.0), (0.0, 1, -3.9), (-3.1, 0, -3.0)))),
    (("quiff",), ([(1.8, -8.2), (4.6, -4.1), (4.3, 0.4)], ((3.5, 0, -2.6), (0.0, 1, -3.2), (-3.5, 0, -2.6)))),
    (("curly", "afro"), ([(1.8, -7.4), (4.7, -4.1), (4.4, 0.4)], ((3.5, 0, -2.4), (0.0, 1, -3.0), (-3.5, 0, -2.4)))),
    (
        ("parted", "pixie", "bob"),
        ([(1.8, -6.6), (4.6, -2.8), (4.3, 1.4)], ((3.5, 0, -1.2), (1.6, 1, -2.0), (-2.2, 1, -4.2), (-3.5, 0, -1.0))),
    ),
    (
        ("short", "knot", "bun", "ponytail"),
        ([(2.2, -6.1), (4.3, -3.2), (4.15, 0.6)], ((3.3, 0, -2.2), (1.0, 1, -3.9), (-1.2, 1, -3.8), (-3.3, 0, -2.2))),
    ),
    (
        ("long", "wavy"),
        ([(2.4, -6.3), (4.7, -2.0), (4.6, 3.4)], ((3.5, 0, -0.6), (0.8, 1, -4.3), (-1.0, 1, -4.3), (-3.5, 0, -0.6))),
    ),
)
"""Per hair style: right half of the outer outline from the top, and the hairline (x, x per turn of the head, y)."""


def glasses(sheet: Sheet, body: Body, dark_lenses: bool) -> None:
    """Draw eyeglasses or sunglasses on the face."""
    x, y = head_middle(body)
    side = body.shot.facing if body.shot.turn == "side" else 0
    x += side * 1.0
    for eye in (-1, 1):
        near = 0.8 if eye == side else 1.0
        rim = smooth(
            [
                (x + eye * 0.5, y - 0.4),
                (x + eye * 1.9 * near, y - 0.8),
                (x + eye * 3.3 * near, y - 0.4),
                (x + eye * 3.0 * near, y + 1.5),
                (x + eye * 1.7 * near, y + 1.8),
                (x + eye * 0.7, y + 1.2),
            ]
        )
        if dark_lenses:
            shine = Mark(
                crescent((x + eye * 1.9 - 0.9, y + 0.9), (x + eye * 1.9 + 0.3, y - 0.5), 0.1, 0.4), (255, 255, 255, 90)
            )
            paint(sheet, [rim], (38, 36, 42), [shine])
        stroke(sheet, np.concatenate((rim, rim[:1])), (34, 30, 34), 0.34)
    stroke(sheet, smooth([(x - 0.6, y), (x, y - 0.3), (x + 0.6, y)], closed=False), (34, 30, 34), 0.34)
    for eye in (-1, 1):
        if eye != side:
            stroke(sheet, np.array([(x + eye * 3.2, y), (x + eye * 3.9 - side * 1.4, y - 0.1)]), (34, 30, 34), 0.34)
