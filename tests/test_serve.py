"""The HTTP API over a real embedded store and the bundled checkpoint, in process: what callers may rely on."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from workshop import over_http

from engine.encoder import Encoder
from engine.errors import CheckpointError, PassportError, StoreUnavailable
from engine.records import Vector
from engine.store.edge import EdgeStore
from serve import guard, watch
from serve.app import make_app
from serve.batcher import BatchingEncoder
from serve.guard import Guard, Limits
from serve.stages import Stages

LOCAL = "http://localhost"


def client_of(folder: Path, encoder: Encoder, limits: Limits | None = None, **options: Any) -> Iterator[TestClient]:
    with EdgeStore(folder, "fashion") as store:
        app = make_app(store, encoder, limits)
        with TestClient(app, base_url=LOCAL, raise_server_exceptions=False, **options) as client:
            yield client


@pytest.fixture
def client(ingested: Path, bundled_encoder: Encoder) -> Iterator[TestClient]:
    yield from client_of(ingested, bundled_encoder)


def scope_of(method: str) -> Scope:
    return {"type": "http", "method": method, "path": "/v1/search", "headers": [(b"host", b"localhost")]}


async def nothing_more() -> Message:
    """Receive, as an ASGI application does, a request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


class Sent(list[Message]):
    """What an ASGI application has sent."""

    async def __call__(self, message: Message) -> None:
        self.append(message)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def data_url(path: str) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def first(client: TestClient) -> dict[str, Any]:
    hit: dict[str, Any] = client.get("/v1/search", params={"q": "a red dress"}).json()["hits"][0]
    return hit


def test_an_address_and_a_body_find_the_same(client: TestClient) -> None:
    by_address = client.get("/v1/search", params={"q": "denim skirt", "where": "gender=women", "limit": 5})
    wanted = {"must": [{"key": "gender", "match": {"value": "women"}}]}
    by_body = client.post("/v1/search", json={"text": "denim skirt", "filter": wanted, "limit": 5})
    assert ids(by_address) == ids(by_body)
    assert len(ids(by_address)) == 5
    scores = [hit["score"] for hit in by_body.json()["hits"]]
    least = {"q": "denim skirt", "where": "gender=women", "min_score": scores[2] - 1e-5}
    assert ids(client.get("/v1/search", params=least)) == ids(by_body)[:3]
    sugar = client.post("/v1/search", json={"text": "denim skirt", "where": ["gender=women"], "limit": 5})
    assert ids(sugar) == ids(by_address)


def test_a_body_takes_both_filter_and_where_and_both_must_hold(client: TestClient) -> None:
    women = {"must": [{"key": "gender", "match": {"value": "women"}}]}
    both = client.post("/v1/search", json={"text": "coat", "filter": women, "where": ["gender=men,women"]})
    assert {hit["payload"]["gender"] for hit in both.json()["hits"]} == {"women"}
    assert ids(client.post("/v1/search", json={"text": "coat", "filter": women, "where": ["gender!=women"]})) == []
    assert client.post("/v1/search", json={"where": ["colr=red"]}).status_code == 400
    too_many = {"where": ["gender=men"] * 33}
    assert client.post("/v1/search/image", files={"file": b"x"}, data=too_many).status_code == 422


def test_pages_follow_each_other_without_a_gap_or_a_duplicate(client: TestClient) -> None:
    whole = ids(client.get("/v1/search", params={"q": "coat", "limit": 48}))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        answer = client.get("/v1/search", params={"q": "coat", "limit": 7} | ({"cursor": cursor} if cursor else {}))
        seen += ids(answer)
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert seen == whole
    assert len(set(seen)) == 48


def test_every_parameter_of_an_address_means_what_the_same_field_of_a_body_means(client: TestClient) -> None:
    plain = client.post("/v1/search", json={"text": "coat"}).json()
    page = client.post("/v1/search", json={"text": "coat", "limit": 5}).json()
    item = plain["hits"][3]["id"]
    changing: dict[str, Any] = {
        **{"where": ["gender=women"], "like": [item], "unlike": [item], "unwanted": ["floral"], "limit": 3},
        **{"cursor": page["next"], "group_by": "gender", "min_score": plain["hits"][3]["score"]},
    }
    for name, value in changing.items():
        by_address = client.get("/v1/search", params={"q": "coat", name: value}).json()
        assert by_address == client.post("/v1/search", json={"text": "coat", name: value}).json(), name
        assert by_address != plain, name
    assert client.get("/v1/search", params={"q": "coat", "rerank": "cross"}).status_code == 400
    for exact in (False, True):
        asked = {"exact": exact, "explain": True}
        by_address = client.get("/v1/search", params={"q": "coat", **asked}).json()
        by_body = client.post("/v1/search", json={"text": "coat", **asked}).json()
        for answer in (by_address, by_body):
            assert (answer["explain"]["exact"], answer["explain"]["tokens"]) == (exact, 3)
        assert by_address["hits"] == by_body["hits"] == plain["hits"]


