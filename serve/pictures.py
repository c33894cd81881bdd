"""The photographs of the collection, and nothing else: by point, never by path."""

from __future__ import annotations

import io
from functools import lru_cache

from engine.errors import ImageError
from ingest.decode import decode
from ingest.photograph import read_uri, thumbnail
from serve.content import Content

WIDTHS = (96, 160, 320, 640, 1024)
SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
"""What every browser shows as it is; all else, WebP with a strange profile too, is served as JPEG."""
SHOWN_AS_IT_IS = sorted({kind for _, kind in SIGNATURES})
CACHED_THUMBS = 2048


def original(uri: str) -> Content:
    """Return the photograph at ``uri`` for a browser.

    Raises:
        ImageError: it is gone, or no photograph: a payload that names another file shows nobody its content.
    """
    data = read_uri(uri)
    image = decode(data)
    media_type = next((kind for start, kind in SIGNATURES if data.startswith(start)), "")
    if not media_type:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=92)
        data, media_type = buffer.getvalue(), "image/jpeg"
    return Content.of(data, media_type)


@lru_cache(maxsize=CACHED_THUMBS)
def small(uri: str, version: str, width: int) -> Content:
    """Return the photographs as a JPEG of at most ``width`` pixels a side; ``version`` tells one content from another.

    Raises:
        ImageError: it is gone or damaged.
    """
    data = thumbnail(uri, width)
    if data is None:
        raise ImageError(f"{uri} is gone or damaged: ingest again")
    return Content.of(data, "image/jpeg")
