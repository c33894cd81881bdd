"""One embedded store for everybody: the program goes through the running `engine serve` that has it open."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from qdrant_http import serving
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from tiny_clip import make_tiny_clip
from workshop import command, copy_store, environment, paint

from engine.cli.serve import listen
from engine.store.copy import copy_collection
from engine.store.edge import EdgeStore
from engine.store.open import open_store, served_at
from engine.store.wire import HEADER, VERSION


def run(*arguments: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**environment(cwd / "state"), **more}
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, env=env, check=False)


@contextmanager
def started(store: Path, *options: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the real `engine serve` over an embedded store; give its process and its address."""
    env = {**environment(store.parent / "state"), **more}
    arguments = command("serve", "--store", store, "--port", "0", *options)
    with subprocess.Popen(arguments, cwd=store.parent, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"on (http://\S+)$", line.strip())
        assert found, line + process.stderr.read()
        try:
            assert httpx.get(
                f"{found[1]}/healthz"
            ).is_success  # before that, a signal could come too early to be heeded
            yield process, found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@contextmanager
def served(store: Path, *options: str, **more: str) -> Iterator[str]:
    """Run the real `engine serve` over an embedded store; give its address."""
    with started(store, *options, **more) as (_, url):
        yield url


def test_a_query_finds_the_same_with_and_without_a_server(ingested: Path, drawings: Path, tmp_path: Path) -> None:
    photograph = next((drawings / "images").iterdir())
    questions: list[tuple[object, ...]] = [
        ("query", "a red dress", "-k", "5", "--json", "--store", ingested),
        ("query", "coat", "--not", "floral", "--where", "gender=women", "-k", "5", "--offset", "3", "--json"),
        ("query", "--image", photograph, "-k", "3", "--json"),
        ("query", "--where", "gender=men", "-k", "4", "--json"),
    ]
    (tmp_path / "fashion-store").symlink_to(ingested)
    alone = [run(*question, cwd=tmp_path) for question in questions]
    with served(ingested):
        through = [run(*question, cwd=tmp_path) for question in questions]
    for one, other in zip(alone, through, strict=True):
        assert one.returncode == other.returncode == 0, one.stderr + other.stderr
        ours, theirs = (json.loads(answer.stdout)["hits"] for answer in (one, other))
        assert [hit["id"] for hit in ours] == [hit["id"] for hit in theirs]
        assert [hit["score"] for hit in ours] == pytest.approx([hit["score"] for hit in theirs], abs=2e-3)


def test_a_query_through_a_server_refuses_a_checkpoint_that_did_not_make_the_collection(
    ingested: Path, tmp_path: Path
) -> None:
    other = make_tiny_clip(tmp_path / "other")
    with served(ingested) as url:
        told = run("query", "coat", "--model", other, cwd=tmp_path, ENGINE_URL=url)
        assert (told.returncode, told.stdout) == (5, ""), told.stderr
        assert "the index was made by checkpoint 'fashion-small'" in told.stderr
        assert run("query", "coat", "--model", "fashion-small", cwd=tmp_path, ENGINE_URL=url).returncode == 0


