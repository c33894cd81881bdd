"""Image bytes to upright RGB pixels: the one door to Pillow's decoders.

Ingest, query by image and training all come through here, so that a photograph has the same pixels everywhere. What
a file holds decides how it is read, never its name.
"""

from __future__ import annotations

import io
import re
import warnings
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from engine.errors import ImageError
from ingest.sniff import is_cut_short, sniff

MAX_PIXELS = 100_000_000
MAX_RATIO = 1_000
"""Longer side over shorter side: a strip beyond this blows up when its shorter side is scaled to the model's."""

FULL_SIZE = "full_size"
"""Where ``info`` of a decoded photograph keeps its upright (width, height) in pixels before any reduction."""

# Pillow's classes, not Image.open(): that one compares with a process-wide cap, and warns.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, target: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the photograph in ``data`` as 8-bit sRGB pixels, upright, transparency on white, first frame only.

    ``target`` is the shorter side in pixels that the model wants: a JPEG is then decoded at a half, a quarter or an
    eighth of its size, but never below twice the target, which leaves the embedding as it is. ``max_pixels`` is
    compared with the size in the header before any pixel is decoded. Safe to call from several threads.

    Raises: ImageError, with the cause in a few words.
    """
    kind, is_image = sniff(data)
    if not is_image:
        raise ImageError(kind if not data else f"not an image ({kind})")
    _hush_pillow()
    stream = io.BytesIO(data)
    try:
        image = _open_heic(stream, max_pixels) if kind == "HEIC" else _READERS[kind](stream)
        size = image.size
        _check_size(size, max_pixels)
        if target is not None and kind == "JPEG":
            image.draft(None, (2 * target, 2 * target))
        image.load()
        upright = _upright(_flat(image), 1 if kind == "TIFF" else _orientation(image))  # Pillow turns TIFF by itself
        upright.info[FULL_SIZE] = size if (size[0] > size[1]) == (upright.width > upright.height) else size[::-1]
        return upright
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise almost anything on damaged bytes
        raise ImageError(_reason(error, kind, data, stream)) from error


def kinds() -> list[str]:
    """Return which formats can be decoded here: HEIC where its extra is installed."""
    return [*_READERS, *(["HEIC"] if find_spec("pi_heif") else [])]


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse what its header says to be too large, or too long and thin."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{width} x {height} pixels: nothing to see")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height}: {_pixels(width * height)}, more than the cap of {_pixels(max_pixels)}",
        )
    if max(size) > MAX_RATIO * min(size):
        raise ImageError(f"{width} x {height} pixels: more than {MAX_RATIO} times as long as wide")


def _pixels(count: int) -> str:
    if count >= 1_000_000_000:
        return f"{count / 1e9:.3g} gigapixels"
    return f"{count / 1e6:.4g} megapixels" if count >= 1_000_000 else f"{count} pixels"


def _open_heic(stream: io.BytesIO, max_pixels: int) -> Image.Image:
    """Decode HEIC, the telephones' format, through the optional extra; libheif turns it upright itself."""
    try:
        import pi_heif
    except ImportError:
        raise ImageError("HEIC needs an extra: pip install '.[heic]' in this program's source folder") from None
    heif = pi_heif.open_heif(stream, convert_hdr_to_8bit=True)
    _check_size(heif.size, max_pixels)
    image: Image.Image = heif.to_pillow()
    return image


def _flat(image: Image.Image) -> Image.Image:
    """Return opaque 8-bit sRGB pixels of an image in any mode that the readers give; transparency becomes white."""
    profile = image.info.get("icc_profile")
    alpha: Image.Image | None = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, alpha = _eight_bits(image)
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        grey = image.mode in ("1", "L", "LA", "La")
        coloured = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = coloured.getchannel("A")
        image = coloured.getchannel("R") if grey else coloured.convert("RGB")
    elif image.mode == "CMYK" and isinstance(image, JpegImagePlugin.JpegImageFile) and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's, which are inverted
    rgb = _srgb(image, profile)
    if alpha is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Scale 16-bit, 32-bit and floating-point grey to 8 bits, with the alpha of a transparent grey level, if any.

    Files say how many bits a value takes, not which value is white. 16 bits: 65535 is. Otherwise the least of 1, 255
    and 65535 that no value exceeds, or the greatest value.
    """
    deep = image.mode.startswith("I;16")
    values = np.asarray(image.convert("I") if deep else image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = min(0.0, float(values.min())), float(values.max())
    white = 65535.0 if deep else next((top for top in (1.0, 255.0, 65535.0) if high <= top), high)
    scaled = np.rint((values - low) * (255.0 / (white - low))).astype(np.uint8)
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    return Image.fromarray(scaled), alpha


def _srgb(image: Image.Image, profile: object) -> Image.Image:
    """Convert to sRGB, through the image's own ICC profile where it has one that fits."""
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if image.mode == "LAB" or (isinstance(profile, bytes) and profile):
        transform = _transform(profile if isinstance(profile, bytes) else b"", image.mode)
        if transform is not None:
            return transform.apply(image)
    return image.convert("RGB")  # always a copy: the caller gets no open file


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from an ICC profile to sRGB; None when it is sRGB already, damaged, or for another mode."""
    srgb = ImageCms.createProfile("sRGB")
    lab = ImageCms.createProfile("LAB")
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.ImageCmsProfile(lab)
        if ImageCms.getProfileDescription(own).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(own, ImageCms.ImageCmsProfile(srgb), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _transform(b"", mode) if profile and mode == "LAB" else None


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; damaged EXIF counts as upright."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a camera's broken EXIF raises almost anything, and is no reason to lose a photo
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    image = image if turn is None else image.transpose(turn)
    image.info = {}  # so that nobody turns it, or converts its colours, once more
    return image


def _hush_pillow() -> None:
    """Silence Pillow's warnings on odd metadata for good: catch_warnings() is not safe with threads."""
    silence = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if silence not in warnings.filters:
        warnings.filterwarnings("ignore", category=Warning, module=r"PIL\.")


def _reason(error: Exception, kind: str, data: bytes, stream: io.BytesIO) -> str:
    """Say in a few words why Pillow gave up."""
    if isinstance(error, MemoryError):
        return f"{kind} that needs more memory than there is"
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    ran_out = isinstance(error, (SyntaxError, EOFError)) and stream.tell() >= len(data)
    if ran_out or "truncat" in text.lower() or is_cut_short(data, kind):
        return f"truncated {kind}"
    return f"damaged {kind}: {text[:120]}"
