"""One photograph by where it lies: for queries by image, thumbnails and pictures in the terminal."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.errors import ImageError, UsageError
from ingest.decode import decode
from ingest.sources.source import archive_and_member


def open_photograph(path: Path) -> Image.Image:
    """Return a photograph that the user named, upright, in RGB.

    Raises:
        UsageError: it is not there, or no photograph.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--image {path} cannot be read: {error.strerror}") from None
    except ImageError as error:
        raise UsageError(f"--image {path} is no photograph: {error}") from None


def read_uri(uri: str) -> bytes:
    """Return the bytes at an item's ``uri``: a path, or ``archive.tar!member``; raises ImageError if they are gone."""
    try:
        parts = None if Path(uri).exists() else archive_and_member(uri)
        if parts:
            archive, member = parts
            with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as tar:
                file = tar.extractfile(_member(tar, member))
                return file.read() if file else b""
        return Path(uri).read_bytes()
    except (OSError, EOFError, ValueError, KeyError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"{uri} cannot be read: {error}") from None


def _member(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """Return a member by its name, which the reader of archives has freed of a leading ``./``."""
    try:
        return archive.getmember(name)
    except KeyError:
        return archive.getmember(f"./{name}")


def thumbnail(uri: str, side: int) -> bytes | None:
    """Return the photograph as a JPEG whose longer side is at most ``side`` pixels; None if it is gone or damaged."""
    try:
        image = decode(read_uri(uri), target=side)
    except ImageError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def small_pixels(uri: str, width: int, height: int) -> npt.NDArray[np.uint8] | None:
    """Return the photograph in the middle of white, uint8 (height, width, 3); None if it is gone or damaged."""
    try:
        image = decode(read_uri(uri), target=min(width, height))
    except ImageError:
        return None
    image.thumbnail((width, height), Image.Resampling.BOX)
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return np.asarray(sheet)
