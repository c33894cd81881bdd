"""The store on a server when the server, or the way to it, is not at its best."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import stamina
from qdrant_client import QdrantClient, models
from qdrant_http import Fault, failure, serving

from engine.errors import StoreError, StoreFull, StoreMissing, StoreUnavailable
from engine.filters import parse_where
from engine.records import Point, point_id
from engine.store.open import open_store
from engine.store.protocol import CollectionSpec, SearchSpec
from engine.store.server import ServerStore

SPEC = CollectionSpec(4, {"model": "a", "golden": [0.25]}, {"colour": "keyword", "hat": "bool", "width": "integer"})
VECTOR = np.array([1, 0, 0, 0], np.float32)
KEY = "k3y-that-must-not-leak"


def points(count: int) -> list[Point]:
    names = [f"item {n}" for n in range(count)]
    return [Point(point_id(name), VECTOR, {"item_id": name, "hat": True}) for name in names]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Retries as usual, without the waiting between them."""
    with stamina.set_testing(True, attempts=6, cap=True):
        yield


def fails(times: int, status: int, headers: dict[str, str] | None = None, where: str = "/points") -> Fault:
    """Fail the first ``times`` requests whose path ends in ``where``."""
    left = [times]

    def fault(_: str, path: str, __: int) -> tuple[int, dict[str, str], bytes] | None:
        if not path.endswith(where) or not left[0]:
            return None
        left[0] -= 1
        return status, headers or {}, failure("try later")

    return fault


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {}), (429, {"Retry-After": "0"}), (502, {}), (503, {}), (504, {}), (0, {})]
)
@pytest.mark.usefixtures("impatient")
def test_a_passing_weakness_of_the_server_is_waited_out(status: int, headers: dict[str, str]) -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(SPEC)
        double.fault = fails(3, status, headers)
        store.upsert(points(3))
        assert store.count() == 3
        attempts = [path for method, path, _ in double.requests if method == "PUT" and "/points" in path]
        assert len(attempts) == 4


@pytest.mark.usefixtures("impatient")
def test_a_lasting_weakness_ends_in_one_error_that_names_the_server() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(SPEC)
        for status in (429, 503):
            double.fault = fails(1000, status)
            with pytest.raises(StoreUnavailable, match=f"{double.url} kept refusing .{status}: try later"):
                store.upsert(points(1))


def test_the_server_says_how_long_to_wait_and_is_heard() -> None:
    waits: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    try:
        with serving() as double, open_store(double.url, "fashion") as store:
            store.create(SPEC)
            double.fault = fails(2, 429, {"Retry-After": "0"})
            store.upsert(points(1))
            assert waits == [0.2, 0.2]  # the least, so that nobody is asked without a pause
            double.fault = fails(2, 429, {"Retry-After": "3600"})
            with pytest.raises(StoreUnavailable, match="429"):
                store.upsert(points(1))
            assert len(waits) == 2
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)


@pytest.mark.usefixtures("impatient")
def test_what_the_server_refuses_is_not_tried_again() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(SPEC)
        store.spec()
        before = len(double.requests)
        double.fault = fails(1000, 400)
        with pytest.raises(StoreError, match=r"refused \(400\): try later"):
            store.upsert(points(1))
        assert len(double.requests) == before + 1


@pytest.mark.usefixtures("impatient")
def test_a_full_disk_of_the_server_is_called_that() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(SPEC)
        for status, text in ((507, "Insufficient Storage"), (500, "Service internal error: No space left on device")):

            def full(_: str, path: str, __: int, answer: tuple[int, str] = (status, text)) -> Any:
                return (answer[0], {}, failure(answer[1])) if path.endswith("/points") else None

            double.fault = full
            with pytest.raises(StoreFull, match="is full"):
                store.upsert(points(1))


def test_where_no_server_is_none_is_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with (
            open_store(url, "fashion") as store,
            pytest.raises(StoreUnavailable, match=rf"no Qdrant at {url} .*start it, or name another store"),
        ):
            store.exists()


def test_a_server_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            open_store(url, "fashion", timeout_s=1) as store,
            pytest.raises(StoreUnavailable, match=f"{url} does not answer: timed out"),
        ):
            store.count()


@pytest.mark.parametrize("given", [None, "another-key-that-must-not-leak"])
def test_a_refused_key_is_said_to_be_refused_and_never_shown(given: str | None) -> None:
    with serving(api_key=KEY) as double:
        with open_store(double.url, "fashion", api_key=given) as store:
            with pytest.raises(StoreError, match=r"API key \(401\): set QDRANT_API_KEY") as error:
                store.spec()
            assert str(given) not in "".join(traceback.format_exception(error.value)) or given is None
        with open_store(double.url, "fashion", api_key=KEY) as store:
            store.create(SPEC)
            assert store.count() == 0


