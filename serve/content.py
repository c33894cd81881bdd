"""Bytes with their media type and their ETag, and the answer to those who have them already (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from fastapi.responses import Response


class Content(NamedTuple):
    """What an address stands for at the moment."""

    data: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Content:
        """Return ``data`` with the ETag that goes with it."""
        return cls(data, media_type, f'"{hashlib.sha256(data).hexdigest()[:32]}"')

    def answer(self, if_none_match: str, cache_control: str) -> Response:
        """Return 304 to who shows the ETag in ``If-None-Match``, and the bytes to everybody else."""
        headers = {"ETag": self.etag, "Cache-Control": cache_control}
        known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        if known & {self.etag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(self.data, media_type=self.media_type, headers=headers)
