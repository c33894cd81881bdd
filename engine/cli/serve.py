"""`engine serve`: the HTTP API and the search page over one collection."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from engine.cli.options import (
    CollectionOption,
    DeviceOption,
    ModelOption,
    StoreOption,
    open_with_encoder,
    settings_of,
)
from engine.errors import UsageError

KEEP_ALIVE_S = 75
"""Longer than the 60 s of common proxies: they close an idle connection, so no request meets one that just ended."""
GRACE_S = 5
"""For the answers under way when it is told to end: `docker stop` kills after 10 s."""
RETRY_FOR_S = 2.0
"""How long a Qdrant server that refuses is asked again: as long as somebody looks at a page that is loading."""
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What stands for all addresses of a machine, and one of them."""


def serve_command(
    store: StoreOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    host: Annotated[str, typer.Option(help="Address; one beyond this machine only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any that is free.")] = 8000,
    body_mb: Annotated[int, typer.Option(min=1, max=1000, help="Largest body that is accepted, in MB.")] = 20,
    in_flight: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests at once; more are answered with 429.")
    ] = 64,
    writes: Annotated[
        bool | None,
        typer.Option(
            help="Let `engine ingest` and `delete` write through this server. [default: where it has no key]"
        ),
    ] = None,
    allow_image_urls: Annotated[
        bool, typer.Option("--allow-image-urls", help="Fetch photographs from public addresses that callers name.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Web page that may call the API from a browser (CORS); default: none.")
    ] = None,
) -> None:
    """Serve the collection: the search page at /, the API under /v1, /openapi.json, /readyz, /metrics.

    The key that callers must show is the setting server_key (ENGINE_SERVER_KEY); without one only this machine is
    served. Ctrl-C and SIGTERM end it once all requests are answered, or after 5 s; after SIGTERM the exit code is 0.
    """
    try:
        import uvicorn

        from engine.store.edge import EdgeStore
        from engine.store.open import served_at
        from engine.store.remote import LOOPBACK
        from serve.app import make_app
        from serve.guard import Limits
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install '.[serve]' in this program's source folder") from None

    signal.signal(signal.SIGTERM, end)  # uvicorn takes its place while it runs, and then raises the signal again
    settings = settings_of(store, collection, model, device)
    if host not in LOOPBACK and not settings.server_key:
        raise UsageError(f"--host {host} can be reached from elsewhere: set ENGINE_SERVER_KEY, or leave it out")
    if settings.server_key and not settings.server_key.isascii():
        raise UsageError("server_key has letters that no HTTP header carries: choose one of ASCII letters and digits")
    settings, instance = dataclasses.replace(settings, url=None), uuid.uuid4().hex
    if url := served_at(settings.store, settings.collection):
        raise UsageError(f"{settings.store} / {settings.collection} is served already, at {url}: use that, or end it")
    opened = open_with_encoder(settings, retry_for_s=RETRY_FOR_S)
    with ending_alone(), opened.store:
        limits = Limits(
            *(settings.server_key or None, body_mb * 1_000_000, in_flight, tuple(allow_origin or ())),
            image_urls=allow_image_urls,
            writes=not settings.server_key if writes is None else writes,
            instance=instance,
        )
        app = make_app(opened.store, opened.encoder, limits)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        with listen(host, port) as listening:
            own = EVERY_ADDRESS.get(host, host)
            url = f"http://{f'[{own}]' if ':' in own else own}:{listening.getsockname()[1]}"
            if isinstance(opened.store, EdgeStore):
                opened.store.announce(url, instance)
            print(f"serving {opened.store.location} on {url}", file=sys.stderr)
            uvicorn.Server(config).run(sockets=[listening])


def end(number: int, frame: object) -> NoReturn:
    """Leave every `with` and end with code 0, as one that was told to; a second signal must not cut that short."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


@contextmanager
def ending_alone() -> Iterator[None]:
    """End the process with what is within, unless that failed; threads that wait for Qdrant would hold it."""
    code = 0  # as it stays where whoever started it lets it ignore Ctrl-C, and uvicorn heeds that all the same
    try:
        yield
    except SystemExit as error:
        code = int(error.code or 0)
    except KeyboardInterrupt:
        print("engine: stopped", file=sys.stderr)
        code = 130
    sys.stderr.flush()
    os._exit(code)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises UsageError where the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio lets answers wait 40 ms
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who calls before the server is up waits in the queue
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}): choose another --port, or 0 for any"
        ) from None
    return listening