def test_a_form_has_words_filters_and_pages_beside_its_photograph(client: TestClient) -> None:
    hit = first(client)
    photograph = Path(hit["payload"]["uri"]).read_bytes()

    def ask(**more: Any) -> Any:
        return client.post("/v1/search/image", files={"file": photograph}, data=more).json()

    plain = ask(limit=6)
    assert [one["id"] for one in ask(limit=4, cursor=ask(limit=2)["next"])["hits"]] == [
        one["id"] for one in plain["hits"][2:]
    ]
    assert {one["payload"]["gender"] for one in ask(where="gender=men")["hits"]} == {"men"}
    both = client.post("/v1/search", json={"text": "coat", "images": [data_url(hit["payload"]["uri"])], "limit": 6})
    assert ask(q="coat", limit=6) == both.json() != plain


def test_a_recommendation_heeds_what_it_should_not_resemble_its_filter_and_its_limit(client: TestClient) -> None:
    hits = client.get("/v1/search", params={"q": "a red dress"}).json()["hits"]
    good, bad = hits[0]["id"], hits[1]["id"]

    def ask(**more: Any) -> list[str]:
        return ids(client.post("/v1/recommend", json={"positive": [good], "limit": 48, **more}))

    plain = ask()
    assert len(plain) == 47
    less = ask(negative=[bad])
    assert bad in plain and bad not in less and less != [one for one in plain if one != bad]
    women = ids(client.get("/v1/search", params={"where": "gender=women", "limit": 48}))
    assert set(ask(filter={"must": [{"key": "gender", "match": {"value": "women"}}]})) == set(women) - {good}
    assert ask(limit=2) == plain[:2] == ids(client.get(f"/v1/items/{good}/similar", params={"limit": 2}))


def test_browsing_gives_no_score_and_the_last_page_no_next(client: TestClient) -> None:
    answer = client.get("/v1/search", params={"where": "gender?", "limit": 48}).json()
    assert (len(answer["hits"]), answer["next"]) == (48, None)
    assert not any("score" in hit for hit in answer["hits"])
    assert client.get("/v1/search", params={"limit": 47}).json()["next"]


