"""Photographs by address: fetched from public addresses alone, within bounds, and only where that was enabled."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from engine.errors import ImageError, UsageError
from serve.fetch import Fetcher, from_data_url, opened


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 6, 3), 200, np.uint8)).save(file, "PNG")
    return file.getvalue()


class Shop(BaseHTTPRequestHandler):
    """A web server with a photograph, a redirect to it, one to another machine, and worse."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        places = {
            "/old.png": "/red.png",
            "/inside": "http://internal.example/",
            "/round": "/round",
            "/file": "file:///etc/passwd",
            "/odd": "http://[",
        }
        if self.path in places:
            self.send_response(302)
            self.send_header("Location", places[self.path])
            self.end_headers()
            return
        body = {"/red.png": picture(), "/page": b"<html>", "/huge": bytes(50_000)}.get(self.path)
        self.send_response(200 if body and self.headers["Host"] == f"shop.example:{port}" else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://shop.example:{server.server_port}"
        server.shutdown()


def fetcher() -> Fetcher:
    """A fetcher for which this machine is public, and 10.0.0.1 is not."""
    known = {"shop.example": ["127.0.0.1"], "internal.example": ["127.0.0.1", "10.0.0.1"]}
    return Fetcher(lambda host, port: known.get(host, []), lambda address: address == "127.0.0.1", max_bytes=20_000)


def test_a_photograph_is_fetched_from_the_checked_address_under_its_own_name(shop: str) -> None:
    assert fetcher()(f"{shop}/red.png").size == (6, 8)
    assert fetcher()(f"{shop}/old.png").size == (6, 8), "over a redirect"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/inside", "not a public address"),
        ("/file", "not a public address|no host"),
        ("/odd", "leads nowhere|no host"),
        ("/round", "more than 3 redirects"),
        ("/huge", "more than 20000 bytes"),
        ("/gone?key=secret", "answered 404"),
    ],
)
def test_what_must_not_be_fetched_is_refused_with_a_reason(shop: str, path: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        fetcher()(shop + path)
    assert "secret" not in str(refused.value)


def test_what_is_no_photograph_is_refused(shop: str) -> None:
    with pytest.raises(ImageError):
        fetcher()(f"{shop}/page")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:9/a.png",
            "http://[::1]:9/",
            "http://localhost:9/",
            "http://169.254.169.254/latest/meta-data",
        ),
        *(
            "http://[64:ff9b::a00:1]/",
            "http://[2002:a00:1::]/",
            "http://[::127.0.0.1]/",
            "http://224.0.0.1/",
            "http://[ff02::1]/",
        ),
        *("http://10.1.2.3/", "http://0x7f000001:9/", "http://[::ffff:10.0.0.1]/", "http://0.0.0.0:9/", "http:///x"),
    ],
)
def test_addresses_that_are_not_public_are_never_asked(url: str) -> None:
    with pytest.raises(UsageError, match=r"not a public address|no host that can be found"):
        Fetcher()(url)


def test_a_large_photograph_is_small_before_the_next_is_decoded() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((2000, 3000, 3), 90, np.uint8)).save(file, "PNG")
    assert opened(file.getvalue()).size == (1500, 1000)
    assert opened(picture()).size == (6, 8)
    file.seek(0)
    Image.new("1", (9_000, 8_000)).save(file, "PNG")
    with pytest.raises(ImageError, match="72 megapixels, more than the cap"):
        opened(file.getvalue())


def test_without_being_enabled_no_address_is_fetched(shop: str) -> None:
    with pytest.raises(UsageError, match="fetches no addresses"):
        from_data_url(f"{shop}/red.png")
