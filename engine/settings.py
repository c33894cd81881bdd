"""The settings, and where each came from: the only reader of the environment and of `engine.toml`.

A flag beats the environment, that beats `engine.toml` in the working folder, that beats the default. Standard
library only: a settings framework would cost a query a third of its time in imports.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from engine.checkpoint import DEFAULT_MODEL
from engine.errors import UsageError

FILE = "engine.toml"
SECRETS = {"api_key", "other_api_key", "server_key"}
VARIABLES = {
    "url": ("ENGINE_URL",),
    "store": ("QDRANT_URL", "ENGINE_STORE"),
    "collection": ("QDRANT_COLLECTION", "ENGINE_COLLECTION"),
    "api_key": ("QDRANT_API_KEY", "ENGINE_API_KEY"),
    "other_api_key": ("ENGINE_OTHER_API_KEY",),
    "server_key": ("ENGINE_SERVER_KEY",),
    "model": ("ENGINE_MODEL",),
    "device": ("ENGINE_DEVICE",),
    "grpc": ("ENGINE_GRPC",),
    "timeout_s": ("ENGINE_TIMEOUT_S",),
}


@dataclass(frozen=True)
class Settings:
    """Where the collection is and which checkpoint speaks for it.

    ``url``: of a running `engine serve`, which is asked instead of opening ``store``.
    ``api_key``: Qdrant's; ``other_api_key``: of another Qdrant, where a collection is copied from one to the other.
    ``server_key``: what callers of `engine serve` must show. ``timeout_s``: of one request to a
    Qdrant server.
    """

    url: str | None = None
    store: str = "fashion-store"
    collection: str = "fashion"
    api_key: str | None = None
    other_api_key: str | None = None
    server_key: str | None = None
    model: str = DEFAULT_MODEL
    device: str = "auto"
    grpc: bool = False
    timeout_s: float = 30.0


def load_settings(
    flags: Mapping[str, str | float | bool | None] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Return the settings, and for each name a word on where its value came from.

    Raises:
        UsageError: an entry that no setting has, or a value of the wrong kind.
    """
    environment = os.environ if environment is None else environment
    path = (folder or Path()) / FILE
    entries = _read(path)
    values: dict[str, object] = {}
    origins = {}
    for setting in fields(Settings):
        name = setting.name
        variable = next((v for v in VARIABLES[name] if environment.get(v)), None)
        if flags and flags.get(name) is not None:
            origins[name] = f"--{name.replace('_', '-')}"
            values[name] = _parse(name, flags[name], origins[name])
        elif variable:
            values[name], origins[name] = _parse(name, environment[variable], variable), variable
        elif name in entries:
            values[name], origins[name] = _parse(name, entries[name], str(path)), str(path)
        else:
            origins[name] = "default"
    return Settings(**values), origins  # type: ignore[arg-type]


def state_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder for what this machine must remember of a collection elsewhere (XDG state home)."""
    home = (os.environ if environment is None else environment).get("XDG_STATE_HOME")
    return Path(home or Path.home() / ".local" / "state") / "fashion-search-engine"


def _read(path: Path) -> dict[str, object]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    known = {setting.name for setting in fields(Settings)}
    for name in entries:
        if name not in known:
            raise UsageError(f"{path}: unknown setting {name!r}; known are {', '.join(sorted(known))}")
    return entries


def _parse(name: str, value: object, where: str) -> object:
    text = str(value)
    if name not in ("grpc", "timeout_s") and not isinstance(value, str):
        raise UsageError(f"{where}: {name} must be a text in quotes, not {text}")
    if name == "grpc":
        if text.lower() not in ("true", "false", "1", "0"):
            raise UsageError(f"{where}: grpc must be true or false, not {text!r}")
        return text.lower() in ("true", "1")
    if name == "timeout_s":
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise UsageError(f"{where}: timeout_s must be a number of seconds above 0, not {text!r}")
        return seconds
    if name in SECRETS:
        text = text.strip()  # files that hold a key often end in a new line
        if not (text.isascii() and text.isprintable()):
            raise UsageError(f"{where}: a key has letters, digits and signs of ASCII alone")
    if name in ("url", "store"):
        check_address(text, where)
    return text


def check_address(text: str, where: str) -> None:
    """Raise UsageError for an address with a password, which servers take as a key only and reports would show."""
    if "://" in text and "@" in text.partition("://")[2].partition("/")[0]:
        raise UsageError(
            f"{where}: give the address without user and password, and the key by itself (QDRANT_API_KEY)"
        )
