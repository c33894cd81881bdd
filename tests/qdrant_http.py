"""A test double for a Qdrant server: real HTTP on an ephemeral port, qdrant-client's local mode behind it.

It is stricter than local mode where the real server is: bodies with unknown fields are refused (the client's models
are generated from the server's specification), facets need an index, aliases cannot be given settings. What it cannot
show is anything of the real server's own: its graph, its quantization, its files, gRPC.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

Fault = Callable[[str, str, int], "tuple[int, dict[str, str], bytes] | None"]
"""(method, path, number of the request) -> what to answer instead; status 0 closes the connection without a word."""

BODIES: dict[tuple[str, str], Any] = {
    ("PUT", ""): models.CreateCollection,
    ("PATCH", ""): models.UpdateCollection,
    ("PUT", "index"): models.CreateFieldIndex,
    ("PUT", "points"): models.PointsList,
    ("POST", "points"): models.PointRequest,
    ("POST", "points/delete"): models.PointIdsList,
    ("POST", "points/batch"): models.UpdateOperations,
    ("POST", "points/scroll"): models.ScrollRequest,
    ("POST", "points/count"): models.CountRequest,
    ("POST", "points/query"): models.QueryRequest,
    ("POST", "points/query/batch"): models.QueryRequestBatch,
    ("POST", "facet"): models.FacetRequest,
}


@dataclass
class Double:
    """The server's state, and what it was asked."""

    url: str = ""
    api_key: str | None = None
    fault: Fault | None = None
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    version: str = "1.20.0"
    indexes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, body: Any) -> Any:
        parts = [unquote(part) for part in path.strip("/").split("/") if part]
        match parts:
            case []:
                return {"title": "qdrant - vector search engine", "version": self.version}
            case ["aliases"]:
                return self.client.get_aliases()
            case ["collections", "aliases"]:
                change = models.ChangeAliasesOperation.model_validate(body)
                return self.client.update_collection_aliases(change.actions)
            case ["collections", name, *rest]:
                operation = "/".join(rest)
                request = None
                if (method, operation) in BODIES:
                    request = TypeAdapter(BODIES[method, operation]).validate_python(body)
                return self.collection(method, name, operation, request)
        raise LookupError(path)

    def collection(self, method: str, name: str, operation: str, r: Any) -> Any:
        c = self.client
        match method, operation:
            case "GET", "":
                return c.get_collection(name)
            case "PUT", "":
                return c.create_collection(name, vectors_config=r.vectors, metadata=r.metadata)
            case "PATCH", "":
                self.real(name)
                return c.update_collection(name, metadata=r.metadata)
            case "DELETE", "":
                self.real(name)
                return c.delete_collection(name)
            case "PUT", "index":
                c.get_collection(name)
                self.indexes.setdefault(self.resolved(name), {})[r.field_name] = r.field_schema
                return done()
            case "DELETE", _ if operation.startswith("index/"):
                c.get_collection(name)
                del self.indexes[self.resolved(name)][operation.removeprefix("index/")]
                return done()
            case "PUT", "points":
                return c.upsert(name, r.points)
            case "POST", "points":
                return c.retrieve(name, r.ids, with_payload=r.with_payload, with_vectors=r.with_vector)
            case "POST", "points/delete":
                return c.delete(name, r)
            case "POST", "points/batch":
                c.batch_update_points(name, r.operations)
                return [done()]
            case "POST", "points/scroll":
                points, following = c.scroll(
                    name,
                    r.filter,
                    limit=r.limit,
                    offset=r.offset,
                    with_payload=r.with_payload,
                    with_vectors=r.with_vector or False,
                )
                return {"points": [point.model_dump(mode="json") for point in points], "next_page_offset": following}
            case "POST", "points/count":
                return c.count(name, r.filter, exact=r.exact)
            case "POST", "points/query":
                return c.query_batch_points(name, [without_params(r)])[0]
            case "POST", "points/query/batch":
                return c.query_batch_points(name, [without_params(each) for each in r.searches])
            case "POST", "facet":
                if r.key not in self.indexes.get(self.resolved(name), {}):
                    raise ValueError(f"No appropriate index for faceting: `{r.key}`")
                return c.facet(name, r.key, r.filter, limit=r.limit, exact=r.exact)
        raise LookupError(operation)

    def resolved(self, name: str) -> str:
        aliases = {alias.alias_name: alias.collection_name for alias in self.client.get_aliases().aliases}
        return aliases.get(name, name)

    def real(self, name: str) -> None:
        if self.resolved(name) != name:
            raise ValueError(f"Collection {name} not found")


def done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def without_params(request: models.QueryRequest) -> models.QueryRequest:
    """Local mode warns of the parameters of an index that it does not have."""
    return request.model_copy(update={"params": None})


@contextmanager
def serving(*, api_key: str | None = None, fault: Fault | None = None) -> Iterator[Double]:
    """Run a double on an ephemeral port of localhost."""
    double = Double(api_key=api_key, fault=fault)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            path = urlsplit(self.path).path
            with double.lock:
                double.requests.append((self.command, self.path, body))
                status, headers, content = self.answered(path, body)
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def answered(self, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
            if double.fault and (instead := double.fault(self.command, path, len(double.requests))):
                return instead
            if double.api_key and self.headers.get("api-key") != double.api_key:
                return 401, {}, b"Must provide an API key or an Authorization bearer token"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    result = double.answer(self.command, path, body)
            except ValidationError as error:
                return 400, {}, failure(f"Format error in JSON body: {error.errors()[0]}")
            except (ValueError, KeyError) as error:
                missing = "not found" in str(error)
                return (404 if missing else 400), {}, failure(str(error))
            except LookupError as error:
                return 404, {}, failure(f"no such path: {error}")
            if path == "/":
                return 200, {}, json.dumps(result).encode()
            return 200, {}, json.dumps({"result": jsonable(result), "status": "ok", "time": 0.0}).encode()

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        double.client.close()


@contextmanager
def serve() -> Iterator[str]:
    """Run a double and give its address."""
    with serving() as double:
        yield double.url


def failure(text: str) -> bytes:
    return json.dumps({"status": {"error": text}, "time": 0.0}).encode()


def jsonable(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json")
    if isinstance(result, list):
        return [jsonable(each) for each in result]
    return result
