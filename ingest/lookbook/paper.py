"""The drawing sheet: smooth curves in body units, filled with cloth, shaded and outlined in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Spot = tuple[float, float]
"""A place on the sheet in body units: x from the spine to the right, y down from the crown; the figure is 100 high."""
Curve = npt.NDArray[np.float64]
"""Points of a line or of a closed outline: (n, 2), float64, x and y in body units."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A canvas at twice the shipped size, and where on it the body units lie."""

    image: Image.Image
    scale: float
    left: float
    top: float

    def pixels(self, curve: Curve) -> list[tuple[int, int]]:
        """Return a curve in whole pixels, so that rounding of floats never reaches the picture."""
        placed = np.rint(curve * self.scale + (self.left, self.top)).astype(np.int64)
        return list(map(tuple, placed.tolist()))

    def width(self, units: float) -> int:
        """Return a length in whole pixels, at least one."""
        return max(1, round(units * self.scale))


@dataclass(frozen=True, slots=True)
class Mark:
    """Something drawn onto a piece and clipped by its outline: an area, or a line where ``width`` is not 0."""

    curve: Curve
    colour: tuple[int, ...]
    width: float = 0.0


def paint(
    sheet: Sheet,
    outlines: Sequence[Curve],
    fill: Image.Image | Colour,
    marks: Sequence[Mark] = (),
    edge: Colour | None = None,
) -> None:
    """Fill the union of closed outlines with a colour, or with cloth of the canvas's size, then marks and contours."""
    shapes = [sheet.pixels(outline) for outline in outlines]
    xs = [x for shape in shapes for x, _ in shape]
    ys = [y for shape in shapes for _, y in shape]
    box = (max(min(xs), 0), max(min(ys), 0), min(max(xs) + 1, sheet.image.width), min(max(ys) + 1, sheet.image.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    size = (box[2] - box[0], box[3] - box[1])
    mask = Image.new("L", size, 0)
    stencil = ImageDraw.Draw(mask)
    for shape in shapes:
        stencil.polygon(moved(shape, box), fill=255)
    part = Image.new("RGB", size, fill) if isinstance(fill, tuple) else fill.crop(box)
    pen = ImageDraw.Draw(part, "RGBA")
    for mark in marks:
        path = moved(sheet.pixels(mark.curve), box)
        if mark.width:
            pen.line(path, fill=mark.colour, width=sheet.width(mark.width), joint="curve")
        else:
            pen.polygon(path, fill=mark.colour)
    if edge is not None:
        for shape in shapes:
            path = moved(shape, box)
            pen.line([*path, path[0]], fill=edge, width=max(3, sheet.width(0.34)))
    sheet.image.paste(part, box[:2], mask)


def stroke(sheet: Sheet, curve: Curve, colour: tuple[int, ...], width: float) -> None:
    """Draw a line straight onto the sheet."""
    pen = ImageDraw.Draw(sheet.image, "RGBA")
    pen.line(sheet.pixels(curve), fill=colour, width=sheet.width(width), joint="curve")


def moved(shape: Sequence[tuple[int, int]], box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Return pixels relative to the corner of a box."""
    return [(x - box[0], y - box[1]) for x, y in shape]


def smooth(points: Sequence[Spot] | Curve, closed: bool = True, steps: int = 6) -> Curve:
    """Return a Catmull-Rom spline through the points (Catmull and Rom 1974); a point given twice is a corner."""
    spots = np.asarray(points, dtype=np.float64)
    if closed:
        before, after = np.concatenate((spots[-1:], spots[:-1])), np.concatenate((spots[1:], spots[:1]))
    else:
        before, after = np.concatenate((spots[:1], spots[:-1])), np.concatenate((spots[1:], spots[-1:]))
    slope = (after - before) * 0.5
    slope[(spots == before).all(axis=1) | (spots == after).all(axis=1)] = 0.0
    ends, end_slope = (after, np.concatenate((slope[1:], slope[:1]))) if closed else (spots[1:], slope[1:])
    starts, start_slope = (spots, slope) if closed else (spots[:-1], slope[:-1])
    corners = np.stack((starts, ends, start_slope, end_slope), axis=1)
    curve = (hermite(steps) @ corners).reshape(-1, 2)
    return curve if closed else np.concatenate((curve, spots[-1:]))


@cache
def hermite(steps: int) -> Curve:
    """Return the weights of start, end and the slopes at both, at ``steps`` places between them: (steps, 4)."""
    t = np.arange(steps) / steps
    return np.stack((2 * t**3 - 3 * t**2 + 1, 3 * t**2 - 2 * t**3, t**3 - 2 * t**2 + t, t**3 - t**2), axis=1)


def tube(line: Sequence[Spot], widths: Sequence[float], until: float = 1.0, crown: float = 0.0) -> Curve:
    """Return the outline of a limb: a smooth middle line with half widths along it, cut after a share ``until``.

    ``crown`` rounds its beginning, by that share of the half width.
    """
    spine, along, across = ribbed(line, widths, until)
    if not crown:
        return np.concatenate((spine + across, (spine - across)[::-1]))
    turn = np.linspace(0.0, np.pi, 9)[1:-1, None]
    reach = float(np.hypot(across[0, 0], across[0, 1])) * crown
    cap = spine[0] - across[0] * np.cos(turn) - along[0] * reach * np.sin(turn)
    return np.concatenate((cap, spine + across, (spine - across)[::-1]))


def shaded_side(line: Sequence[Spot], widths: Sequence[float], until: float = 1.0, share: float = 0.36) -> Curve:
    """Return the strip of a limb that is turned from the light, which comes from the left."""
    spine, _, across = ribbed(line, widths, until)
    across = np.where(across[:, :1] >= 0, across, -across)
    return np.concatenate((spine + across * (1 - share), (spine + across * 1.2)[::-1]))


def ribbed(line: Sequence[Spot], widths: Sequence[float], until: float) -> tuple[Curve, Curve, Curve]:
    """Return a limb's middle line, its unit direction, and what lies across it, each of shape (n, 2)."""
    spine = smooth(line, closed=False, steps=8)
    base = np.arange(len(spine), dtype=np.float64)
    kept = base * until
    spine = np.stack((np.interp(kept, base, spine[:, 0]), np.interp(kept, base, spine[:, 1])), axis=1)
    half = np.interp(kept, np.linspace(0, len(spine) - 1, len(widths)), widths)
    along = np.concatenate((spine[1:2] - spine[:1], spine[2:] - spine[:-2], spine[-1:] - spine[-2:-1]))
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    return spine, along, np.stack((-along[:, 1], along[:, 0]), axis=1) * half[:, None]


def crescent(start: Spot, end: Spot, bow: float, width: float) -> Curve:
    """Return a thin bowed shape that tapers at both ends: a fold, a highlight, an eyebrow."""
    (x0, y0), (x1, y1) = start, end
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    nx, ny = -(y1 - y0) / length, (x1 - x0) / length
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    outer = (mx + nx * (bow + width), my + ny * (bow + width))
    inner = (mx + nx * bow, my + ny * bow)
    return smooth([start, start, outer, end, end, inner], steps=5)


def oval(x: float, y: float, rx: float, ry: float) -> Curve:
    """Return an ellipse."""
    angle = np.arange(20) * (np.pi / 10)
    return np.stack((x + rx * np.cos(angle), y + ry * np.sin(angle)), axis=1)


def tinted(colour: Colour, factor: float) -> Colour:
    """Return a darker (below 1) or lighter (above 1, towards white) colour."""
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    lift = factor - 1
    return tuple(int(channel + (255 - channel) * lift) for channel in colour)  # type: ignore[return-value]
