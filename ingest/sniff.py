"""What a file is by its first bytes: the formats that are decoded, and a word for what is no image at all."""

from __future__ import annotations

import codecs

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"),
    *(".tif", ".tiff", ".bmp", ".gif", ".jfif", ".jpe"),
)
"""Suffixes, lower case, by which the readers tell a photograph from other files."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"Rar!", "RAR archive"),
    (b"7z\xbc\xaf", "7-Zip archive"),
    (b"8BPS", "Photoshop document"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"%!PS", "PostScript"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"RIFF", "RIFF, but no WebP"),
    (b"OggS", "Ogg"),
    (b"ID3", "sound"),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}


def sniff(data: bytes) -> tuple[str, bool]:
    """Name what ``data`` holds, and say whether that is an image format which `ingest.decode` reads."""
    if not data:
        return "empty file (0 bytes)", False
    kind = _image_kind(data)
    return (kind, True) if kind else (_other_kind(data), False)


def is_cut_short(data: bytes, kind: str) -> bool:
    """Say whether a WebP, AVIF or HEIC file is shorter than its own headers claim."""
    if kind == "WebP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind not in ("AVIF", "HEIC"):
        return False
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # 0: up to the end of the file
            return False
        position += size
    return position > len(data)


def _image_kind(data: bytes) -> str | None:
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    brands = _brands(data)
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO media file (ISO/IEC 14496-12: the major one, a version, the compatible ones)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}


def _other_kind(data: bytes) -> str:
    for signature, name in _OTHERS:
        if data.startswith(signature):
            return name
    if data[4:8] == b"ftyp":
        return "video"
    head = data[:4096]
    if not head.strip(b"\x00"):
        return "nothing but zeros"
    if b"\x00" in head:
        return "unknown format"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head).lstrip("\ufeff \t\r\n").lower()
    except UnicodeDecodeError:
        return "unknown format"
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return "unknown format"
    if "<svg" in text:
        return "SVG drawing"
    return "web page" if text.startswith(("<!doctype html", "<html")) else "text"
