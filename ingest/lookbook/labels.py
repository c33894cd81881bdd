"""What can be seen in a picture, and its label lines as the data set numbers them."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.lookbook.wardrobe import FABRICS, LENGTHS, NECKLINES, PATTERNS, SLEEVES, Look, Piece

NA_TEXTURE = 7


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an outfit is visible in one shot; None and -1 where it is not."""

    upper: Piece | None
    lower: Piece | None
    outer: Piece | None
    sleeve: str
    length: str
    neckline: str
    socks: str | None
    hat: bool | None
    glasses: str | None
    neckwear: bool | None
    wrist: bool | None
    ring: bool | None
    waist: str | None
    navel_covered: bool | None


def seen(look: Look) -> Seen:
    """Return what can be seen of a look in its shot: the one place where visibility is decided."""
    outfit, shot = look.outfit, look.shot
    extras = outfit.extras
    back, cropped, faceless = shot.turn == "back", shot.frame in ("upper", "torso"), shot.frame == "torso"
    feet = shot.frame == "full"
    covered = back and outfit.outer is not None
    upper = None if covered and not (outfit.outer and outfit.outer.sleeve == "sleeveless") else outfit.top
    lower = None if cropped else (outfit.top if outfit.whole else outfit.lower)
    outer_sleeve = outfit.outer.sleeve if outfit.outer is not None else ""
    sleeve = "long" if outer_sleeve == "long" else outfit.top.sleeve
    scarf = extras.neckwear == "scarf"
    hand = not shot.hides_hand(shot.jewelled)
    waist = None
    if not (cropped and not outfit.tucked and not outfit.whole):
        if extras.belt and not covered:
            waist = "belt"
        elif covered or (outfit.lower is not None and not outfit.tucked and outfit.top.cut != "cropped"):
            waist = "hidden"
        else:
            waist = "no"
    navel = None if back or (cropped and outfit.outer is not None) else outfit.top.cut != "cropped"
    return Seen(
        upper=upper,
        lower=lower,
        outer=outfit.outer,
        sleeve=sleeve,
        length="" if lower is None else lower.length,
        neckline="" if back or upper is None or scarf else outfit.top.neckline,
        socks=(extras.socks or "no") if feet or (extras.socks == "leggings" and shot.frame == "knee") else None,
        hat=None if faceless else bool(extras.hat),
        glasses=None if faceless or back else extras.glasses or "no",
        neckwear=None if back else bool(extras.neckwear),
        wrist=bool(extras.wrist) if hand else None,
        ring=extras.ring if hand else None,
        waist=waist,
        navel_covered=navel,
    )


# ---- labels


def label_lines(look: Look) -> tuple[str, str, str]:
    """Return the picture's lines in the files of shapes, fabrics and patterns, in the data set's numbers."""
    view = seen(look)
    shape = (
        SLEEVES.index(view.sleeve),
        LENGTHS.index(view.length) if view.length else 4,
        number(view.socks, ("no", "socks", "leggings"), 3),
        number(view.hat, (False, True), 2),
        number(view.glasses, ("no", "eyeglasses", "sunglasses", "held"), 4),
        number(view.neckwear, (False, True), 2),
        number(view.wrist, (False, True), 2),
        number(view.ring, (False, True), 2),
        number(view.waist, ("no", "belt", "clothing", "hidden"), 4),
        NECKLINES.index(view.neckline) if view.neckline else 6,
        2 if view.outer is None else int(view.outer.kind != "cardigan"),
        number(view.navel_covered, (False, True), 2),
    )
    pieces = (view.upper, view.lower, view.outer)
    fabrics = [NA_TEXTURE if p is None else FABRICS.index(p.cloth.fabric) for p in pieces]
    patterns = [NA_TEXTURE if p is None else PATTERNS.index(p.cloth.pattern) for p in pieces]
    shape_line, fabric_line, pattern_line = (
        " ".join(map(str, (look.name, *row))) for row in (shape, fabrics, patterns)
    )
    return shape_line, fabric_line, pattern_line


def number(value: object, names: tuple[object, ...], unseen: int) -> int:
    """Return the number of a value among its names, or the number that says not visible."""
    return unseen if value is None else names.index(value)
