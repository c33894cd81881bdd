"""The contract for people, the contract for machines and the code say the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import pytest
from qdrant_client import models
from qdrant_http import serving
from workshop import over_http

from engine.encoder import Encoder
from engine.errors import StoreError
from engine.records import NAMESPACE, FieldKind, Point, point_id
from engine.search import Page, Query, search
from engine.store import schema
from engine.store.copy import copy_collection
from engine.store.edge import EdgeStore
from engine.store.open import open_store
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME, CollectionSpec
from serve.app import make_app
from serve.guard import Limits

SCHEMA: dict[str, Any] = json.loads((files("engine") / "collection.schema.json").read_text(encoding="utf-8"))
DOC = (Path(__file__).parents[1] / "docs" / "collection.md").read_text(encoding="utf-8")
READING, _, BY_WORDS = DOC.partition("## Searching it by words")
PAYLOAD = SCHEMA["$defs"]["payload"]
PROPERTIES: dict[str, Any] = PAYLOAD["properties"]
FULL: dict[str, Any] = {
    "item_id": "a.jpg",
    "source": "table",
    "sha256": "0" * 64,
    "product_id": "p1",
    "width": 750,
    "height": 1101,
    "captions": ["a red dress", "a dress"],
    "duplicate_of": "b.jpg",
    "near_duplicate_of": "c.jpg",
    "uri": "/photos/a.jpg",
    "perceptual_hash": "f" * 32,
    "title": "Red dress",
    "colour": ["red"],
    "price": 49.5,
}


def allows(rule: dict[str, Any], value: Any) -> bool:
    """The little of JSON Schema that the file uses."""
    if "$ref" in rule:
        return allows(SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]], value)
    if "anyOf" in rule:
        return any(allows(each, value) for each in rule["anyOf"])
    types = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,)}
    if type(value) not in types[rule["type"]]:
        return False
    if isinstance(value, list):
        return all(allows(rule["items"], each) for each in value)
    if isinstance(value, str):
        return re.search(rule.get("pattern", ""), value) is not None
    return bool(rule.get("minimum", value) <= value <= rule.get("maximum", value))


def test_schema_and_code_have_the_same_fields_of_the_same_kinds() -> None:
    assert {name: rule["x-kind"] for name, rule in PROPERTIES.items()} == dict(schema.RESERVED_FIELDS)
    assert {name for name, rule in PROPERTIES.items() if rule["x-indexed"] is True} == set(schema.CORE_FIELDS)
    assert {name for name, rule in PROPERTIES.items() if rule["x-indexed"] is False} == set(schema.STORED_FIELDS)
    assert set(SCHEMA["$defs"]["metadata"]["properties"]["fields"]["additionalProperties"]["enum"]) == set(
        get_args(FieldKind)
    )
    assert set(get_args(FieldKind)) <= set(SCHEMA["$defs"])


def test_schema_document_and_code_have_the_same_names_and_version() -> None:
    assert SCHEMA["x-schema-version"] == schema.SCHEMA_VERSION
    assert SCHEMA["$defs"]["metadata"]["properties"]["schema_version"]["const"] == schema.SCHEMA_VERSION
    assert f"`schema_version` is {schema.SCHEMA_VERSION}." in DOC
    assert SCHEMA["x-vector"]["name"] == VECTOR_NAME
    assert SCHEMA["x-patches"]["name"] == PATCHES_NAME
    assert f"| `{PATCHES_NAME}`, a multivector" in DOC
    assert f"named `{VECTOR_NAME}`" in DOC
    assert SCHEMA["x-point-id"]["uuid5-namespace"] == str(NAMESPACE)
    assert DOC.count(str(NAMESPACE)) == 2


def test_the_documents_table_is_the_schemas() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w ]+) \|", DOC, re.MULTILINE)
    said = {True: "yes", False: "no"}
    assert rows == [
        (name, rule["x-kind"], said.get(rule["x-indexed"], rule["x-indexed"])) for name, rule in PROPERTIES.items()
    ]
    for kind in get_args(FieldKind):
        assert f"`{kind}`" in DOC


def test_schema_and_code_allow_the_same_payloads() -> None:
    id = point_id("a.jpg")
    fields: dict[str, FieldKind] = {"colour": "keyword", "price": "float"}
    schema.check_payload(id, FULL, fields)
    assert all(allows(PROPERTIES.get(name, PAYLOAD["additionalProperties"]), value) for name, value in FULL.items())
    for bad in (None, {"a": 1}, [1], [None], ["a", 1]):
        for name in (*PROPERTIES, "other"):
            with pytest.raises(StoreError):
                schema.check_payload(id, {**FULL, name: bad}, fields)
            assert not (bad and allows(PROPERTIES.get(name, PAYLOAD["additionalProperties"]), bad))
    for name, rule in PROPERTIES.items():
        for wrong in (7, 7.5, True, "seven"):
            if not allows(rule, wrong) and not {"pattern", "minimum"} & set(rule):
                with pytest.raises(StoreError):
                    schema.check_payload(id, {**FULL, name: wrong}, fields)
    with pytest.raises(StoreError, match="item_id"):
        schema.check_payload(id, {}, fields)
    assert PAYLOAD["required"] == ["item_id"]
    for name in ("Colour", "a b", "ext.x", "x" * 101, "ä"):
        assert not re.search(PAYLOAD["propertyNames"]["pattern"], name)
        with pytest.raises(StoreError, match="snake_case"):
            schema.check_payload(id, {**FULL, name: "x"}, fields)


def test_the_requests_in_the_document_are_answered_by_a_server_as_it_says() -> None:
    requests = re.findall(r"\$QDRANT_URL(/[\w/]+)\"(?: -d '\n(.*?)')?", READING, re.DOTALL)
    assert len(requests) == 5
    key = "read-only"
    with serving(api_key=key) as double, open_store(double.url, "fashion", api_key=key) as store:
        store.create(CollectionSpec(4, {"model": "a"}, {"colour": "keyword", "price": "float"}, 2))
        payload = {name: value for name, value in FULL.items() if name != "near_duplicate_of"}
        store.upsert([Point(point_id("a.jpg"), np.full(4, 0.5, np.float32), payload, np.eye(2, dtype=np.float32))])
        answers = []
        for path, body in requests:
            request = urllib.request.Request(double.url + path, data=body.encode() or None, headers={"api-key": key})
            with urllib.request.urlopen(request) as answer:
                answers.append(json.load(answer)["result"])
    about, page, nearest, closer, counts = answers
    assert about["config"]["metadata"]["fields"]["colour"] == "keyword"
    assert set(about["config"]["metadata"]) == set(SCHEMA["$defs"]["metadata"]["required"])
    assert page["points"][0]["payload"] == {"item_id": "a.jpg", "uri": "/photos/a.jpg"}
    assert nearest["points"][0]["score"] == pytest.approx(1)
    assert nearest["points"][0]["id"] == point_id("a.jpg")
    assert closer["points"][0]["score"] == pytest.approx(2)
    assert counts["hits"] == [{"value": "red", "count": 1}]


def example(language: str) -> str:
    """Return the first example of the section on words that is written in ``language``."""
    found = re.search(rf"```{language}\n(.*?)```", BY_WORDS, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def _both_servers(
    ingested: Path, bundled_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Our server and Qdrant's, with the same collection: what must be found, and the environment of the examples."""
    with EdgeStore(ingested, "fashion") as store, serving(api_key="read-only") as double:
        with open_store(double.url, "fashion", api_key="read-only") as copy:
            copy_collection(store, copy)
        hits = search(store, bundled_encoder, Query("a red dress"), Page(limit=5))
        with over_http(make_app(store, bundled_encoder, Limits(key="ours"))) as url:
            keys = {"ENGINE_SERVER_KEY": "ours", "QDRANT_READ_ONLY_KEY": "read-only"}
            yield [hit.item_id for hit in hits], {"ENGINE_URL": url, "QDRANT_URL": double.url, **keys}


