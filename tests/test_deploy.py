"""The files for Docker, which is not to be had where the tests run: they are valid, and what they run works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from qdrant_http import serving
from ruamel.yaml import YAML
from workshop import command, environment

from engine.cli.serve import GRACE_S

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OURS = ("ingest", "engine")


def test_the_compose_file_follows_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    told = subprocess.run(check, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_no_service_has_more_rights_than_it_needs_nor_a_port_beyond_this_machine() -> None:
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for entry in service["volumes"]:
            assert entry.endswith(":ro") if "/photographs" in entry else entry.split(":")[0] in ("qdrant", "state")
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+-unprivileged", SERVICES["qdrant"]["image"])
    assert re.search(r"^USER \d+$", DOCKERFILE, re.MULTILINE)


def test_our_services_are_told_to_end_and_given_longer_than_they_take() -> None:
    assert all(SERVICES[name]["init"] is True for name in OURS)
    assert int(SERVICES["engine"]["stop_grace_period"].removesuffix("s")) > GRACE_S


def test_every_key_must_be_given() -> None:
    for service in SERVICES.values():
        keys = {name: value for name, value in service["environment"].items() if name.endswith("KEY")}
        assert len(keys) == 2
        assert all(re.fullmatch(r"\$\{\w+:\?.+\}", value) for value in keys.values()), keys


def test_the_image_is_made_of_every_package_and_has_nothing_else() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    rooms = {package.partition(".")[0] for package in packages}
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert copied == rooms | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(allowed) == copied
    assert 'ENTRYPOINT ["engine"]' in DOCKERFILE
    assert f"CMD {json.dumps(SERVICES['engine']['command'])}" in DOCKERFILE


def test_the_services_commands_ingest_and_serve(drawings: Path, tmp_path: Path) -> None:
    with serving(api_key="secret") as double:
        settings = {"QDRANT_URL": double.url, "QDRANT_API_KEY": "secret", "ENGINE_SERVER_KEY": "ours"}
        for name in OURS:
            assert set(SERVICES[name]["environment"]) == set(settings)
        env = {**environment(tmp_path), **settings}
        ingest = [str(drawings) if word == "/photographs" else word for word in SERVICES["ingest"]["command"]]
        told = subprocess.run(command(*ingest), env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "48 indexed" in told.stdout, told.stderr
        serve = command(*SERVICES["engine"]["command"], "--port", "0")
        with subprocess.Popen(serve, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            line = process.stderr.readline()
            try:
                port = re.search(r"on http://127\.0\.0\.1:(\d+)$", line.strip())
                assert port, line
                assert healthy("engine", "8000", port[1])
            finally:
                process.terminate()
        assert process.returncode == 0
    assert not healthy("engine", "8000", port[1])


def test_qdrants_health_is_its_answer_to_readyz() -> None:
    answers = {200: True, 503: False}
    for status, expected in answers.items():

        class Ready(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/readyz" else 404)  # noqa: B023 - used up within the loop
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Ready) as server:
            Thread(target=server.handle_request, daemon=True).start()
            assert healthy("qdrant", "6333", str(server.server_port)) is expected
    assert not healthy("qdrant", "6333", str(server.server_port)), "nobody listens there any more"


def healthy(service: str, port: str, instead: str) -> bool:
    """Run a service's health check as it stands, but for the port."""
    test = SERVICES[service]["healthcheck"]["test"]
    assert test[0] == "CMD"
    words = [sys.executable if word == "python" else word.replace(port, instead) for word in test[1:]]
    return subprocess.run(words, env=dict(os.environ), capture_output=True, check=False).returncode == 0
