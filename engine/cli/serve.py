"""`engine serve`: the HTTP API and the search page over one collection."""

from __future__ import annotations

import sys
from typing import Annotated

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
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_command(
    store: StoreOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    host: Annotated[str, typer.Option(help="Address; one beyond this machine only with a key.")] = LOOPBACK[0],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any that is free.")] = 8000,
    body_mb: Annotated[int, typer.Option(min=1, max=1000, help="Largest body that is accepted, in MB.")] = 20,
    in_flight: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests at once; more are answered with 429.")
    ] = 64,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Web page that may call the API from a browser (CORS); default: none.")
    ] = None,
) -> None:
    """Serve the collection: the search page at /, the API under /v1, /openapi.json, /readyz, /metrics.

    The key that callers must show is the setting server_key (ENGINE_SERVER_KEY); without one only this machine is
    served. Ctrl-C ends it once all requests are answered.
    """
    try:
        import uvicorn

        from serve.app import make_app
        from serve.guard import Limits
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install 'fashion-search-engine[serve]'") from None

    settings = settings_of(store, collection, model, device)
    if host not in LOOPBACK and not settings.server_key:
        raise UsageError(f"--host {host} can be reached from elsewhere: set ENGINE_SERVER_KEY, or leave it out")
    opened = open_with_encoder(settings)
    with opened.store:
        limits = Limits(settings.server_key, body_mb * 1_000_000, in_flight, tuple(allow_origin or ()))
        app = make_app(opened.store, opened.encoder, limits)
        print(f"serving {opened.store.location} on http://{host}:{port}", file=sys.stderr)
        config = uvicorn.Config(
            *(app, host, port),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=10,
        )
        uvicorn.Server(config).run()
