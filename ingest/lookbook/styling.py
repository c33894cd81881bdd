"""The stylist: draws outfits, people and views at random, each product from its own seed."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from ingest.lookbook.wardrobe import (
    COLOURS,
    DENIM_COLOURS,
    FUR_COLOURS,
    LEATHER_COLOURS,
    LENGTHS,
    SLEEVES,
    VIEWS,
    Cloth,
    Extras,
    Look,
    Outfit,
    Person,
    Piece,
    Shot,
    contrast,
)


def product_looks(seed: int, number: int) -> list[Look]:
    """Return the pictures of product ``number``: one or two colour variants in two to four views each."""
    rng = Random(f"look-book {seed} {number}")
    woman = rng.random() < 0.68
    department = "WOMEN" if woman else "MEN"
    category, outfit = dress_up(rng, woman)
    looks = []
    for variant in range(1, 2 + (rng.random() < 0.3)):
        if variant > 1:
            outfit = recoloured(rng, outfit)
        person = random_person(rng, woman)
        for shot in random_shots(rng, outfit):
            name = f"{department}-{category}-id_{number:08d}-{variant:02d}_{VIEWS[shot.view]}_{shot.view}.jpg"
            looks.append(Look(name, department, category, person, outfit, shot))
    return looks


def random_person(rng: Random, woman: bool) -> Person:
    """Draw who wears it."""
    styles = (
        ("long", "wavy", "bob", "bun", "ponytail", "pixie", "afro", "long", "wavy", "bob")
        if woman
        else ("short", "parted", "buzz", "curly", "quiff", "short", "parted", "knot")
    )
    return Person(
        woman=woman,
        skin=rng.randrange(7),
        hair_colour=rng.randrange(8),
        hair=rng.choice(styles),
        beard=not woman and rng.random() < 0.35,
        build=round(rng.uniform(0.94, 1.08), 3),
    )


def random_shots(rng: Random, outfit: Outfit) -> list[Shot]:
    """Draw two to four views of one outfit."""
    views = ["front", *rng.sample(["side", "back", "full", "additional"], rng.choice((1, 1, 2, 2, 3)))]
    backdrop = rng.randrange(12)
    shots = []
    for view in sorted(views, key=VIEWS.__getitem__):
        frame = {"full": "full", "additional": rng.choice(("upper", "torso", "upper"))}.get(view, "")
        if not frame:
            frame = rng.choice(("full", "full", "full", "knee", "upper"))
        hem = (outfit.lower or outfit.top).length
        if frame == "knee" and hem not in ("three-point", "medium short"):
            frame = "full"
        turn = view if view in ("side", "back") else "front"
        arms = random_arms(rng, frame, outfit)
        stance = rng.choice(("straight", "apart", "contrapposto", "walking", "crossed"))
        shots.append(Shot(view, turn, frame, rng.choice((-1, 1)), stance, arms, backdrop))
    return shots


def random_arms(rng: Random, frame: str, outfit: Outfit) -> tuple[str, str]:
    """Draw left and right arm; a bag in the hand keeps its arm down."""
    choices = ["down", "down", "relaxed", "hip", "hip", "bent"]
    if frame in ("full", "knee"):
        choices += ["raised"]
    if not outfit.whole:
        choices += ["pocket", "pocket"]
    left, right = rng.choice(choices), rng.choice(choices)
    if (left, right) in (("raised", "raised"), ("bent", "bent")):
        left = "down"
    return left, "down" if outfit.extras.bag == "hand" else right


# ---- garments


def dress_up(rng: Random, woman: bool) -> tuple[str, Outfit]:
    """Draw an outfit and the category under which a shop would list it."""
    outer = random_outer(rng, woman) if rng.random() < 0.24 else None
    lead = rng.random()
    if woman and lead < 0.2:
        top, lower = random_dress(rng), None
    elif woman and lead < 0.27:
        top, lower = random_jumpsuit(rng), None
    else:
        top, lower = random_top(rng, woman), random_lower(rng, woman)
    tucked = lower is not None and top.cut != "cropped" and rng.random() < (0.42 if woman else 0.2)
    if top.kind in ("hoodie", "sweater", "sweatshirt"):
        tucked = tucked and rng.random() < 0.25
    outfit = Outfit(top, lower, outer, tucked, random_extras(rng, woman, top, lower, tucked))
    return category_of(rng, outfit, woman), outfit


def random_cloth(rng: Random, fabrics: str, patterns: str) -> Cloth:
    """Draw a cloth from space-separated choices; ``color-block`` and ``pure`` stand for their two-word names."""
    fabric = rng.choice(fabrics.split())
    pattern = rng.choice(patterns.split()).replace("color-block", "color block")
    pattern = "pure color" if pattern == "pure" else pattern
    if fabric in ("leather", "furry") or (fabric == "denim" and rng.random() < 0.85):
        pattern = "pure color"
    return in_colours(rng, Cloth(fabric, pattern, "black", "white", rng.randrange(6)))


def in_colours(rng: Random, cloth: Cloth) -> Cloth:
    """Return the same cloth in newly drawn colours that can be told apart."""
    special = {"denim": DENIM_COLOURS, "leather": LEATHER_COLOURS, "furry": FUR_COLOURS}
    palette = special.get(cloth.fabric, tuple(COLOURS))
    colour = rng.choice(palette)
    contrasting = [name for name in COLOURS if contrast(colour, name) > 150]
    second = rng.choice(contrasting)
    if "white" in contrasting and rng.random() < 0.35:
        second = "white"
    return replace(cloth, colour=colour, second=second, tone=rng.choice((0.93, 0.97, 1.0, 1.04)))


def random_top(rng: Random, woman: bool) -> Piece:
    """Draw an upper garment."""
    kinds = "tee tee tank tank blouse blouse shirt sweater sweater hoodie sweatshirt polo"
    kind = rng.choice((kinds if woman else "tee tee tee tank shirt shirt polo polo sweater hoodie sweatshirt").split())
    cuts = ("fitted", "regular", "loose") if woman else ("regular", "loose", "regular")
    cut = rng.choice(cuts)
    if woman and kind in ("tee", "tank", "sweater", "sweatshirt") and rng.random() < 0.22:
        cut = "cropped"
    sleeve, neck, cloth = {
        "tee": (
            "short short medium long",
            "round round v",
            ("cotton", "pure pure striped graphic graphic color-block"),
        ),
        "tank": (
            "sleeveless",
            "round v square suspenders",
            ("cotton cotton knitted chiffon", "pure striped graphic floral"),
        ),
        "blouse": (
            "sleeveless short medium long long",
            "v round square standing lapel",
            ("chiffon chiffon cotton other", "pure pure floral striped other lattice"),
        ),
        "shirt": (
            "short long long medium",
            "lapel",
            ("cotton cotton denim", "pure striped lattice lattice floral color-block"),
        ),
        "polo": ("short short long", "lapel", ("cotton knitted", "pure striped color-block")),
        "sweater": (
            "long long medium",
            "round v standing",
            ("knitted", "pure pure striped color-block graphic lattice"),
        ),
        "hoodie": ("long", "round", ("cotton", "pure graphic color-block")),
        "sweatshirt": ("long", "round", ("cotton", "pure graphic graphic striped color-block")),
    }[kind]
    if not woman:
        neck = neck.replace(" suspenders", "").replace(" square", "")
    return Piece(kind, random_cloth(rng, *cloth), rng.choice(sleeve.split()), rng.choice(neck.split()), cut=cut)


def random_lower(rng: Random, woman: bool) -> Piece:
    """Draw a lower garment."""
    kinds = "jeans jeans trousers trousers skirt skirt skirt shorts shorts leggings"
    kind = rng.choice((kinds if woman else "jeans jeans trousers trousers shorts").split())
    length, cut, cloth = {
        "jeans": (("three-quarter", "long", "long"), ("skinny", "straight", "wide"), ("denim", "pure")),
        "trousers": (
            ("three-quarter", "long", "long"),
            ("straight", "wide", "skinny"),
            ("cotton cotton leather chiffon", "pure pure pure striped lattice floral"),
        ),
        "leggings": (
            ("three-quarter", "long"),
            ("skinny",),
            ("cotton cotton leather", "pure pure graphic color-block other"),
        ),
        "shorts": (
            ("three-point", "three-point", "medium short"),
            ("straight", "wide"),
            ("denim cotton cotton leather", "pure pure striped floral lattice"),
        ),
        "skirt": (
            LENGTHS,
            ("pencil", "a-line", "full"),
            ("cotton cotton denim leather chiffon knitted", "pure pure floral striped lattice other"),
        ),
    }[kind]
    return Piece(kind, random_cloth(rng, *cloth), length=rng.choice(length), cut=rng.choice(cut))


def random_dress(rng: Random) -> Piece:
    """Draw a dress."""
    cloth = random_cloth(
        rng,
        "cotton cotton chiffon chiffon knitted denim leather other",
        "pure pure floral floral striped lattice color-block other graphic",
    )
    necks = ("v", "round", "square", "suspenders", "standing", "lapel", "round", "v")
    cut = rng.choice(("pencil", "a-line", "full"))
    return Piece("dress", cloth, rng.choice(SLEEVES), rng.choice(necks), rng.choice(LENGTHS), cut)


def random_jumpsuit(rng: Random) -> Piece:
    """Draw a jumpsuit; with short legs it is a romper."""
    cloth = random_cloth(rng, "cotton cotton chiffon denim other", "pure pure floral striped color-block")
    necks = ("v", "round", "square", "suspenders", "lapel")
    cut = rng.choice(("straight", "wide"))
    return Piece("jumpsuit", cloth, rng.choice(SLEEVES), rng.choice(necks), rng.choice(LENGTHS), cut)


def random_outer(rng: Random, woman: bool) -> Piece:
    """Draw an outer garment; it hangs open at the front, and its length counts from hip to knee."""
    kinds = "jacket coat blazer cardigan cardigan denim-jacket" + (" fur-coat" if woman else " vest")
    kind = rng.choice(kinds.split())
    fabrics, patterns, lengths = {
        "jacket": ("leather leather cotton", "pure pure color-block", "hip"),
        "coat": ("cotton cotton leather", "pure pure lattice", "knee thigh"),
        "blazer": ("cotton other", "pure pure lattice striped", "hip thigh"),
        "cardigan": ("knitted", "pure pure striped", "hip thigh thigh"),
        "denim-jacket": ("denim", "pure", "hip"),
        "fur-coat": ("furry", "pure", "thigh hip"),
        "vest": ("cotton denim leather", "pure lattice", "hip"),
    }[kind]
    sleeve = "sleeveless" if kind == "vest" else "long"
    neckline = "lapel" if kind in ("coat", "blazer", "denim-jacket", "jacket") else ""
    cloth = random_cloth(rng, fabrics, patterns)
    return Piece(kind.replace("-", " "), cloth, sleeve, neckline, rng.choice(lengths.split()), "loose")


def random_extras(rng: Random, woman: bool, top: Piece, lower: Piece | None, tucked: bool) -> Extras:
    """Draw accessories that go with the outfit."""
    hem = (lower or top).length
    bare = hem in ("three-point", "medium short")
    skirted = top.kind == "dress" or (lower is not None and lower.kind in ("skirt", "shorts"))
    socks = "socks" if bare and rng.random() < 0.3 else ""
    if woman and bare and skirted and not socks and rng.random() < 0.2:
        socks = "leggings"
    belt = (tucked or top.kind in ("dress", "jumpsuit")) and rng.random() < 0.4
    hats = ("fedora", "cap", "beanie", "straw") if woman else ("cap", "beanie", "fedora")
    shoes = ("heels", "sneakers", "boots", "flats") if woman else ("sneakers", "boots", "loafers")
    shoe = rng.choice(shoes)
    return Extras(
        hat=rng.choice(hats) if rng.random() < 0.16 else "",
        glasses=rng.choice(("eyeglasses", "sunglasses")) if rng.random() < 0.18 else "",
        neckwear=rng.choice(("necklace", "scarf", "necklace") if woman else ("necklace", "scarf"))
        if rng.random() < 0.2
        else "",
        wrist=rng.choice(("watch", "bracelet")) if rng.random() < 0.28 else "",
        ring=rng.random() < (0.3 if woman else 0.1),
        belt=belt,
        bag=rng.choice(("hand", "shoulder")) if woman and rng.random() < 0.2 else "",
        socks=socks if not (socks and shoe in ("boots",)) else "",
        shoes=shoe,
        colour=rng.choice(("black", "brown", "red", "beige", "mustard", "navy", "teal", "burgundy")),
        shoe_colour=rng.choice(("black", "white", "brown", "beige", "red", "navy", "black", "white")),
    )


def recoloured(rng: Random, outfit: Outfit) -> Outfit:
    """Return the same outfit with its leading piece in other colours: a colour variant of one product."""
    return replace(outfit, top=replace(outfit.top, cloth=in_colours(rng, outfit.top.cloth)))


def category_of(rng: Random, outfit: Outfit, woman: bool) -> str:
    """Return the shop category of the outfit's leading piece, in the data set's spelling."""
    outer, top, lower = outfit.outer, outfit.top, outfit.lower
    if outer is not None:
        if woman:
            return "Cardigans" if outer.kind == "cardigan" else "Jackets_Coats"
        return {"cardigan": "Sweaters", "blazer": "Suiting"}.get(outer.kind, "Jackets_Vests")
    if lower is not None and rng.random() < 0.3:
        names = {"jeans": "Denim", "trousers": "Pants", "leggings": "Leggings", "shorts": "Shorts", "skirt": "Skirts"}
        return names[lower.kind]
    if woman and top.kind == "tee" and top.cloth.pattern == "graphic":
        return "Graphic_Tees"
    shirts = "Blouses_Shirts" if woman else "Shirts_Polos"
    return {
        "dress": "Dresses",
        "jumpsuit": "Rompers_Jumpsuits",
        "sweater": "Sweaters",
        **dict.fromkeys(("tee", "tank"), "Tees_Tanks"),
        **dict.fromkeys(("hoodie", "sweatshirt"), "Sweatshirts_Hoodies"),
    }.get(top.kind, shirts)
