"""Files that hate whoever reads them, and good ones among them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
GOOD = 8 + len(MODES) + 6
"""EXIF orientations, modes, names."""


def hostile_folder(folder: Path) -> tuple[set[str], dict[str, str]]:
    """Fill a folder; return the names of the good files, and of the bad ones with a word of the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    good = {*_orientations(folder), *_modes(folder), *_names(folder)}
    bad = {**_cut_short(folder), **_bombs(folder), **_liars(folder), **_no_files(folder)}
    return good, bad


def picture(seed: int) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((80, 96), Image.Resampling.BICUBIC)


def _bytes(seed: int, kind: str) -> bytes:
    stream = io.BytesIO()
    picture(seed).save(stream, kind)
    return stream.getvalue()


def _orientations(folder: Path) -> list[str]:
    names = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        names.append(f"orientation-{orientation}.jpg")
        picture(100 + orientation).save(folder / names[-1], exif=exif)
    return names


def _modes(folder: Path) -> list[str]:
    names = []
    for n, mode in enumerate(MODES):
        name = f"mode-{mode.replace(';', '-')}.png"
        image = picture(200 + n)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        image.save(folder / name)
        names.append(name)
    return names


def _names(folder: Path) -> list[str]:
    names = ["rød kjole.png", "赤いドレス.png", "👗.webp", "a!b.png", "-rf.png", 'it\'s, "quoted" & 50%.png']
    for n, name in enumerate(names):
        picture(300 + n).save(folder / name)
    return names


def _cut_short(folder: Path) -> dict[str, str]:
    bad = {}
    for n, kind in enumerate(("JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP", "AVIF")):
        data = _bytes(400 + n, kind)
        for share in (3, 10, 25, 50, 80):
            name = f"cut-{kind.lower()}-{share}.jpg"
            (folder / name).write_bytes(data[: max(16, len(data) * share // 100)])
            bad[name] = ""
    return bad


def _bombs(folder: Path) -> dict[str, str]:
    bad = {}
    for width, height in (
        (60_000, 60_000),
        (2**31 - 1, 2**31 - 1),
        (100_000, 10),
        (9_000, 9_000),
        (0, 9),
        (9, 0),
        (1, 5_000),
    ):
        name = f"bomb-{width}x{height}.png"
        (folder / name).write_bytes(_png_header(width, height))
        bad[name] = "times as long" if height in (10, 5_000) else "pixels" if height > 10 else ""
    return bad


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def _liars(folder: Path) -> dict[str, str]:
    contents = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"dear reader", "text"),
        "page.jpg": (b"<!doctype html><p>404", "web page"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        "document.jpg": (b"%PDF-1.7\n", "PDF"),
        "archive.jpeg": (b"PK\x03\x04rest", "ZIP"),
        "zeros.jpg": (bytes(4096), "zeros"),
        "noise.jpg": (np.random.default_rng(0).bytes(4096), "unknown"),
        "head.jpg": (b"\xff\xd8\xff", "JPEG"),
        "film.png": (b"\x00\x00\x00\x18ftypmp42", "video"),
        "markers.jpg": (b"\xff\xd8\xff\xe0" + b"\xff" * 4000, "JPEG"),
        "signature.png": (b"\x89PNG\r\n\x1a\n", "PNG"),
        "riff.webp": (b"RIFF\x10\x00\x00\x00WAVE", "RIFF"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    return {name: reason for name, (_, reason) in contents.items()}


def _no_files(folder: Path) -> dict[str, str]:
    """What has the name of a photograph and is none; links that loop."""
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "notes.md").write_text("no photograph")
    (folder / "nowhere.jpg").symlink_to(folder / "not-there")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    (folder / "around").symlink_to(folder, target_is_directory=True)
    bad = {"nowhere.jpg": "link", "itself.jpg": "", "around": "again", "folder.jpg/notes.md": "not a photograph"}
    os.mkfifo(folder / "pipe.jpg")
    bad["pipe.jpg"] = "no regular file"
    if os.geteuid() != 0:  # root can read all
        (folder / "secret.jpg").write_bytes(_bytes(500, "JPEG"))
        (folder / "secret.jpg").chmod(0)
        bad["secret.jpg"] = "permission"
    return bad
