"""Draws the look-book: a sample data set in the layout and naming of DeepFashion-MultiModal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as counting
from itertools import islice
from pathlib import Path
from random import Random

from PIL import Image

from engine.errors import UsageError
from ingest.lookbook import studio, trimmings
from ingest.lookbook.fabric import swatch
from ingest.lookbook.figure import Body, draw_arm, draw_legs, draw_trunk, pose
from ingest.lookbook.head import draw_hair_behind, draw_head, glasses
from ingest.lookbook.labels import label_lines
from ingest.lookbook.lowers import draw_lower
from ingest.lookbook.outers import draw_outer
from ingest.lookbook.paper import Sheet
from ingest.lookbook.styling import product_looks
from ingest.lookbook.tops import draw_sleeve, draw_top
from ingest.lookbook.wardrobe import Look, Outfit, Piece
from ingest.lookbook.words import caption

SIZE = (300, 440)
FRAMES = {"full": (8.45, -3.0), "knee": (10.6, -2.6), "upper": (18.6, -1.6), "torso": (22.5, 9.0)}
"""Pixels per body unit at twice the shipped size, and the height in body units of the upper edge."""
ANNOTATIONS = ("labels/shape/shape_anno_all.txt", "labels/texture/fabric_ann.txt", "labels/texture/pattern_ann.txt")


@dataclass(frozen=True, slots=True)
class Lookbook:
    """What was drawn."""

    folder: Path
    images: int
    products: int
    seed: int


def draw_lookbook(
    folder: Path, count: int = 400, seed: int = 7, progress: Callable[[int], None] | None = None
) -> Lookbook:
    """Draw ``count`` figures with captions and labels into ``folder``, the same bytes for the same seed.

    The first images of a larger look-book are those of a smaller one. ``progress`` is told after each image how many
    are done. Unlike DeepFashion-MultiModal's, our captions name colours, since the colours of drawings are known.

    Raises:
        UsageError: count is below 1, or the folder holds files that no look-book wrote.
    """
    if count < 1:
        raise UsageError(f"a look-book of {count} images is none: ask for at least 1")
    make_room(folder)
    captions: dict[str, str] = {}
    lines: tuple[list[str], list[str], list[str]] = ([], [], [])
    products: set[str] = set()
    for done, look in enumerate(islice(looks(seed), count), start=1):
        (folder / "images" / look.name).write_bytes(encode(draw_look(look, seed)))
        captions[look.name] = caption(look, Random(f"caption {seed} {look.name}"))
        for kept, line in zip(lines, label_lines(look), strict=True):
            kept.append(line)
        products.add(look.product)
        if progress is not None:
            progress(done)
    write_text(folder / "captions.json", json.dumps(captions, indent=0, ensure_ascii=False) + "\n")
    for path, kept in zip(ANNOTATIONS, lines, strict=True):
        write_text(folder / path, "\n".join(kept) + "\n")
    write_text(folder / "README.txt", README.format(count=count, seed=seed))
    return Lookbook(folder, count, len(products), seed)


def looks(seed: int) -> Iterator[Look]:
    """Stream the pictures of product after product, without end."""
    for number in counting(1):
        yield from product_looks(seed, number)


def draw_look(look: Look, seed: int) -> Image.Image:
    """Return one picture at the shipped size."""
    rng = Random(f"drawing {seed} {look.name}")
    body = pose(look.person, look.shot)
    scale, top = FRAMES[look.shot.frame]
    canvas = studio.wall((SIZE[0] * 2, SIZE[1] * 2), look.shot.backdrop).copy()
    sheet = Sheet(canvas, scale, SIZE[0] - body.sway * 0.3 * scale, -top * scale)
    draw_figure(sheet, body, look.outfit, rng)
    return canvas.reduce(2)


def draw_figure(sheet: Sheet, body: Body, outfit: Outfit, rng: Random) -> None:
    """Draw the figure from the floor and the back to what is nearest."""
    extras, shot = outfit.extras, body.shot
    turned, back = shot.turn == "side", shot.turn == "back"
    fills = [(p, swatch(p.cloth, sheet.image.size, sheet.scale, rng)) for p in (outfit.top, outfit.outer) if p]
    far = -shot.facing
    if shot.frame in ("full", "knee"):
        studio.floor_shadow(sheet, body)
    if not back:
        draw_hair_behind(sheet, body)
    behind = [side for side in (-1, 1) if (turned and side == far) or (back and shot.arm(side) == "bent")]
    for side in behind:
        draw_dressed_arm(sheet, body, outfit, side, fills, rng)
    draw_legs(sheet, body)
    if extras.socks:
        studio.draw_socks(sheet, body, extras)
    studio.draw_shoes(sheet, body, extras)
    draw_trunk(sheet, body)
    if outfit.tucked or outfit.lower is None:
        draw_top(sheet, body, outfit, fills[0][1], rng)
    if outfit.lower is not None:
        draw_lower(sheet, body, outfit.lower, rng)
        if not outfit.tucked:
            draw_top(sheet, body, outfit, fills[0][1], rng)
    if extras.belt:
        trimmings.draw_belt(sheet, body, extras)
    if outfit.outer is not None:
        draw_outer(sheet, body, outfit.outer, fills[-1][1], rng)
    if extras.neckwear and not back:
        trimmings.draw_neckwear(sheet, body, extras)
    for side in (-1, 1):
        if side not in behind:
            draw_dressed_arm(sheet, body, outfit, side, fills, rng)
    if extras.bag:
        trimmings.draw_bag(sheet, body, extras)
    draw_head(sheet, body)
    if extras.glasses and not back:
        glasses(sheet, body, extras.glasses == "sunglasses")
    if extras.hat:
        trimmings.draw_hat(sheet, body, extras)


def draw_dressed_arm(
    sheet: Sheet, body: Body, outfit: Outfit, side: int, fills: list[tuple[Piece, Image.Image]], rng: Random
) -> None:
    """Draw an arm with its sleeves and what is worn on the hand."""
    extras = outfit.extras
    draw_arm(sheet, body, side)
    for depth, (piece, fill) in enumerate(fills):
        draw_sleeve(sheet, body, piece, side, fill, rng, extra=0.4 * depth)
    jewelled = body.shot.jewelled
    if extras.wrist and side == jewelled:
        trimmings.draw_wrist(sheet, body, extras, side)
    if extras.ring and side == jewelled:
        trimmings.draw_ring(sheet, body, side)


def encode(image: Image.Image) -> bytes:
    """Return the JPEG file of an image, without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def make_room(folder: Path) -> None:
    """Make the layout's folders, and clear away an earlier look-book; a folder with anything else in it is refused."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the look-book")
    present = sorted(path for path in folder.rglob("*") if not path.is_dir()) if folder.is_dir() else []
    ours = drawn_before(folder)
    foreign = [path for path in present if path.relative_to(folder).as_posix() not in ours]
    if foreign:
        name = foreign[0].relative_to(folder).as_posix()
        raise UsageError(f"{folder} holds {name}, which no look-book wrote: name an empty folder")
    for path in present:
        path.unlink()
    for name in ("images", "labels/shape", "labels/texture"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def drawn_before(folder: Path) -> set[str]:
    """Return the files of an earlier look-book, known by the first line of its README.txt; none if it has no such."""
    readme, captions = folder / "README.txt", folder / "captions.json"
    if not readme.is_file() or not readme.read_bytes().startswith(README.partition("\n")[0].encode()):
        return set()
    try:
        names = set(json.loads(captions.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        names = set()
    return {"README.txt", "captions.json", *ANNOTATIONS, *(f"images/{name}" for name in names)}


def write_text(path: Path, text: str) -> None:
    """Write a text file with the same bytes on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


README = """A look-book of drawings made by a program.

These {count} pictures are no photographs, and this is not DeepFashion data: a program drew the figures,
wrote the captions and noted the labels, with seed {seed}. Drawn again with the same count and seed, every
file is the same.

Only the layout, the file names and the numbers of the labels follow the DeepFashion-MultiModal data set,
so that whatever reads that data set reads this folder. Unlike its captions, these name colours.
"""