def test_no_page_is_promised_that_a_cursor_cannot_reach(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.app.DEEPEST", 20)
    for limit, follows in ((20, True), (21, False)):
        answer = client.get("/v1/search", params={"q": "coat", "limit": limit}).json()
        assert (len(answer["hits"]), answer["next"] is not None) == (limit, follows)


def test_a_photograph_finds_itself_uploaded_or_in_a_data_url(client: TestClient) -> None:
    hit = first(client)
    uploaded = client.post("/v1/search/image", files={"file": Path(hit["payload"]["uri"]).read_bytes()})
    posted = client.post("/v1/search", json={"images": [data_url(hit["payload"]["uri"])]})
    assert ids(uploaded)[0] == ids(posted)[0] == hit["id"]


def test_more_like_this_leaves_the_example_out(client: TestClient) -> None:
    hit = first(client)
    for answer in (
        client.get(f"/v1/items/{hit['id']}/similar"),
        client.post("/v1/search", json={"like": [hit["id"]]}),
        client.post("/v1/search", json={"like": [hit["point_id"]]}),
        client.get("/v1/search", params={"q": "dress", "unlike": hit["point_id"]}),
        client.post("/v1/recommend", json={"positive": [hit["id"]]}),
    ):
        assert ids(answer)
        assert hit["id"] not in ids(answer)


def test_a_recommendation_finds_what_a_search_for_the_same_examples_finds(client: TestClient) -> None:
    examples = ids(client.get("/v1/search?q=dress&limit=5"))
    women = {"must": [{"key": "gender", "match": {"value": "women"}}]}
    asked = {"positive": examples[:1], "negative": examples[1:], "filter": women}
    recommended = client.post("/v1/recommend", json=asked)
    sought = client.post("/v1/search", json={"like": examples[:1], "unlike": examples[1:], "filter": women})
    assert ids(recommended) == ids(sought)
    scores = [[hit["score"] for hit in answer.json()["hits"]] for answer in (recommended, sought)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert client.post("/v1/recommend", json={"positive": ["nobody"]}).status_code == 404


def test_an_item_is_found_by_its_id_and_by_its_point_id(client: TestClient) -> None:
    hit = first(client)
    assert client.get(f"/v1/items/{hit['id']}").json()["point_id"] == hit["point_id"]
    assert client.get(f"/v1/items/{hit['point_id']}").json()["id"] == hit["id"]
    assert client.get("/v1/items/no-such-item").status_code == 404


def test_facets_count_what_passes_the_filter(client: TestClient) -> None:
    whole = client.get("/v1/facets", params={"field": "gender"}).json()
    counts = {entry["value"]: entry["count"] for entry in whole["facets"]["gender"]}
    assert sum(counts.values()) == whole["total"] == 48
    some = client.get("/v1/facets", params={"field": "gender", "where": "gender=women"}).json()
    assert some["total"] == counts["women"]
    assert some["facets"]["gender"] == [{"value": "women", "count": counts["women"]}]
    assert len(client.get("/v1/facets", params={"field": "gender", "limit": 1}).json()["facets"]["gender"]) == 1


def test_embeddings_come_in_openais_shape_for_words_and_photographs(
    client: TestClient, bundled_encoder: Encoder
) -> None:
    url = data_url(first(client)["payload"]["uri"])
    answer = client.post("/v1/embeddings", json={"input": ["a red dress", url], "model": "fashion-small"}).json()
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    expected = bundled_encoder.encode_texts(["a red dress"])[0]
    np.testing.assert_allclose(answer["data"][0]["embedding"], expected, atol=1e-5)
    coded = client.post("/v1/embeddings", json={"input": "a red dress", "encoding_format": "base64"}).json()
    row = np.frombuffer(base64.b64decode(coded["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(row, expected, atol=1e-5)
    assert client.post("/v1/embeddings", json={"input": "x", "model": "gpt"}).status_code == 400


def test_a_text_that_begins_with_data_is_embedded_as_a_text(client: TestClient, bundled_encoder: Encoder) -> None:
    texts = ["data: a red dress", "data:image of a coat, long", "data:text/plain;base64,eA=="]
    answer = client.post("/v1/embeddings", json={"input": texts, "encoding_format": None})
    assert answer.status_code == 200, answer.text
    rows = [entry["embedding"] for entry in answer.json()["data"]]
    np.testing.assert_allclose(rows, bundled_encoder.encode_texts(texts), atol=1e-5)


def test_who_sends_token_ids_is_told_to_send_texts(client: TestClient) -> None:
    for tokens in ([5, 7], [[5, 7], [9]], ["a hat", [5]]):
        answer = client.post("/v1/embeddings", json={"input": tokens})
        assert (answer.status_code, "send texts" in answer.json()["detail"]) == (400, True)


def test_the_one_model_is_listed_in_openais_shape_and_can_be_asked_for(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert (listed["object"], [one["object"] for one in listed["data"]]) == ("list", ["model"])
    asked = {"input": "a hat", "model": listed["data"][0]["id"]}
    assert client.post("/v1/embeddings", json=asked).json()["model"] == asked["model"]
    assert client.get(f"/v1/models/{asked['model']}").json() == listed["data"][0]


def test_a_qdrant_server_is_answered_as_its_inference_service(client: TestClient) -> None:
    photograph = {"data": data_url(first(client)["payload"]["uri"]), "data_type": "image", "model": "fashion-small"}
    text = {"data": "data: red dress", "data_type": "text", "model": "fashion-small", "options": None}
    answer = client.post("/infer", json={"inputs": [photograph, text], "token": None, "inference": "search"}).json()
    np.testing.assert_allclose(np.linalg.norm(answer["embeddings"], axis=1), 1, atol=1e-5)
    for wrong in (
        {"model": "clip"},
        {"data": "https://example.com/a.jpg", "data_type": "image"},
        {"data": "x" * 2001},
    ):
        assert client.post("/infer", json={"inputs": [text | wrong]}).status_code == 400, wrong
    assert client.post("/infer", json={"inputs": [{"data": {}, "data_type": "object"}]}).status_code == 422


def test_pictures_come_with_an_etag_and_are_not_sent_twice(client: TestClient) -> None:
    hit = first(client)
    for address in (hit["image"], hit["thumb"] + "?w=96"):
        answer = client.get(address)
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "private, max-age=3600", "who needs a key leaves no copy to others"
        Image.open(io.BytesIO(answer.content)).verify()
        for shown in (answer.headers["etag"], "*"):
            again = client.get(address, headers={"If-None-Match": shown})
            assert (again.status_code, again.content) == (304, b"")
    length = client.get(hit["image"]).headers["content-length"]
    assert client.head(hit["image"]).headers["content-length"] == length
    assert max(Image.open(io.BytesIO(client.get(hit["thumb"] + "?w=96").content)).size) == 96


def test_a_payload_that_names_another_file_shows_nobody_its_content(
    ingested: Path, bundled_encoder: Encoder, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    with EdgeStore(ingested, "fashion") as store:
        record = store.scroll(limit=1)[0][0]
        store.set_payload({record.id: {**(record.payload or {}), "uri": str(secret)}})
    for client in client_of(ingested, bundled_encoder):
        for address in (f"/v1/images/{record.id}", f"/v1/images/{record.id}/thumb"):
            answer = client.get(address)
            assert answer.status_code == 404
            assert "password" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/search?q=x&where=colr%3Dred", None, 400),
        ("GET", "/v1/search?q=x&cursor=nonsense", None, 400),
        ("GET", "/v1/search?q=x&limit=0", None, 422),
        ("GET", "/v1/search?q=x&lmit=3", None, 400),
        ("POST", "/v1/embeddings", b'{"input": "x", "dimensions": 5}', 400),
        ("GET", "/v1/search?like=nobody", None, 400),
        ("POST", "/v1/search", b'{"text": "\\ud800"}', 422),
        ("POST", "/v1/search", b'{"text": "x", "min_score": NaN}', 422),
        ("POST", "/v1/search", b"{", 422),
        ("POST", "/v1/search", b'{"txt": "x"}', 422),
        ("POST", "/v1/search", b'{"images": ["data:image/png;base64,AAAA"]}', 400),
        ("POST", "/v1/search", b'{"text": "x", "filter": {"mst": []}}', 400),
        ("POST", "/v1/search/image", None, 422),
        ("GET", "/v1/facets?field=nothing", None, 400),
        ("GET", "/v1/models/openai%2Fclip", None, 404),
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/v1/search", None, 405),
    ],
)
def test_what_a_user_gets_wrong_is_told_as_a_problem_document(
    client: TestClient, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["detail"]


def test_a_key_is_asked_of_everybody_but_the_watchers(ingested: Path, bundled_encoder: Encoder) -> None:
    right = {"X-API-Key": "secret"}
    for client in client_of(ingested, bundled_encoder, Limits(key="secret")):
        for path in ("/healthz", "/readyz", "/", "/page/app.js"):
            assert client.get(path).status_code == 200, path
        asked = {
            (method.upper(), path)
            for path, methods in client.get("/openapi.json", headers=right).json()["paths"].items()
            for method in methods
            if path not in ("/healthz", "/readyz")
        }
        assert len(asked) > 10
        unlisted = (
            "/openapi.json",
            "/nowhere",
            "/page",
            "/pages/x",
            "//",
            "/healthz/",
            "/HEALTHZ",
            "/readyz/x",
            "/v1",
        )
        asked |= {("POST", "/v1/store/count"), *(("GET", path) for path in unlisted)}
        for method, path in asked:
            answer = client.request(method, LOCAL + path)
            assert (answer.status_code, answer.headers.get("www-authenticate")) == (401, "Bearer"), path
            assert client.request(method, LOCAL + path, headers=right).status_code != 401, path


def test_only_the_very_key_is_let_in_by_either_header(ingested: Path, bundled_encoder: Encoder) -> None:
    for client in client_of(ingested, bundled_encoder, Limits(key="secret")):
        for wrong in ("", "s", "secre", "secrets", "Secret", "secret, secret", "sécret"):
            for name, value in (("X-API-Key", wrong), ("Authorization", f"Bearer {wrong}")):
                headers = {name: value.encode("latin-1")}
                assert client.get("/v1/models", headers=headers).status_code == 401, headers
        for header in ("secret", "Basic secret", "Bearersecret"):
            assert client.get("/v1/models", headers={"Authorization": header}).status_code == 401, header
        for header in ("Bearer secret", "bearer secret", "BEARER  secret "):
            assert client.get("/v1/models", headers={"Authorization": header}).status_code == 200, header
        assert client.get("/v1/models", headers={"X-API-Key": "secret"}).status_code == 200


def test_without_a_key_a_foreign_name_that_points_here_is_refused(client: TestClient) -> None:
    for host in ("evil.example", "localhost.evil.example", "localhost:8801@evil", "localhost:x", "[::1]evil", ""):
        assert client.get("/v1/search?q=x", headers={"Host": host}).status_code == 403, host
    for host in ("LOCALHOST:8801", "localhost", "127.0.0.1:80", "[::1]", "[::1]:8000"):
        assert client.get("/v1/search?q=x", headers={"Host": host}).status_code == 200, host


def test_a_body_over_the_limit_is_refused_with_or_without_its_length(ingested: Path, bundled_encoder: Encoder) -> None:
    for client in client_of(ingested, bundled_encoder, Limits(body_bytes=1000)):
        for size, status in ((1000, 200), (1001, 413)):
            body = b'{"text": "x"}'.ljust(size)
            kind = {"Content-Type": "application/json"}
            assert client.post("/v1/search", content=body, headers=kind).status_code == status
            assert (
                client.post("/v1/search", content=iter([body[:900], body[900:]]), headers=kind).status_code == status
            )
        for length in ("-1", "1e3", "1001"):
            assert client.get("/v1/models", headers={"Content-Length": length}).status_code == 413, length


def test_more_requests_than_allowed_are_told_to_come_again(ingested: Path, bundled_encoder: Encoder) -> None:
    for client in client_of(ingested, bundled_encoder, Limits(in_flight=0)):
        answer = client.get("/v1/search?q=x")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        for path in ("/healthz", "/readyz", "/metrics", "/", "/page/app.js"):
            assert client.get(path).status_code == 200, "these take no worker thread"
        assert 'engine_requests_total{route="refused",status="429"} 1.0' in client.get("/metrics").text


def test_as_many_requests_as_allowed_are_answered_at_once_and_then_as_many_again() -> None:
    async def ask() -> None:
        begun, go_on = asyncio.Semaphore(0), asyncio.Event()
        late = asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            begun.release()
            await go_on.wait()
            await PlainTextResponse("searched")(scope, receive, send)

        async def unread() -> Message:
            raise AssertionError("who is refused by the head of a request need not send its body")

        async def comes_late() -> Message:
            begun.release()
            await late.wait()
            return await nothing_more()

        stages = Stages()
        guarded = Guard(waits, Limits(in_flight=2), stages)
        for _ in range(2):
            go_on.clear()
            answers = [Sent() for _ in range(4)]
            asking = [asyncio.ensure_future(guarded(scope_of("POST"), comes_late, answers[2]))]
            await begun.acquire()
            for answer in answers[:2]:
                asking.append(asyncio.ensure_future(guarded(scope_of("GET"), nothing_more, answer)))
                await begun.acquire()
            assert b"engine_in_flight 2.0" in stages.text()
            await guarded(scope_of("POST"), unread, answers[3])
            late.set()  # its body is there now, and both places are still taken
            await asking[0]
            go_on.set()
            await asyncio.gather(*asking)
            assert [answer[0]["status"] for answer in answers] == [200, 200, 429, 429]
            assert b"engine_in_flight 0.0" in stages.text()
            late.clear()

    asyncio.run(asyncio.wait_for(ask(), 20))  # who is let in by mistake would wait for ever


def test_how_a_request_ended_is_counted_once_and_as_it_ended() -> None:
    async def ask(app: Any, receive: Any) -> tuple[list[Message], str]:
        stages, sent = Stages(), Sent()
        with suppress(RuntimeError, asyncio.CancelledError):
            await Guard(app, Limits(), stages)(scope_of("POST"), receive, sent)
        (line,) = (line for line in stages.text().decode().splitlines() if line.startswith("engine_requests_total"))
        return sent, line

    async def leaves() -> Message:
        return {"type": "http.disconnect"}

    def breaking(error: BaseException) -> Any:
        async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 206, "headers": []})
            raise error

        return breaks

    fine = PlainTextResponse("searched")
    assert asyncio.run(ask(fine, leaves)) == ([], 'engine_requests_total{route="refused",status="499"} 1.0')
    for error in (RuntimeError("a bug"), asyncio.CancelledError()):
        sent, line = asyncio.run(ask(breaking(error), nothing_more))
        assert [message["type"] for message in sent] == ["http.response.start"], "no second beginning"
        assert line == 'engine_requests_total{route="other",status="206"} 1.0'


def test_uploads_that_stall_take_nobodys_place() -> None:
    async def ask() -> None:
        begun = asyncio.Semaphore(0)

        async def stalls() -> Message:
            begun.release()
            return await asyncio.Future()

        guarded, sent = Guard(PlainTextResponse("searched"), Limits(in_flight=1), Stages()), Sent()
        stalled = [asyncio.ensure_future(guarded(scope_of("POST"), stalls, sent)) for _ in range(3)]
        for _ in stalled:
            await begun.acquire()
        assert sent == []
        await guarded(scope_of("GET"), nothing_more, sent)
        assert sent[0]["status"] == 200
        for one in stalled:
            one.cancel()
        await asyncio.gather(*stalled)

    asyncio.run(ask())


def test_bodies_on_their_way_are_held_up_to_what_requests_at_work_could_hold() -> None:
    async def ask() -> None:
        waiting = asyncio.Event()
        parts = iter([b"x" * 600])

        async def half() -> Message:
            if part := next(parts, None):
                return {"type": "http.request", "body": part, "more_body": True}
            waiting.set()
            return await asyncio.Future()

        async def whole() -> Message:
            return {"type": "http.request", "body": b"x" * 600}

        async def just_fits() -> Message:
            return {"type": "http.request", "body": b"x" * 400}

        guarded, sent = Guard(PlainTextResponse("searched"), Limits(in_flight=1, body_bytes=1000), Stages()), Sent()
        first = asyncio.ensure_future(guarded(scope_of("POST"), half, sent))
        await waiting.wait()
        await guarded(scope_of("POST"), just_fits, sent)
        assert sent[0]["status"] == 200
        sent.clear()
        await guarded(scope_of("POST"), whole, sent)
        assert sent[0]["status"] == 429
        first.cancel()
        await first
        sent.clear()
        await guarded(scope_of("POST"), whole, sent)
        assert sent[0]["status"] == 200, "what the other held is free again"

    asyncio.run(ask())


def test_a_body_that_does_not_come_is_given_up_and_its_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_WITHIN_S", 0.0)
    with (
        over_http(Guard(PlainTextResponse("searched"), Limits(), Stages())) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as connection,
    ):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 408 "), "all of it: the connection ends"


def test_a_body_has_longer_the_more_of_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_WITHIN_S", 0.0)
    monkeypatch.setattr(guard, "BYTES_PER_S", 1)

    async def ask() -> None:
        parts = iter([b"x" * 1000, b"y"])

        async def steady() -> Message:
            part = next(parts)
            if part == b"y":
                await asyncio.sleep(0)  # let the deadline of before strike
                await asyncio.sleep(0)
            return {"type": "http.request", "body": part, "more_body": part != b"y"}

        sent = Sent()
        await Guard(PlainTextResponse("searched"), Limits(), Stages())(scope_of("POST"), steady, sent)
        assert sent[0]["status"] == 200

    asyncio.run(ask())


def test_a_server_whose_threads_all_wait_for_the_store_shows_its_page_and_how_it_is(
    ingested: Path, bundled_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, at_work = threading.Event(), threading.Semaphore(0)

    def wait(*_: object, **__: object) -> int:
        at_work.release()
        go_on.wait()
        return 0

    monkeypatch.setattr(watch, "READY_WITHIN_S", 0.01)
    for client in client_of(ingested, bundled_encoder, Limits(in_flight=100)):
        monkeypatch.setattr(EdgeStore, "count", wait)
        with ThreadPoolExecutor(60) as pool:
            busy = [pool.submit(client.get, "/v1/facets?field=gender") for _ in range(60)]
            for _ in range(40):
                assert at_work.acquire(timeout=60)
            try:
                for path in ("/healthz", "/metrics", "/", "/page/app.js"):
                    assert client.get(path).status_code == 200, path
                for _ in range(3):
                    assert "has not answered" in client.get("/readyz").json()["detail"]
                assert at_work.acquire(timeout=60), "who asks whether it is ready shares one thread of its own"
                assert not at_work.acquire(blocking=False)
            finally:
                go_on.set()
            assert {one.result().status_code for one in busy} == {200}


def test_a_browser_asks_whether_the_pages_files_are_current_and_gets_them_once(client: TestClient) -> None:
    for path in ("/", "/page/app.js", "/page/style.css"):
        answer = client.get(path)
        assert answer.headers["cache-control"] == "no-cache", path
        for shown in (answer.headers["etag"], f'"other", W/{answer.headers["etag"]}', "*"):
            assert client.get(path, headers={"If-None-Match": shown}).status_code == 304
        assert client.get(path, headers={"If-None-Match": '"other"'}).content == answer.content
    assert client.get("/page/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/page/..%2Fapp.py").status_code == client.get("/page/nothing.js").status_code == 404


def test_who_still_waits_when_the_server_ends_is_told_so() -> None:
    async def ask_and_end() -> None:
        asked, sent = asyncio.Event(), Sent()

        async def never(scope: Scope, receive: Receive, send: Send) -> None:
            asked.set()
            await asyncio.Future()

        asking = asyncio.ensure_future(Guard(never, Limits(), Stages())(scope_of("GET"), nothing_more, sent))
        await asked.wait()
        asking.cancel()
        await asking
        assert sent[0]["status"] == 503
        assert "being stopped" in sent[1]["body"].decode()

    asyncio.run(ask_and_end())


def test_only_named_pages_may_call_from_a_browser(ingested: Path, bundled_encoder: Encoder) -> None:
    shop = {"Origin": "https://shop.example"}
    for client in client_of(ingested, bundled_encoder):
        assert "access-control-allow-origin" not in client.get("/v1/search?q=x", headers=shop).headers
    for client in client_of(ingested, bundled_encoder, Limits(origins=("https://shop.example",))):
        answer = client.get("/v1/search?q=x", headers=shop)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        other = client.get("/v1/search?q=x", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        preflight = client.options("/v1/search", headers=asked)
        assert preflight.status_code == 400
        assert preflight.headers["x-content-type-options"] == "nosniff"


def test_every_answer_forbids_foreign_scripts(client: TestClient) -> None:
    for path in ("/", "/v1/search?q=x", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_texts_that_come_together_share_their_fate_and_none_waits_for_a_stopped_server(
    bundled_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = BatchingEncoder(bundled_encoder, Stages())
    rows = batching.encode_texts(["a hat", "a coat", "a hat"])
    np.testing.assert_allclose(rows, bundled_encoder.encode_texts(["a hat", "a coat", "a hat"]), atol=1e-5)

    def broken(texts: Sequence[str]) -> Vector:
        raise CheckpointError("damaged")

    with monkeypatch.context() as patched:
        patched.setattr(bundled_encoder, "encode_texts", broken)
        with ThreadPoolExecutor(3) as pool:
            for failed in [pool.submit(batching.encode_texts, [f"socks {n}"]) for n in range(3)]:
                with pytest.raises(CheckpointError, match="damaged"):
                    failed.result()
    assert batching.encode_texts(["socks 1"]).shape == (1, rows.shape[1])
    batching.close()
    assert batching.encode_texts(["a hat"]).shape == (1, rows.shape[1])  # which it remembers
    with pytest.raises(StoreUnavailable, match="being stopped"):
        batching.encode_texts(["gloves"])


def test_every_answer_has_the_form_that_the_openapi_document_gives(ingested: Path, bundled_encoder: Encoder) -> None:
    key = {"X-API-Key": "secret"}
    for client in client_of(ingested, bundled_encoder, Limits(key="secret", body_bytes=1000)):
        document = client.get("/openapi.json", headers=key).json()
        found = client.get("/v1/search?q=a+hat", headers=key)
        thumb = found.json()["hits"][0]["thumb"]
        tag = client.get(thumb, headers=key).headers["etag"]
        for method, path, answer, expected in (
            ("get", "/v1/search", found, 200),
            ("get", "/v1/search", client.get("/v1/search?q=x"), 401),
            ("get", "/v1/search", client.get("/v1/search?q=x&limit=0", headers=key), 422),
            ("get", "/v1/search", client.get("/v1/search?q=x&where=colr=1", headers=key), 400),
            ("get", "/v1/search", client.delete("/v1/search", headers=key), 405),
            ("post", "/v1/search", client.post("/v1/search", content=b"x" * 1001, headers=key), 413),
            ("get", "/v1/facets", client.get("/v1/facets", headers=key), 200),
            ("get", "/v1/items/{id}", client.get("/v1/items/nobody", headers=key), 404),
            ("post", "/v1/embeddings", client.post("/v1/embeddings", json={"input": "x"}, headers=key), 200),
            ("get", "/v1/models", client.get("/v1/models", headers=key), 200),
            ("get", "/v1/models/{id}", client.get("/v1/models/fashion-small", headers=key), 200),
            ("post", "/infer", client.post("/infer", json={"inputs": [{"data": "x"}]}, headers=key), 200),
            ("get", "/v1/images/{id}/thumb", client.get(thumb, headers=key), 200),
            ("get", "/v1/images/{id}/thumb", client.get(thumb, headers={**key, "If-None-Match": tag}), 304),
            ("get", "/v1/images/{id}", client.get(thumb.removesuffix("/thumb"), headers=key), 200),
            ("get", "/healthz", client.get("/healthz"), 200),
            ("get", "/readyz", client.get("/readyz"), 200),
            ("get", "/metrics", client.get("/metrics", headers=key), 200),
        ):
            assert answer.status_code == expected, (path, answer.text)
            told = document["paths"][path][method]["responses"][str(expected)]
            if expected == 304:
                continue
            form = told["content"][answer.headers["content-type"].partition(";")[0]]["schema"]
            if "json" in answer.headers["content-type"]:
                Draft202012Validator({**form, "components": document["components"]}).validate(answer.json())
                named = document["components"]["schemas"][form["$ref"].rpartition("/")[2]]
                assert set(answer.json()) <= set(named["properties"]), path
            else:
                assert form["type"] == "string"


def test_the_openapi_document_says_how_the_key_is_shown_and_who_needs_none(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {(one["type"], one.get("scheme") or one["name"]) for one in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    assert document["security"] == [*({name: []} for name in schemes), {}], "this server has no key"
    assert [path for path, methods in document["paths"].items() if methods.get("get", {}).get("security") == []] == [
        "/healthz",
        "/readyz",
    ]


def test_metrics_count_stages_and_routes(client: TestClient) -> None:
    client.get("/v1/search?q=a+hat")
    client.get("/v1/items/nobody")
    client.get("/page/app.js")
    client.get("/v1/search?q=x", headers={"Host": "evil.example"})
    text = client.get("/metrics").text
    assert 'engine_stage_seconds_count{stage="search"} 1.0' in text
    assert 'engine_stage_seconds_count{stage="embed text"}' in text
    assert 'engine_requests_total{route="/v1/items/{id:path}",status="404"} 1.0' in text
    assert 'engine_requests_total{route="/page/{name}",status="200"} 1.0' in text
    assert 'engine_requests_total{route="refused",status="403"} 1.0' in text
    assert 'engine_request_seconds_bucket{le="60.0",route="/v1/search"} 1.0' in text


def test_metrics_count_what_failed_for_no_known_reason(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: EdgeStore, *_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(EdgeStore, "search", broken)
    assert client.get("/v1/search?q=a+hat").status_code == 500
    assert 'engine_requests_total{route="/v1/search",status="500"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("tower", ["text", "image"])
def test_a_tower_that_computes_something_else_is_not_served(
    ingested: Path, bundled_encoder: Encoder, tower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(bundled_encoder, name := "encode_texts" if tower == "text" else "encode_pixels")
    monkeypatch.setattr(bundled_encoder, name, lambda given: -real(given))
    with EdgeStore(ingested, "fashion") as store, pytest.raises(PassportError, match=f"the {tower} tower"):
        make_app(store, bundled_encoder)


def test_a_collection_that_another_checkpoint_has_made_meanwhile_is_neither_searched_nor_embedded_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = EdgeStore.spec
    monkeypatch.setattr(
        EdgeStore, "spec", lambda self: replace(real(self), passport={**real(self).passport, "fingerprint": "other"})
    )
    for method, path, body in (
        ("GET", "/v1/search?q=a+hat", None),
        ("GET", "/readyz", None),
        ("POST", "/v1/embeddings", {"input": "a hat"}),
        ("POST", "/infer", {"inputs": [{"data": "a hat"}]}),
    ):
        answer = client.request(method, path, json=body)
        assert answer.status_code == 503, path
        assert "the index was made by checkpoint" in answer.json()["detail"]