@pytest.mark.parametrize("language", ["bash", "python"])
def test_text_search_in_two_calls_finds_what_this_program_finds(
    _both_servers: tuple[list[str], dict[str, str]], language: str
) -> None:
    expected, environment = _both_servers
    runner = [sys.executable, "-c"] if language == "python" else ["bash", "-c"]
    if language == "bash" and not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("needs curl and jq")
    told = subprocess.run(
        [*runner, example(language)], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert told.stdout.split() == expected, told.stderr


def test_text_search_in_one_call_is_what_qdrant_takes_and_asks_us(
    _both_servers: tuple[list[str], dict[str, str]],
) -> None:
    body = re.findall(r"-d '\n(.*?)'", BY_WORDS, re.DOTALL)[-1]
    request = models.QueryRequest.model_validate_json(body)
    assert isinstance(request.query, models.Document)
    wire = {"data": request.query.text, "data_type": "text", "model": request.query.model, "options": None}
    url, key = _both_servers[1]["ENGINE_URL"], {"X-API-Key": "ours"}
    asked = {"inputs": [wire], "inference": "search", "token": None}
    answer = httpx.post(f"{url}/infer", json=asked, headers=key).json()
    embedded = httpx.post(f"{url}/v1/embeddings", json={"input": request.query.text}, headers=key).json()
    assert answer == {"embeddings": [embedded["data"][0]["embedding"]], "usage": None}
