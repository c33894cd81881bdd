"""Photographs that callers send: data URLs, and where the server was told so, addresses from which they are fetched.

A server that fetches what strangers name can be made to ask machines that only it can reach (server-side request
forgery). So a name is looked up once, every address of it must be public, and the connection goes to that very
address; a redirect is a new name. Bytes, seconds and fetches at once are bounded: a host that answers a byte at a time
keeps a thread of ours, but none that others wait for.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from urllib.parse import urljoin

import httpx
from PIL import Image

from engine.errors import UsageError
from ingest.decode import decode

MAX_BYTES = 20_000_000
MAX_PIXELS = 64_000_000
"""Of a photograph that a caller sends: 200 MB while it is decoded, of which two are at a time."""
SHORTER_SIDE = 448
"""More than any tower looks at."""
_decoding = threading.BoundedSemaphore(2)
WITHIN_S = 10.0
MAX_REDIRECTS = 3
AT_ONCE = 4
TUNNELS = [ipaddress.IPv6Network(one) for one in ("::/96", "::ffff:0:0/96", "64:ff9b::/32", "2001::/32", "2002::/16")]
"""IPv6 networks whose addresses hold an IPv4 address."""
REDIRECTS = (301, 302, 303, 307, 308)
Lookup = Callable[[str, int], Sequence[str]]
PHOTOGRAPH = re.compile(r"data:image/[^,]{1,200};base64,")
"""How the data URL of a photograph begins, and no text that anybody means as one."""
OpenImage = Callable[[str], Image.Image]
"""From a URL that a caller sent to the photograph; raises UsageError or ImageError."""


def from_data_url(url: str) -> Image.Image:
    """Return the photograph in a data URL, and of no other.

    Raises:
        UsageError: it is none.
        ImageError: what is in it is no photograph.
    """
    if url.startswith(("http://", "https://")):
        raise UsageError("this server fetches no addresses: send the photograph itself as a data URL")
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise UsageError("a photograph is given as a data URL: data:image/jpeg;base64,...")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"the data URL is no base64: {error}") from None
    return opened(content)


def opened(content: bytes) -> Image.Image:
    """Decode a photograph that a caller sent, and make it small before the next is decoded; raises ImageError.

    At the size that is left, twice what a tower looks at or more, the embedding is the same.
    """
    with _decoding:
        image = decode(content, target=SHORTER_SIDE, max_pixels=MAX_PIXELS)
        return image.reduce(max(1, min(image.size) // (2 * SHORTER_SIDE)))


def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system's resolver knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    """Say whether an address is one of the open internet, and not a way to a private one in another guise."""
    found = ipaddress.ip_address(address)
    guised = isinstance(found, ipaddress.IPv6Address) and any(found in network for network in TUNNELS)
    return found.is_global and not found.is_multicast and not guised


class Fetcher:
    """Opens data URLs, and photographs at public addresses.

    ``lookup`` and ``may_be_asked`` are given by tests, whose servers are not public.
    """

    def __init__(
        self,
        lookup: Lookup = addresses_of,
        may_be_asked: Callable[[str], bool] = is_public,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._lookup, self._may_be_asked, self._max_bytes = lookup, may_be_asked, max_bytes
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def __call__(self, url: str) -> Image.Image:
        """Return the photograph at ``url``; raises UsageError where it cannot or must not be fetched, ImageError."""
        if not url.startswith(("http://", "https://")):
            return from_data_url(url)
        if not self._free.acquire(blocking=False):
            raise UsageError(
                f"{AT_ONCE} addresses are being fetched already: try again, or send the photograph itself"
            )
        fetched: Future[bytes] = Future()

        def work() -> None:
            try:
                fetched.set_result(self._follow(url, time.monotonic() + WITHIN_S))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
                fetched.set_exception(error)
            finally:
                self._free.release()

        threading.Thread(target=work, name="fetch", daemon=True).start()
        try:
            return opened(fetched.result(WITHIN_S))
        except TimeoutError:
            raise UsageError(f"{_short(url)} took longer than {WITHIN_S:g} s: send the photograph itself") from None

    def _follow(self, url: str, deadline: float) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            found = self._get(url, deadline)
            if isinstance(found, bytes):
                return found
            url = found
        raise UsageError(f"{_short(url)} was reached over more than {MAX_REDIRECTS} redirects: give the last address")

    def _get(self, url: str, deadline: float) -> bytes | str:
        """Return what is at ``url``, or where it says to look instead."""
        address, pinned, host = self._pinned(url)
        headers = {
            "Host": host,
            "User-Agent": "fashion-search-engine",
            "Accept": "image/*",
            "Accept-Encoding": "identity",
        }
        try:
            with (
                httpx.Client(timeout=max(0.1, deadline - time.monotonic()), trust_env=False) as client,
                client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": address.host}) as answer,
            ):
                if answer.status_code in REDIRECTS and "location" in answer.headers:
                    return _joined(url, answer.headers["location"])
                if answer.status_code != 200:
                    raise UsageError(f"{_short(url)} answered {answer.status_code}: give an address of a photograph")
                content = bytearray()
                for part in answer.iter_raw():
                    content += part
                    if len(content) > self._max_bytes:
                        raise UsageError(f"{_short(url)} has more than {self._max_bytes} bytes: send a smaller one")
                    if time.monotonic() > deadline:
                        raise UsageError(f"{_short(url)} took longer than {WITHIN_S:g} s: send the photograph itself")
                return bytes(content)
        except httpx.HTTPError as error:
            raise UsageError(
                f"{_short(url)} could not be fetched ({type(error).__name__}): check the address"
            ) from None

    def _pinned(self, url: str) -> tuple[httpx.URL, httpx.URL, str]:
        """Return ``url``, the same with a checked address in place of its name, and the Host header.

        Raises:
            UsageError: no such host, or one that is not public.
        """
        try:
            address = httpx.URL(url)
            port = address.port or (443 if address.scheme == "https" else 80)
            found = self._lookup(address.host, port)
        except (httpx.InvalidURL, OSError, ValueError, UnicodeError) as error:
            raise UsageError(f"{_short(url)} has no host that can be found: check the address") from error
        if address.scheme not in ("http", "https") or not found or not all(map(self._may_be_asked, found)):
            raise UsageError(f"{_short(url)} is not a public address: send the photograph itself as a data URL")
        return address, address.copy_with(host=found[0]), address.netloc.decode("ascii")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise UsageError(f"{_short(url)} leads nowhere: give the last address") from None


def _short(url: str) -> str:
    """Return a URL as a message may show it: without what could be a secret, and not at length."""
    return repr(url.partition("?")[0].rpartition("@")[2][:100])
