"""The rules of the house, kept by walking the sources: who may import whom, and what the README claims."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("engine", "ingest", "eval", "train", "serve")
MAY_IMPORT = {
    "engine": {"engine"},
    "ingest": {"engine", "ingest"},
    "eval": {"engine", "ingest", "eval"},
    "train": {"engine", "ingest", "eval", "train"},
    "serve": {"engine", "ingest", "serve"},
}
DOORS = {
    "qdrant_client": ("engine/store/server", "engine/filters.py"),
    "qdrant_edge": ("engine/store/edge",),
    "onnxruntime": ("engine/towers.py", "train/quantize.py"),
    "tarfile": ("ingest/sources/tar.py", "ingest/photograph.py"),
    "fastapi": ("serve/",),
    "starlette": ("serve/",),
    "sqlite3": ("ingest/ledger.py",),
}
"""Which modules may import a foreign library: those whose path begins so."""

README = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else ""


def modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_imports_run_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        if not path.is_relative_to(ROOT / "engine" / "cli")
        for name in imports(path)
        if name.partition(".")[0] in ROOMS
        and name.partition(".")[0] not in MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ]
    assert not wrong


@pytest.mark.parametrize("library", DOORS)
def test_a_foreign_library_has_one_door(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if any(name.partition(".")[0] == library for name in imports(path))
    }
    assert users
    assert not [user for user in users if not user.startswith(DOORS[library])]


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if re.search(r"os\.environ(?!\.setdefault)|getenv", path.read_text(encoding="utf-8"))
    }
    assert readers <= {"engine/settings.py"}


def test_only_decode_opens_images() -> None:
    openers = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if re.search(r"Image\.open\(", path.read_text(encoding="utf-8"))
    }
    assert openers <= {"ingest/decode.py"}


def test_no_module_is_an_attic_or_too_long_to_read() -> None:
    attics = {"utils", "helpers", "common", "base", "manager", "service", "factory", "core", "misc"}
    assert not {path.stem for path in modules()} & attics
    long = {p.relative_to(ROOT).as_posix(): n for p in modules() if (n := len(p.read_text().splitlines())) > 300}
    assert not long


def test_nothing_needs_torchvision() -> None:
    assert not [path for path in modules() if "torchvision" in set(imports(path))]


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "engine.cli.main", "--help"], capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^  ([a-z]+)  +\S", shown.stdout, re.MULTILINE)
    assert {"ingest", "query", "serve", "eval", "train", "sample", "status"} <= set(commands)
    for command in commands:
        text = subprocess.run(
            [sys.executable, "-m", "engine.cli.main", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert len(text) > 150, command
        assert f"engine {command}" in README, f"the README does not mention engine {command}"


def test_the_file_map_of_the_readme_is_the_tree() -> None:
    block = re.search(r"```text\n(engine/.*?)```", README, re.DOTALL)
    assert block, "the README has no file map"
    named, folder = set(), ""
    for line in block.group(1).splitlines():
        entry = line.strip().split("  ")[0]
        if entry.endswith("/"):
            folder = entry
        elif entry:
            named |= {f"{folder}{name}" for name in entry.split(", ")}
    tree = {path.relative_to(ROOT).as_posix() for path in modules() if path.name != "__init__.py"}
    assert named == tree