@pytest.mark.usefixtures("impatient")
def test_a_server_that_repeats_the_key_does_not_make_us_repeat_it() -> None:
    echo = failure(f"bad header api-key: {KEY}")
    with serving(fault=lambda *_: (400, {}, echo)) as double, open_store(double.url, "fashion", api_key=KEY) as store:
        with pytest.raises(StoreError, match=r"api-key: \*\*\*") as error:
            store.spec()
        assert KEY not in "".join(traceback.format_exception(error.value))
        assert KEY not in repr(store)


def test_a_password_in_the_address_is_not_shown() -> None:
    store = ServerStore("http://user:hunter2@127.0.0.1:1/prefix", "fashion")
    assert store.location == "http://127.0.0.1:1/prefix"
    store.close()


def test_an_answer_that_is_none_of_qdrants_is_an_error_of_ours() -> None:
    for content in (b"<html>hello</html>", b"{}", b""):
        with (
            serving(fault=lambda *_, content=content: (200, {}, content)) as double,
            open_store(double.url, "fashion") as store,
            pytest.raises(StoreError, match=double.url),
        ):
            store.count()


# --- the collection


def test_a_new_collection_stands_behind_an_alias_with_its_indexes_before_its_points() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(SPEC)
        store.upsert(points(600))
        told = [(method, path.partition("?")[0]) for method, path, _ in double.requests]
        assert double.resolved("fashion") == "fashion_1"
        indexed = [n for n, (_, path) in enumerate(told) if path.endswith("/index")]
        alias = told.index(("POST", "/collections/aliases"))
        written = [n for n, (_, path) in enumerate(told) if path.endswith("/points")]
        assert max(indexed) < alias < min(written)
        assert set(double.indexes["fashion_1"]) == set(store.spec().fields)
        body = next(body for method, path, body in double.requests if method == "PUT" and "/fashion_1?" in path)
        assert set(body["vectors"]) == {"image"}
        assert body["vectors"]["image"]["distance"] == "Cosine"
        assert body["vectors"]["image"]["quantization_config"]["scalar"]["type"] == "int8"
        assert body["metadata"]["passport"] == SPEC.passport


def test_writes_wait_come_in_bounded_batches_and_every_call_has_a_timeout() -> None:
    with serving() as double, open_store(double.url, "fashion", timeout_s=9) as store:
        store.create(SPEC)
        store.upsert(points(600))
        store.set_payload({point.id: {"item_id": point.payload["item_id"]} for point in points(300)})
        store.delete([point.id for point in points(10)])
        store.search(SearchSpec(VECTOR, filter=parse_where(["hat=true"])))
        store.facet("colour")
        store.scroll()
        writes = [(path, body) for _, path, body in double.requests if "/points?" in path and body.get("points")]
        assert [len(body["points"]) for _, body in writes] == [256, 256, 88]
        for method, path, _ in double.requests:
            if "/points" in path or "/facet" in path or "/index" in path:
                assert "timeout=9" in path, path
            if method == "PUT" and ("/points" in path or "/index" in path):
                assert "wait=true" in path, path
            if path.partition("?")[0].endswith(("/delete", "/points/batch")):
                assert "wait=true" in path, path


def test_what_is_sent_is_what_the_servers_specification_allows() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(SPEC)
        store.upsert(points(3))
        store.search(
            SearchSpec(VECTOR, filter=parse_where(["hat=true", "width<5", "colour!=red,blue"]), min_score=0.5)
        )
        store.search(SearchSpec(VECTOR, exact=True))
        (fast, exact) = [body["searches"][0] for _, path, body in double.requests if "/query/batch" in path]
        assert models.QueryRequest.model_validate(fast).using == "image"
        assert fast["params"] == {"hnsw_ef": 128, "quantization": {"rescore": True, "oversampling": 2.0}}
        assert exact["params"] == {"exact": True, "quantization": {"ignore": True}}
        assert fast["filter"]["must"][0] == {"key": "hat", "match": {"value": True}}
        assert fast["score_threshold"] == 0.5


def test_a_creation_that_was_cut_short_is_begun_again() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        double.fault = lambda method, path, _: (
            (400, {}, failure("cut")) if path.endswith("/aliases") and method == "POST" else None
        )
        with pytest.raises(StoreError, match="cut"):
            store.create(SPEC)
        double.fault = None
        assert not store.exists()
        store.create(SPEC)
        assert store.exists()