def test_photographs_are_ingested_while_the_store_is_served(ingested: Path, tmp_path: Path) -> None:
    paint(tmp_path / "new" / "blocks.png", 5)
    with served(ingested) as url:
        told = run("ingest", "new", "--store", ingested, "--id-prefix", "new/", cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        assert "1 found = 1 indexed" in told.stdout
        assert httpx.get(f"{url}/v1/items/new/blocks").status_code == 200
        again = run("ingest", "new", "--store", ingested, "--id-prefix", "new/", cwd=tmp_path)
        assert "1 unchanged" in again.stdout, "the ledger lies beside the store"
        assert "points: 49" in run("status", "--store", ingested, cwd=tmp_path).stdout
        assert run("delete", "new/blocks", "--yes", "--store", ingested, cwd=tmp_path).stdout == "deleted 1\n"
        assert httpx.get(f"{url}/v1/items/new/blocks").status_code == 404
        assert served_at(str(ingested), "fashion") == url, "it is still told of after the shard was opened again"
    assert served_at(str(ingested), "fashion") is None
    assert "points: 48" in run("status", "--store", ingested, cwd=tmp_path).stdout


def test_a_url_in_the_environment_needs_neither_store_nor_checkpoint(ingested: Path, tmp_path: Path) -> None:
    secret = {"ENGINE_SERVER_KEY": "s3cret"}
    with served(ingested, **secret) as url:
        there = {"ENGINE_URL": url, "ENGINE_MODEL": str(tmp_path / "none"), **secret}
        assert run("query", "a red dress", "-k", "2", "--paths", cwd=tmp_path, **there).stdout.count("\n") == 2
        assert "women" in run("facets", "gender", cwd=tmp_path, **there).stdout
        assert f"through: {url}" in run("status", cwd=tmp_path, **there).stdout
        stranger = run("query", "a red dress", cwd=tmp_path, ENGINE_URL=url)
        assert stranger.returncode == 6
        assert "asks for an API key (401): set ENGINE_SERVER_KEY" in stranger.stderr
        named = run("facets", "--collection", "scratch", cwd=tmp_path, **there)
        assert named.returncode == 2
        assert "leave out --collection" in named.stderr
        refused = run("delete", "--where", "gender=men", "--yes", cwd=tmp_path, **there)
        assert "only reads" in refused.stderr, "whoever has the key may read"
        wrong = run("query", "x", "--where", "shoe_size=3", cwd=tmp_path, **there)
        assert wrong.returncode == 2
        assert "shoe_size" in wrong.stderr
    gone = run("query", "a red dress", cwd=tmp_path, **there)
    assert gone.returncode == 6
    assert f"no engine serve at {url}" in gone.stderr
    assert "Traceback" not in gone.stderr + wrong.stderr + stranger.stderr


def test_a_server_that_only_reads_lets_nothing_be_written(ingested: Path, tmp_path: Path) -> None:
    with served(ingested, "--no-writes"):
        refused = run("delete", "--where", "gender=men", "--yes", "--store", ingested, cwd=tmp_path)
        assert refused.returncode == 6
        assert "only reads" in refused.stderr
        assert "points: 48" in run("status", "--store", ingested, cwd=tmp_path).stdout


def test_no_web_page_reaches_the_store_through_a_server(ingested: Path) -> None:
    ours, nothing = {HEADER: VERSION}, {"arguments": [], "named": {}}
    with served(ingested, "--allow-origin", "https://shop.example") as url:
        count = f"{url}/v1/store/count"
        assert httpx.post(count, json=nothing, headers=ours).json() == {"result": 48}
        assert httpx.post(count, json=nothing).status_code == 403
        assert httpx.post(count, json=nothing, headers={**ours, "Origin": "https://shop.example"}).status_code == 403
        for odd in (
            {"$noun": "Hit"},
            {"$float32": "!", "shape": [1]},
            [[]] * 3,
            {"$noun": "SearchSpec", "vector": [[1], 2]},
        ):
            answer = httpx.post(f"{url}/v1/store/search", json={"arguments": [odd], "named": {}}, headers=ours)
            assert answer.status_code == 400, answer.text


def test_another_server_on_the_port_of_one_that_was_killed_is_not_taken_for_it(ingested: Path, tmp_path: Path) -> None:
    other = copy_store(ingested, tmp_path / "other")
    with served(ingested) as url:
        told = json.loads((ingested / "fashion" / "owner.json").read_text())
        assert told["served"][0] == url
        left = {**told, "home": str((other / "fashion").resolve()), "served": [url, "killed"]}
        (other / "fashion" / "owner.json").write_text(json.dumps(left))
        assert served_at(str(ingested), "fashion") == url
        assert served_at(str(other), "fashion") is None


def test_a_server_whose_qdrant_asks_to_come_later_says_so_and_does_not_wait(ingested: Path) -> None:
    with serving() as double:
        with EdgeStore(ingested, "fashion") as store, open_store(double.url, "fashion") as copy:
            copy_collection(store, copy)
        with started(ingested, "--store", double.url) as (_, url):
            assert httpx.get(f"{url}/readyz").status_code == 200
            double.fault = lambda *_: (429, {"Retry-After": "30"}, b"")
            assert httpx.get(f"{url}/v1/search?q=coat").status_code == 503
            assert "kept refusing" in httpx.get(f"{url}/readyz").json()["detail"]


def test_a_server_that_is_told_to_end_leaves_its_store_closed_and_ends_well(ingested: Path) -> None:
    with started(ingested) as (process, _):
        process.terminate()
        told = process.communicate()[1]
    assert process.returncode == 0
    assert "Traceback" not in told
    assert not (ingested / "fashion" / "owner.json").exists(), "only who closes the store takes that away"


@pytest.mark.parametrize(("told", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_qdrant_that_never_answers_does_not_hold_the_end_of_a_server(
    ingested: Path, told: signal.Signals, code: int
) -> None:
    asked, go_on = threading.Semaphore(0), threading.Event()

    def hang(*_: object) -> tuple[int, dict[str, str], bytes]:
        asked.release()
        go_on.wait()
        return 0, {}, b""

    with serving() as double, ThreadPoolExecutor() as pool:
        with EdgeStore(ingested, "fashion") as store, open_store(double.url, "fashion") as copy:
            copy_collection(store, copy)
        with started(ingested, "--store", double.url, ENGINE_TIMEOUT_S="900") as (process, url):
            double.fault = hang
            try:
                searching = pool.submit(httpx.get, f"{url}/v1/search?q=coat", timeout=None)
                assert asked.acquire(timeout=60)
                assert httpx.get(f"{url}/readyz", timeout=60).status_code == 503
                process.send_signal(told)
                assert process.wait(timeout=60) == code
                assert "being stopped" in searching.result().json()["detail"]
                assert process.stderr
                assert "Traceback" not in process.stderr.read()
            finally:
                go_on.set()


def test_a_server_that_was_killed_is_not_waited_for(ingested: Path, tmp_path: Path) -> None:
    with served(ingested) as url:
        shutil.copy(ingested / "fashion" / "owner.json", tmp_path / "word")
    shutil.copy(tmp_path / "word", ingested / "fashion" / "owner.json")
    assert url in (ingested / "fashion" / "owner.json").read_text()
    assert "points: 48" in run("status", "--store", ingested, cwd=tmp_path).stdout


def test_answers_are_sent_at_once() -> None:
    """Nagle's algorithm, which would keep back what is small for 40 ms, is off on the connection that answers."""

    async def tells(scope: Scope, receive: Receive, send: Send) -> None:
        (connection,) = server.server_state.connections
        taken = connection.transport.get_extra_info("socket")  # type: ignore[union-attr]
        off = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await PlainTextResponse(str(bool(off)))(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(tells, log_level="warning", lifespan="off"))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert httpx.get(f"http://127.0.0.1:{listening.getsockname()[1]}/").text == "True"
        server.should_exit = True
        thread.join()


def test_a_port_that_is_taken_and_a_store_that_is_served_are_one_line(ingested: Path, tmp_path: Path) -> None:
    with served(ingested) as url:
        other = copy_store(ingested, tmp_path / "other")
        taken = run("serve", "--store", other, "--port", url.rpartition(":")[2], cwd=tmp_path)
        assert taken.returncode == 2
        assert "another --port" in taken.stderr
        assert "Traceback" not in taken.stderr
        twice = run("serve", "--store", ingested, cwd=tmp_path)
        assert twice.returncode == 2
        assert f"served already, at {url}" in twice.stderr


def test_an_examination_never_touches_what_a_server_has(ingested: Path, drawings: Path, tmp_path: Path) -> None:
    with served(ingested) as url:
        told = run("eval", drawings, "--part", "all", "--limit", "5", cwd=tmp_path, ENGINE_URL=url)
        assert told.returncode == 0, told.stderr
        assert "gallery: 5 items" in told.stderr
        assert "points: 48" in run("status", cwd=tmp_path, ENGINE_URL=url).stdout
        truth = tmp_path / "truth.json"
        truth.write_text(json.dumps({"a red dress": {"none": 1}}))
        asked = run("eval", "--ground-truth", truth, "--store", ingested, cwd=tmp_path)
        assert asked.returncode == 0, asked.stderr
