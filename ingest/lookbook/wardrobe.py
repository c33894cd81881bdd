"""The truth about each drawn figure: who wears what, how it is looked at, and what can be seen of it."""

from __future__ import annotations

from dataclasses import dataclass

SLEEVES = ("sleeveless", "short", "medium", "long")
LENGTHS = ("three-point", "medium short", "three-quarter", "long")
FABRICS = ("denim", "cotton", "leather", "furry", "knitted", "chiffon", "other")
PATTERNS = ("floral", "graphic", "striped", "pure color", "lattice", "other", "color block")
NECKLINES = ("v", "square", "round", "standing", "lapel", "suspenders")
VIEWS = {"front": 1, "side": 2, "back": 3, "full": 4, "additional": 7}

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (43, 42, 47),
    "white": (244, 243, 239),
    "grey": (150, 152, 156),
    "navy": (38, 52, 92),
    "blue": (56, 104, 178),
    "light blue": (157, 194, 226),
    "red": (200, 46, 52),
    "burgundy": (116, 32, 52),
    "pink": (238, 160, 180),
    "orange": (232, 126, 56),
    "yellow": (246, 212, 92),
    "mustard": (202, 154, 48),
    "green": (58, 132, 82),
    "olive": (112, 114, 66),
    "teal": (38, 134, 138),
    "mint": (168, 220, 196),
    "purple": (108, 64, 140),
    "lilac": (196, 176, 222),
    "brown": (112, 76, 54),
    "beige": (222, 202, 170),
}
DENIM_COLOURS = ("blue", "navy", "light blue", "black", "grey", "white", "blue", "light blue")
LEATHER_COLOURS = ("black", "brown", "burgundy", "red", "olive", "beige", "white", "navy")
FUR_COLOURS = ("beige", "white", "brown", "grey", "black", "pink", "burgundy", "light blue")


@dataclass(frozen=True, slots=True)
class Cloth:
    """What a piece is made of; ``second`` is the colour of stripes, lattice, blocks, flowers or print."""

    fabric: str
    pattern: str
    colour: str
    second: str
    motif: int
    tone: float = 1.0
    """How light this dye of the named colours came out; never so far that the name would be wrong."""

    @property
    def base(self) -> tuple[int, int, int]:
        """The ground colour."""
        return dyed(self.colour, self.tone)

    @property
    def accent(self) -> tuple[int, int, int]:
        """The second colour."""
        return dyed(self.second, self.tone)

    @property
    def words(self) -> str:
        """The colour as a caption says it: both colours where two share the piece evenly."""
        both = self.pattern in ("striped", "lattice", "color block")
        return f"{self.colour} and {self.second}" if both else self.colour


def dyed(name: str, tone: float) -> tuple[int, int, int]:
    """Return a named colour, lighter or darker."""
    red, green, blue = (min(255, round(channel * tone)) for channel in COLOURS[name])
    return red, green, blue


def contrast(one: str, other: str) -> int:
    """Return how far apart two named colours are: the sum of the differences of their channels."""
    return sum(abs(a - b) for a, b in zip(COLOURS[one], COLOURS[other], strict=True))


@dataclass(frozen=True, slots=True)
class Piece:
    """One garment; a property that its kind does not have is an empty string."""

    kind: str
    cloth: Cloth
    sleeve: str = ""
    neckline: str = ""
    length: str = ""
    cut: str = ""
    """Trousers: skinny, straight or wide; skirts: pencil, a-line or full; tops: fitted, regular, loose or cropped."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Accessories; an empty string means none."""

    hat: str = ""
    glasses: str = ""
    neckwear: str = ""
    wrist: str = ""
    ring: bool = False
    belt: bool = False
    bag: str = ""
    socks: str = ""
    shoes: str = "sneakers"
    colour: str = "black"
    shoe_colour: str = "white"


@dataclass(frozen=True, slots=True)
class Outfit:
    """What one figure wears: a top and a lower piece, or one piece in both; an outer piece may go over it."""

    top: Piece
    lower: Piece | None
    outer: Piece | None
    tucked: bool
    extras: Extras

    @property
    def whole(self) -> bool:
        """Whether the top is a dress or a jumpsuit."""
        return self.top.kind in ("dress", "jumpsuit")


@dataclass(frozen=True, slots=True)
class Person:
    """Who wears it."""

    woman: bool
    skin: int
    hair_colour: int
    hair: str
    beard: bool
    build: float


@dataclass(frozen=True, slots=True)
class Shot:
    """How a figure is looked at. ``frame``: full, knee, upper (head to hip) or torso (chin to hip)."""

    view: str
    turn: str
    frame: str
    facing: int
    stance: str
    arms: tuple[str, str]
    backdrop: int

    @property
    def jewelled(self) -> int:
        """The side (-1 left, 1 right) of the hand with ring and wristwear: the nearer one, if it shows."""
        near = self.facing
        return -near if self.turn != "side" and self.hides_hand(near) and not self.hides_hand(-near) else near

    def arm(self, side: int) -> str:
        """Return the pose of the arm on a side of the picture."""
        return self.arms[0 if side < 0 else 1]

    def hides_hand(self, side: int) -> bool:
        """Whether a hand is in a pocket, behind the figure or outside the picture."""
        arm = self.arm(side)
        return (
            arm == "pocket"
            or (arm == "bent" and self.turn == "back")
            or (self.frame in ("upper", "torso") and arm in ("down", "relaxed"))
        )


@dataclass(frozen=True, slots=True)
class Look:
    """One picture of the set: everything that its drawing, its caption and its labels derive from."""

    name: str
    department: str
    category: str
    person: Person
    outfit: Outfit
    shot: Shot

    @property
    def product(self) -> str:
        """The product id within the name."""
        return self.name.split("-")[2]
