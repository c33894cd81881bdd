"""Which store a location means: a URL is a Qdrant server, anything else the folder of an embedded one."""

from __future__ import annotations

import re
from pathlib import Path

from engine.store.protocol import Store


def open_store(
    location: str,
    collection: str,
    *,
    api_key: str | None = None,
    prefer_grpc: bool = False,
    timeout_s: float = 30,
    wait_s: float = 0,
) -> Store:
    """Return the collection's store; it is opened at the first use and need not exist yet.

    The client of the server is imported only for a URL: it takes a second.

    Raises:
        UsageError: a name that no collection can have.
    """
    if re.match(r"https?://", location):
        from engine.store.server import ServerStore

        return ServerStore(location, collection, api_key=api_key, prefer_grpc=prefer_grpc, timeout_s=timeout_s)
    from engine.store.edge import EdgeStore

    return EdgeStore(Path(location), collection, wait_s=wait_s)
