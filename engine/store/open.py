"""Which store a location means: a URL is a Qdrant server, anything else the folder of an embedded one."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import UsageError
from engine.settings import check_address
from engine.store.protocol import Store

SERVER_URL = re.compile(r"https?://", re.IGNORECASE)
_OTHER_URL = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+/?")


def open_store(
    location: str,
    collection: str,
    *,
    api_key: str | None = None,
    prefer_grpc: bool = False,
    timeout_s: float = 30,
    retry_for_s: float | None = None,
    wait_s: float = 0,
) -> Store:
    """Return the collection's store; it is opened at the first use and need not exist yet.

    The client of the server is imported only for a URL: it takes a second.

    Raises:
        UsageError: a name that no collection can have, a server without http:// or https:// or with a password, or a
            file.
    """
    check_address(location, "store")
    if SERVER_URL.match(location):
        from engine.store.server import ServerStore
        from engine.store.server_calls import RETRY_FOR_S

        patience = RETRY_FOR_S if retry_for_s is None else retry_for_s
        return ServerStore(
            *(location, collection),
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            timeout_s=timeout_s,
            retry_for_s=patience,
        )
    if _HOST_AND_PORT.fullmatch(location) and not Path(location).exists():
        raise UsageError(f"{location} could be a server or a folder: write http://{location} or ./{location}")
    if _OTHER_URL.match(location):
        raise UsageError(f"{location} is no address of a Qdrant server: give http://HOST:PORT, or a folder")
    if not location or Path(location).is_file():
        raise UsageError(f"{location or 'a store without a name'} is no folder: name one that is, or that can be made")
    from engine.store.edge import EdgeStore

    return EdgeStore(Path(location), collection, wait_s=wait_s)


def served_at(location: str, collection: str) -> str | None:
    """Return the URL of the `engine serve` on this machine that has an embedded collection open, if one answers."""
    if SERVER_URL.match(location):
        return None
    from engine.store.edge_files import served_word

    word = served_word(Path(location) / collection)
    if word is None:
        return None
    import httpx

    url, instance = word
    try:
        answer = httpx.get(f"{url}/healthz", timeout=2, trust_env=False)
        return url if answer.json().get("instance") == instance else None
    except httpx.TimeoutException:  # it is there, and has its hands full
        return url
    except (httpx.HTTPError, ValueError, AttributeError):  # it was killed; another program may have its port
        return None
