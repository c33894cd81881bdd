"""The studio: its wall, the shadow on its floor, and what stands there: shoes and socks."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ingest.lookbook.figure import Body, leg_widths
from ingest.lookbook.paper import Colour, Mark, Sheet, paint, shaded_side, smooth, tinted, tube
from ingest.lookbook.wardrobe import COLOURS, Extras

BACKDROPS: tuple[tuple[Colour, Colour], ...] = (
    ((244, 242, 239), (226, 223, 218)), ((240, 236, 230), (219, 210, 199)), ((232, 238, 243), (206, 217, 227)),
    ((245, 234, 230), (227, 208, 202)), ((234, 240, 232), (209, 220, 206)), ((242, 240, 246), (217, 213, 227)),
    ((248, 243, 228), (230, 220, 195)), ((228, 228, 230), (201, 202, 206)), ((251, 250, 248), (235, 234, 231)),
    ((226, 236, 236), (198, 213, 214)), ((243, 230, 220), (222, 202, 187)), ((236, 232, 226), (208, 202, 194)),
)  # fmt: skip


@cache
def wall(size: tuple[int, int], number: int) -> Image.Image:
    """Return a studio background: a wall graded from light to its second colour."""
    light, dark = BACKDROPS[number % len(BACKDROPS)]
    ramp = np.linspace(0.0, 1.0, size[1])[:, None] ** 1.5
    column = np.rint(np.array(light) * (1 - ramp) + np.array(dark) * ramp).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(column[:, None, :], (size[1], size[0], 3))))


def floor_shadow(sheet: Sheet, body: Body) -> None:
    """Draw the soft shadow in which the feet stand."""
    x, y = sheet.pixels(np.array([(body.sway * 0.3 + 1.5, 98.3)]))[0]
    mask = puddle(sheet.width(20.0), sheet.width(4.4))
    sheet.image.paste((52, 46, 50), (x - mask.width // 2, y - mask.height // 2), mask)


@cache
def puddle(wide: int, high: int) -> Image.Image:
    """Return a blurred ellipse as a mask, with room for its blur."""
    mask = Image.new("L", (wide * 2, high * 2), 0)
    ImageDraw.Draw(mask).ellipse((wide // 4, high // 2, wide * 2 - wide // 4, high * 2 - high // 2), fill=78)
    return mask.filter(ImageFilter.GaussianBlur(high // 4))


def draw_shoes(sheet: Sheet, body: Body, extras: Extras) -> None:
    """Draw both feet in shoes, after the socks."""
    colour = COLOURS[extras.shoe_colour]
    edge = tinted(colour, 1.25) if sum(colour) < 200 else tinted(colour, 0.68)
    size = 1.0 if body.person.woman else 1.15
    turned = body.shot.turn == "side"
    for side in (-body.shot.facing, body.shot.facing):
        x, y = body.legs[side][2]
        toe = body.shot.facing if turned else side * 0.45
        reach = (3.6 if turned else 1.3) * size
        heel = 1.6 * size
        sole = 98.2
        top = y - (5.0 if extras.shoes == "boots" else 0.6)
        if extras.shoes in ("heels", "flats", "loafers"):
            instep = smooth(
                [
                    (x - 1.2, y - 1.0),
                    (x + 1.2, y - 1.0),
                    (x + toe * reach * 0.5 + 1.3, 97.0),
                    (x + toe * reach * 0.5 - 1.3, 97.0),
                ]
            )
            paint(sheet, [instep], body.skin, (), tinted(body.skin, 0.8))
            top = 95.4
        wide = 1.5 * size
        outline = smooth(
            [
                (x - wide, top),
                (x - wide, top),
                (x + wide, top),
                (x + wide, top),
                (x + wide + max(toe, 0) * reach, 96.4),
                (x + wide + max(toe, 0) * reach * 1.1, sole),
                (x + wide, sole + 0.3),
                (x - wide, sole + 0.3),
                (x - wide + min(toe, 0) * reach * 1.1, sole),
                (x - wide + min(toe, 0) * reach, 96.4),
            ]
        )
        base = tinted(colour, 0.6) if extras.shoes != "sneakers" else (250, 250, 250)
        marks = [
            Mark(np.array([(x - 9, sole - 0.7), (x + 9, sole - 0.7), (x + 9, sole + 2), (x - 9, sole + 2)]), base)
        ]
        if extras.shoes == "sneakers":
            marks += [
                Mark(np.array([(x - 0.7 + toe * 0.8, k), (x + 0.9 + toe * 0.8, k)]), (255, 255, 255, 220), 0.26)
                for k in (94.6, 95.6)
            ]
        if extras.shoes == "heels":
            back = -body.shot.facing if turned else 0
            pin = np.array(
                [
                    (x + back * heel - 0.3, 96.5),
                    (x + back * heel + 0.3, 96.5),
                    (x + back * heel + 0.2, sole + 1.2),
                    (x + back * heel - 0.2, sole + 1.2),
                ]
            )
            paint(sheet, [pin], colour, (), edge)
        paint(sheet, [outline], colour, marks, edge)


def draw_socks(sheet: Sheet, body: Body, extras: Extras) -> None:
    """Draw socks up to the calf, or opaque leggings over the whole leg."""
    colour = (246, 244, 238) if extras.shoe_colour != "white" else COLOURS[extras.colour]
    if extras.socks == "leggings":
        colour = (46, 44, 50)
    edge = tinted(colour, 1.22) if sum(colour) < 200 else tinted(colour, 0.75)
    for side in (-body.shot.facing, body.shot.facing):
        _, knee, ankle = body.legs[side]
        if extras.socks == "leggings":
            widths = [w + 0.12 for w in leg_widths(body)]
            shade = Mark(shaded_side(body.legs[side], widths), (255, 255, 255, 26))
            paint(sheet, [tube(body.legs[side], widths)], colour, [shade], edge)
        else:
            x, y = knee[0] + (ankle[0] - knee[0]) * 0.62, knee[1] + (ankle[1] - knee[1]) * 0.62
            bands = [Mark(np.array([(x - 3, y + k), (x + 3, y + k)]), edge, 0.3) for k in (0.8, 1.6)]
            paint(sheet, [tube(((x, y), ankle, (ankle[0], ankle[1] + 2.0)), (2.1, 1.5, 1.5))], colour, bands, edge)
