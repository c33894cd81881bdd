"""The report's plots as hand-made SVG, to be set into the page: colours come from the page's own style sheet.

Classes: ``axis``, ``grid``, ``chance``, ``band``, ``line``, ``bar``, ``whisker``. Sizes are in user units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

from eval.examination import Curve, Group

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 16, 44


def recall_curve(curve: Curve) -> str:
    """Draw hit@K over K on a logarithmic axis, with its 95 % band and the level of chance."""
    last = max(curve.ks[-1], 2)
    top = _ceil_share(max(*curve.high, *curve.chance, 0.01))

    def x(k: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(k) / math.log(last)

    def y(share: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share / top

    upper = [(x(k), y(v)) for k, v in zip(curve.ks, curve.high, strict=True)]
    lower = [(x(k), y(v)) for k, v in zip(curve.ks, curve.low, strict=True)]
    parts = [_share_axis(top, y)]
    parts += [
        _text(x(k), _HEIGHT - _BOTTOM + 18, str(k), "middle") for k in (1, 2, 5, 10, 20, 50, 100) if k <= curve.ks[-1]
    ]
    parts += [
        _text(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 8, "K, the hits that are looked at", "middle"),
        f'<polygon class="band" points="{_points(upper + lower[::-1])}"/>',
        f'<polyline class="chance" points="{_points([(x(k), y(v)) for k, v in _pairs(curve.ks, curve.chance)])}"/>',
        f'<polyline class="line" points="{_points([(x(k), y(v)) for k, v in _pairs(curve.ks, curve.values)])}"/>',
    ]
    return _svg("hit@K over K, with its 95 % interval and the level of chance", _HEIGHT, parts)


def rank_histogram(first_ranks: Sequence[int | None], gallery: int) -> str:
    """Draw the share of queries by the rank of their photograph, in bins of doubling width; chance is dashed."""
    edges = [1]
    while edges[-1] <= gallery:
        edges.append(edges[-1] * 2)
    bins = list(pairwise(edges))
    ranks = [rank for rank in first_ranks if rank is not None]
    shares = [sum(low <= rank < high for rank in ranks) / max(1, len(first_ranks)) for low, high in bins]
    chance = [(min(high, gallery + 1) - low) / gallery for low, high in bins]
    names = [str(low) if high - low == 1 else f"{_short(low)}–{_short(min(high - 1, gallery))}" for low, high in bins]
    if len(ranks) < len(first_ranks):
        shares.append(1 - len(ranks) / len(first_ranks))
        chance.append(0.0)
        names.append("absent")
    top = _ceil_share(max(*shares, *chance, 0.01))
    step = (_WIDTH - _LEFT - _RIGHT) / len(shares)
    height = _HEIGHT - _TOP - _BOTTOM

    def y(share: float) -> float:
        return _HEIGHT - _BOTTOM - height * share / top

    parts = [_share_axis(top, y)]
    for number, (share, level, name) in enumerate(zip(shares, chance, names, strict=True)):
        left = _LEFT + number * step
        parts += [
            f'<rect class="bar" x="{left + 2:.1f}" y="{y(share):.1f}" width="{max(1.0, step - 4):.1f}" '
            f'height="{height * share / top:.1f}"><title>rank {escape(name)}: {share:.3f}</title></rect>',
            f'<line class="chance" x1="{left:.1f}" x2="{left + step:.1f}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>',
            _text(left + step / 2, _HEIGHT - _BOTTOM + (18 if number % 2 == 0 or step > 56 else 28), name, "middle"),
        ]
    parts.append(_text(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 5, "rank of the photograph", "middle"))
    return _svg("share of the queries by the rank of their photograph, and the level of chance", _HEIGHT, parts)


def group_bars(groups: Sequence[Group]) -> str:
    """Draw one bar a group, best first: hit@10 with its 95 % interval and the number of queries."""
    row, left, right = 20, 190, 96
    height = _TOP + row * len(groups) + 26
    top = _ceil_share(max([group.figure.high for group in groups] + [0.01]))

    def x(share: float) -> float:
        return left + (_WIDTH - left - right) * share / top

    parts = [
        f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{height - 26}"/>'
        + _text(x(tick), height - 8, _share(tick), "middle")
        for tick in _ticks(top)
    ]
    ordered = sorted(groups, key=lambda group: (-group.figure.value, group.value))
    for number, group in enumerate(ordered):
        one, middle = group.figure, _TOP + row * number + row / 2
        low, high, chance = x(one.low), x(one.high), x(min(top, one.chance or 0.0))
        parts += [
            _text(left - 8, middle + 4, _shortened(group.value), "end"),
            f'<rect class="bar" x="{left}" y="{middle - 6:.1f}" width="{x(one.value) - left:.1f}" height="12">'
            f"<title>{escape(group.value)}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]</title></rect>",
            f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>',
            f'<line class="chance" x1="{chance:.1f}" x2="{chance:.1f}" y1="{middle - 8:.1f}" y2="{middle + 8:.1f}"/>',
            _text(_WIDTH - 4, middle + 4, f"{one.value:.3f}  n={one.queries}", "end"),
        ]
    return _svg(f"hit@10 by {groups[0].field if groups else 'group'}", height, parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _share_axis(top: float, y: Callable[[float], float]) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        + _text(_LEFT - 8, y(tick) + 4, _share(tick), "end")
        for tick in _ticks(top)
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _pairs(ks: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    return list(zip(ks, values, strict=True))


def _ceil_share(share: float) -> float:
    """Round the top of a scale up to 1, 2, 2.5 or 5 times a power of ten, 1 at most."""
    power = 10.0 ** math.floor(math.log10(share))
    return min(1.0, next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= share * 0.999))


def _ticks(top: float) -> list[float]:
    return [top * part / 5 for part in range(6)]


def _share(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if value else "0"


def _short(number: int) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else str(number)


def _shortened(text: str, most: int = 26) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