def test_a_collection_with_points_but_no_alias_is_not_deleted() -> None:
    with serving() as double:
        vectors = {"image": models.VectorParams(size=4, distance=models.Distance.COSINE)}
        double.client.create_collection("fashion_1", vectors_config=vectors)
        double.client.upsert("fashion_1", [models.PointStruct(id=1, vector={"image": [1, 0, 0, 0]})])
        with open_store(double.url, "fashion") as store, pytest.raises(StoreError, match="1 points but has no alias"):
            store.create(SPEC)
        assert double.client.count("fashion_1").count == 1


def test_names_that_look_like_those_behind_aliases_are_kept_apart() -> None:
    with serving() as double:
        with open_store(double.url, "mode_1") as numbered, open_store(double.url, "mode") as plain:
            numbered.create(SPEC)
            numbered.upsert(points(3))
            plain.create(SPEC)  # behind it stands no mode_1
            plain.upsert(points(1))
            assert (numbered.count(), plain.count()) == (3, 1)
        behind = {one.alias_name: one.collection_name for one in double.client.get_aliases().aliases}["mode"]
        with open_store(double.url, behind) as mistaken, pytest.raises(StoreError, match="stands behind 'mode'"):
            mistaken.exists()


def test_a_server_that_would_drop_the_metadata_is_refused_before_anything_is_made() -> None:
    with serving() as double, open_store(double.url, "fashion") as store:
        double.version = "1.15.4"
        with pytest.raises(StoreError, match=r"version 1\.15\.4: 1\.16 or newer is needed"):
            store.create(SPEC)
        assert not double.client.get_collections().collections


@pytest.mark.parametrize(("status", "failed"), [("red", True), ("grey", False)])
def test_a_collection_that_will_not_become_green_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, status: str, failed: bool
) -> None:
    with serving() as double, ServerStore(double.url, "fashion") as store:
        store.create(SPEC)
        info = store._client.get_collection("fashion").model_copy(update={"status": models.CollectionStatus(status)})
        monkeypatch.setattr(store._client, "get_collection", lambda name: info)
        with pytest.raises(StoreError, match="failed to optimize") if failed else nullcontext():
            store.optimize()


def test_points_with_many_patches_are_sent_in_requests_that_a_server_takes() -> None:
    spec = CollectionSpec(4, {"model": "a"}, patches=64)
    patches = np.zeros((196, 64), np.float32)
    patches[:, 0] = 1
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(spec)
        store.upsert([replace(point, patches=patches) for point in points(100)])
        sent = [body for method, path, body in double.requests if method == "PUT" and "/points" in path]
        assert len(sent) > 1
        assert all(len(json.dumps(body)) < 32_000_000 for body in sent)
        assert store.count() == 100


def test_a_collection_of_somebody_elses_is_not_taken_for_ours() -> None:
    with serving() as double, open_store(double.url, "theirs") as store:
        double.client.create_collection("theirs", vectors_config=models.VectorParams(size=4, distance="Cosine"))
        assert store.exists()
        with pytest.raises(StoreError, match="was not made by this program"):
            store.spec()
        double.client.create_collection(
            "newer",
            vectors_config={"image": models.VectorParams(size=4, distance=models.Distance.COSINE)},
            metadata={"schema_version": 99, "passport": {}, "fields": {}},
        )
        with open_store(double.url, "newer") as newer, pytest.raises(StoreError, match="schema version 99"):
            newer.spec()


def test_a_missing_collection_names_the_aliases_there_are() -> None:
    with serving() as double, open_store(double.url, "fashion") as store, open_store(double.url, "fashon") as typo:
        store.create(SPEC)
        with pytest.raises(StoreMissing, match=r"no collection 'fashon' at .* \(there is: fashion\)"):
            typo.count()


def test_a_field_that_another_process_has_added_is_known_at_once() -> None:
    with serving() as double, open_store(double.url, "fashion") as one, open_store(double.url, "fashion") as two:
        one.create(SPEC)
        assert "brand" not in two.spec().fields
        one.add_fields({"brand": "keyword"})
        assert two.count(parse_where(["brand=Acme"])) == 0
        assert two.facet("brand") == []


def test_a_client_of_the_callers_is_used_and_left_open() -> None:
    client = QdrantClient(":memory:")
    with ServerStore(":memory:", "fashion", client=client) as store:
        store.create(SPEC)
        store.upsert(points(2))
    assert client.count("fashion").count == 2
    client.close()


def test_the_passport_survives_the_way_over_json() -> None:
    passport = json.loads(json.dumps({"a": [0.1, -1e-9], "b": {"c": None, "d": True}, "e": "größe"}))
    with serving() as double, open_store(double.url, "fashion") as store:
        store.create(CollectionSpec(4, passport))
        assert store.spec().passport == passport
