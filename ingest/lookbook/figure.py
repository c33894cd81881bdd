"""The person: joints of a pose, and the body under the clothes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ingest.lookbook.paper import Colour, Mark, Sheet, Spot, crescent, paint, shaded_side, smooth, tinted, tube
from ingest.lookbook.wardrobe import Person, Shot

SKINS: tuple[Colour, ...] = (
    (250, 222, 204), (240, 202, 176), (228, 184, 150), (206, 156, 120), (170, 118, 84), (130, 86, 60), (92, 60, 44),
)  # fmt: skip

WOMAN = (
    (15.5, 2.5),
    (17.6, 7.6),
    (22.0, 6.5),
    (26.0, 6.9),
    (30.5, 5.7),
    (36.0, 5.0),
    (41.0, 6.4),
    (46.0, 7.5),
    (50.0, 7.6),
)
MAN = (
    (15.5, 3.1),
    (17.4, 9.8),
    (22.0, 8.6),
    (26.0, 8.4),
    (30.5, 7.7),
    (36.0, 7.0),
    (41.0, 6.9),
    (46.0, 7.1),
    (50.0, 7.2),
)
ARMS: dict[str, tuple[float, float]] = {
    "down": (9.0, 3.0), "relaxed": (17.0, 4.0), "hip": (40.0, -56.0), "bent": (12.0, -62.0), "pocket": (24.0, -24.0),
    "raised": (126.0, 246.0),
}  # fmt: skip
"""Angle of upper arm and forearm from hanging straight down, in degrees, outwards positive."""
STANCES: dict[str, tuple[float, tuple[float, float], tuple[float, float]]] = {
    "straight": (0.0, (3.9, 3.0), (3.9, 3.0)),
    "apart": (0.0, (5.0, 6.4), (5.0, 6.4)),
    "contrapposto": (1.5, (4.2, 2.6), (5.6, 6.0)),
    "walking": (0.8, (3.8, 1.2), (4.2, 4.6)),
    "crossed": (1.0, (3.3, 0.6), (3.6, 3.0)),
}
"""Shift of the hips, then x of knee and ankle from the middle, for either leg; the first carries the weight."""


@dataclass(frozen=True, slots=True)
class Body:
    """Where the joints of one figure are, in body units; ``side`` -1 is the left of the picture."""

    person: Person
    shot: Shot
    arms: dict[int, tuple[Spot, Spot, Spot]]
    legs: dict[int, tuple[Spot, Spot, Spot]]
    sway: float
    slim: float
    """How much a turned body narrows: 1 seen from the front or the back."""

    @property
    def skin(self) -> Colour:
        """The colour of the skin."""
        return SKINS[self.person.skin]

    def half(self, y: float) -> float:
        """Return the half width of the trunk at a height."""
        profile = WOMAN if self.person.woman else MAN
        ys, widths = zip(*profile, strict=True)
        return float(np.interp(y, ys, widths)) * self.slim * (self.person.build if y > 20 else 1.0)

    def middle(self, y: float) -> float:
        """Return x of the middle line at a height: the hips sway, and a turned chest leans forward."""
        share = min(max((y - 17.0) / 29.0, 0.0), 1.0)
        bulge = 0.0
        if self.slim < 1.0:
            bulge = 0.9 * math.exp(-(((y - 26.0) / 5.0) ** 2)) - 0.5 * math.exp(-(((y - 45.0) / 6.0) ** 2))
        return self.sway * share * share * (3 - 2 * share) + bulge * self.shot.facing


def pose(person: Person, shot: Shot) -> Body:
    """Return the joints of a person in the pose of a shot."""
    turned = shot.turn == "side"
    slim = 0.7 if turned else 1.0
    lead = shot.facing
    sway, first, second = STANCES[shot.stance]
    sway *= -lead
    spread = 0.55 if turned else 1.0
    legs, arms = {}, {}
    for side in (-1, 1):
        knee, ankle = first if side == -lead else second
        hip = (sway + side * 3.7 * spread, 47.0)
        stride = (1.8 if side == lead else -1.2) * lead if turned else 0.0
        legs[side] = (
            hip,
            (sway * 0.6 + side * knee * spread + stride * 0.5, 71.0),
            (side * ankle * spread + stride, 93.0),
        )
        reach = (7.0 if person.woman else 8.8) * (0.34 if turned else 1.0)
        upper, fore = (math.radians(a) for a in ARMS[shot.arm(side)])
        swing = side * (0.55 if turned else 1.0)
        shoulder = (side * reach, 18.9)
        elbow = (shoulder[0] + swing * 14.4 * math.sin(upper), shoulder[1] + 14.4 * math.cos(upper))
        wrist = (elbow[0] + swing * 12.4 * math.sin(fore), elbow[1] + 12.4 * math.cos(fore))
        arms[side] = (shoulder, elbow, wrist)
    return Body(person, shot, arms, legs, sway, slim)


def arm_widths(body: Body) -> tuple[float, float, float, float, float]:
    """Return half widths of an arm from shoulder to wrist."""
    return (1.9, 1.7, 1.45, 1.4, 0.95) if body.person.woman else (2.6, 2.4, 1.95, 1.85, 1.25)


def leg_widths(body: Body) -> tuple[float, float, float, float, float]:
    """Return half widths of a leg from hip to ankle."""
    return (4.1, 3.5, 2.35, 2.4, 1.2) if body.person.woman else (4.2, 3.7, 2.7, 2.6, 1.5)


def trunk(body: Body, top: float, bottom: float, ease: float = 0.0) -> tuple[list[Spot], list[Spot]]:
    """Return left and right edge of the trunk from ``top`` down to ``bottom``, wider by ``ease``."""
    heights = [top, *(y for y in (20.0, 22.0, 26.0, 30.5, 36.0, 41.0, 46.0) if top + 0.8 < y < bottom - 0.8), bottom]
    left, right = [], []
    for y in heights:
        half = body.half(y) + ease * min(1.0, max(0.0, (y - 17.0) / 8.0))
        left.append((body.middle(y) - half, y))
        right.append((body.middle(y) + half, y))
    return left, right


def draw_legs(sheet: Sheet, body: Body) -> None:
    """Draw bare legs."""
    for side in (-body.shot.facing, body.shot.facing):
        shade = shaded_side(body.legs[side], leg_widths(body))
        limb = tube(body.legs[side], leg_widths(body))
        paint(sheet, [limb], body.skin, [Mark(shade, (*tinted(body.skin, 0.72), 70))], tinted(body.skin, 0.8))


def draw_trunk(sheet: Sheet, body: Body) -> None:
    """Draw the bare trunk and the neck."""
    left, right = trunk(body, 17.8, 50.0)
    neck = 1.9 if body.person.woman else 2.7
    skin = body.skin
    throat = [(neck + 1.6, 16.2), (neck * 0.95, 14.5), (neck, 10.5)]
    outline = [*((-x, y) for x, y in throat[::-1]), *left, *right[::-1], *throat]
    under = smooth([(-neck - 0.4, 11.0), (neck + 0.4, 11.0), (neck + 0.2, 13.2), (0.4, 15.0), (-neck - 0.2, 13.0)])
    marks = [Mark(under, (*tinted(skin, 0.68), 90))]
    if body.shot.turn == "front":
        for side in (-1, 1):
            bone = crescent((side * 1.0, 17.9), (side * 5.2, 17.0), side * -0.5, 0.28)
            marks.append(Mark(bone, (*tinted(skin, 0.75), 120)))
    paint(sheet, [smooth(outline)], skin, marks, tinted(skin, 0.8))


def draw_arm(sheet: Sheet, body: Body, side: int) -> None:
    """Draw one bare arm with its hand."""
    skin, line = body.skin, body.arms[side]
    if body.shot.arm(side) != "pocket":
        draw_hand(sheet, body, line[1], line[2])
    shade = shaded_side(line, arm_widths(body))
    limb = tube(line, arm_widths(body), crown=0.8)
    paint(sheet, [limb], skin, [Mark(shade, (*tinted(skin, 0.72), 60))], tinted(skin, 0.8))


def draw_hand(sheet: Sheet, body: Body, elbow: Spot, wrist: Spot) -> None:
    """Draw a hand with a thumb, in the direction of the forearm."""
    size = 1.0 if body.person.woman else 1.2
    dx, dy = wrist[0] - elbow[0], wrist[1] - elbow[1]
    length = math.hypot(dx, dy)
    dx, dy = dx / length, dy / length
    inward = 1 if -dy * wrist[0] < 0 else -1

    def spots(*places: tuple[float, float]) -> list[Spot]:
        return [
            (wrist[0] + (dx * along - dy * across) * size, wrist[1] + (dy * along + dx * across) * size)
            for along, across in places
        ]

    palm = spots((-0.6, -0.9), (1.4, -1.25), (3.4, -1.0), (5.0, -0.2), (4.8, 0.5), (2.6, 1.2), (-0.6, 0.9))
    thumb = spots((0.2, 0.5 * inward), (1.4, 1.6 * inward), (3.0, 1.7 * inward), (2.2, 0.9 * inward))
    start, end = spots((2.6, 0.1), (4.6, 0.2))
    dark = tinted(body.skin, 0.8)
    paint(sheet, [smooth(thumb)], body.skin, (), dark)
    paint(sheet, [smooth(palm)], body.skin, [Mark(crescent(start, end, 0.1, 0.14), (*dark, 200))], dark)
