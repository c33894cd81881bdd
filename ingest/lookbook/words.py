"""What can be seen in a picture, as a caption in the data set's manner.

The sentence shapes and most words are those of DeepFashion-MultiModal's captions. Ours differ in two ways: they name
colours, and they often call a garment by its own name (dress, hoodie, blouse) where the data set says upper clothing.
"""

from __future__ import annotations

from random import Random

from ingest.lookbook.labels import Seen, seen
from ingest.lookbook.wardrobe import Cloth, Look, Piece

FABRIC_WORDS = {"knitted": "knitting"}
PATTERN_WORDS = {
    "pure color": ("pure color", "solid color"),
    "striped": ("striped", "stripe"),
    "lattice": ("lattice", "plaid", "lattice"),
    "other": ("mixed", "complicated", "other"),
}
NECK_WORDS = {"v": ("v-shape",), "round": ("round", "crew"), "standing": ("stand",)}
SLEEVE_WORDS = {
    "sleeveless": ("no sleeves", "sleeves cut off"),
    "short": ("short sleeves",),
    "medium": ("medium sleeves", "medium-length sleeves"),
    "long": ("long sleeves",),
}
LENGTH_WORDS = {
    "three-point": ("three-point", "short", "three-point"),
    "medium short": ("medium", "medium short"),
    "three-quarter": ("three-quarter",),
    "long": ("long",),
}
NOUNS = {
    "tee": ("T-shirt", "T-shirt", "shirt"),
    "tank": ("tank top", "tank shirt", "tank top"),
    "blouse": ("blouse", "blouse", "shirt"),
    "shirt": ("shirt",),
    "polo": ("polo shirt", "shirt"),
    "sweater": ("sweater",),
    "hoodie": ("hoodie", "sweater"),
    "sweatshirt": ("sweatshirt", "sweater"),
    "dress": ("dress",),
    "jumpsuit": ("jumpsuit",),
    "jeans": ("jeans", "pants", "trousers"),
    "trousers": ("trousers", "pants"),
    "leggings": ("leggings", "pants"),
    "shorts": ("shorts",),
    "skirt": ("skirt",),
    "vest": ("vest", "outer clothing"),
}


def caption(look: Look, rng: Random) -> str:
    """Return a caption of what can be seen, in one of several wordings."""
    view = seen(look)
    woman = look.person.woman
    people = ("lady", "female", "woman", "person") if woman else ("man", "guy", "gentleman", "person")
    who = [f"{rng.choice(('this', 'the'))} {rng.choice(people)}" for _ in range(8)]
    owner = "her" if woman else "his"
    said: list[str] = []
    if view.upper is not None:
        said += upper_sentences(view, view.upper, look, rng, who[0], owner)
    if view.lower is not None and (view.upper is None or not look.outfit.whole):
        said += lower_sentences(view.lower, rng, who[1])
    if view.outer is not None:
        said += outer_sentences(view, view.outer, rng, who[2], owner)
    extras = accessory_sentences(view, look, rng, who[3:], owner)
    rng.shuffle(extras)
    return " ".join(capital(sentence) for sentence in [*said, *extras])


def upper_sentences(view: Seen, piece: Piece, look: Look, rng: Random, who: str, owner: str) -> list[str]:
    """Return one to four sentences about a top, a dress or a jumpsuit."""
    noun = rng.choice(NOUNS[piece.kind]) if rng.random() < 0.93 else "upper clothing"
    colour, fabric, pattern = piece.cloth.words, cloth_word(piece.cloth), pattern_word(piece.cloth, rng)
    made = f"{fabric} fabric and {pattern} patterns"
    with_fabric, with_pattern = f"The {noun} is with {fabric} fabric.", f"The pattern of it is {pattern}."
    hidden = view.outer is not None and view.outer.sleeve == "long"
    sleeves = rng.choice(SLEEVE_WORDS[piece.sleeve])
    neck = rng.choice(NECK_WORDS.get(view.neckline, (view.neckline,)))
    joined = "sleeveless" if piece.sleeve == "sleeveless" else f"{piece.sleeve}-sleeve"
    wearing = rng.choice(("wears", "is wearing"))
    if hidden:
        first = rng.choice(
            (
                f"{who} {wearing} {a(colour)} {noun} with {pattern} patterns. {with_fabric}",
                f"{owner} {colour} {noun} has {made}.",
                f"the {colour} {noun} {who} wears is with {made}.",
            )
        )
    else:
        first = rng.choice(
            (
                f"{who} {wearing} {a(colour)} {joined} {noun} with {pattern} patterns. {with_fabric}",
                f"{owner} {colour} {noun} has {sleeves}, {made}.",
                f"the {colour} {noun} {who} wears has {sleeves} and it is with {made}.",
                f"the {noun} {who} wears is {colour}, has {sleeves} and its fabric is {fabric}. {with_pattern}",
                f"{who} {wearing} {a(joined)} {colour} {noun}, with {made}.",
            )
        )
    said = [first]
    if neck:
        said.append(
            rng.choice(
                (
                    f"it has {a(neck)} neckline.",
                    f"the neckline of it is {neck}.",
                    f"the neckline of the {noun} is {neck}.",
                )
            )
        )
    if look.outfit.whole and view.length:
        length = rng.choice(LENGTH_WORDS[view.length])
        said.append(rng.choice((f"the {noun} is of {length} length.", f"the lower clothing is of {length} length.")))
    return said


def lower_sentences(piece: Piece, rng: Random, who: str) -> list[str]:
    """Return one or two sentences about a lower garment."""
    noun = rng.choice(NOUNS[piece.kind]) if rng.random() < 0.95 else "lower clothing"
    verb = "are" if noun.endswith("s") else "is"
    colour, fabric, pattern = piece.cloth.words, cloth_word(piece.cloth), pattern_word(piece.cloth, rng)
    made = f"{fabric} fabric and {pattern} patterns"
    length = rng.choice(LENGTH_WORDS[piece.length])
    article = length if noun.endswith("s") else a(length)
    return [
        rng.choice(
            (
                f"{who} wears {article} {colour} {noun}. The {noun} {verb} with {made}.",
                f"{who} wears {article} {colour} {noun}, with {made}.",
                f"the {colour} {noun} {who} wears {verb} of {length} length. The {noun} {verb} with {made}.",
                f"the {colour} {noun} {verb} of {length} length, with {made}.",
            )
        )
    ]


def outer_sentences(view: Seen, piece: Piece, rng: Random, who: str, owner: str) -> list[str]:
    """Return a sentence about an outer garment, with its sleeves."""
    noun = rng.choice(NOUNS.get(piece.kind, (piece.kind, piece.kind, "outer clothing")))
    colour, fabric, pattern = piece.cloth.words, cloth_word(piece.cloth), pattern_word(piece.cloth, rng)
    made = f"{fabric} fabric and {pattern} patterns"
    sleeves = rng.choice(SLEEVE_WORDS[piece.sleeve])
    joined = "sleeveless" if piece.sleeve == "sleeveless" else f"{piece.sleeve}-sleeve"
    also = "also wears" if view.upper is not None else "wears"
    return [
        rng.choice(
            (
                f"the {colour} {noun} has {sleeves} and is with {made}.",
                f"{who} {also} {a(colour)} {joined} {noun}, with {made}.",
                f"{owner} {colour} {noun} has {sleeves}, {made}.",
            )
        )
    ]


def accessory_sentences(view: Seen, look: Look, rng: Random, who: list[str], owner: str) -> list[str]:
    """Return a sentence for every accessory that can be seen."""
    said = []
    wears = rng.choice(("wears", "is wearing"))
    if view.hat:
        said.append(
            rng.choice(
                (
                    f"there is a hat on {owner} head.",
                    f"{who[0]} {wears} a hat.",
                    f"{who[0]} has a hat on {owner} head.",
                )
            )
        )
    if view.glasses in ("eyeglasses", "sunglasses"):
        said.append(rng.choice((f"{who[1]} {wears} {view.glasses}.", f"{who[1]} {wears} a pair of {view.glasses}.")))
    if view.neckwear:
        said.append(rng.choice((f"{who[2]} has neckwear.", f"there is an accessory around {owner} neck.")))
    if view.wrist:
        said.append(f"there is an accessory on {owner} wrist.")
    if view.ring:
        said.append(
            rng.choice(
                (
                    f"there is a ring on {owner} finger.",
                    f"{who[3]} wears a ring.",
                    f"{who[3]} is wearing a ring on {owner} finger.",
                )
            )
        )
    if view.waist == "belt":
        said.append(f"there is a belt on {owner} waist.")
    if view.socks == "socks":
        said.append(rng.choice((f"{who[4]} {wears} socks in shoes.", f"{who[4]} {wears} a pair of socks.")))
    if view.socks == "leggings":
        said.append(f"{who[4]} {wears} leggings.")
    return said


def cloth_word(cloth: Cloth) -> str:
    """Return the fabric as captions call it."""
    return FABRIC_WORDS.get(cloth.fabric, cloth.fabric)


def pattern_word(cloth: Cloth, rng: Random) -> str:
    """Return one of the pattern's names."""
    return rng.choice(PATTERN_WORDS.get(cloth.pattern, (cloth.pattern,)))


def a(words: str) -> str:
    """Return words with their indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def capital(sentence: str) -> str:
    """Return a sentence with a capital first letter."""
    return sentence[0].upper() + sentence[1:]
