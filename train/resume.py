"""What a run keeps in its folder, so that it can go on after it was killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from engine.errors import StoreFull, UsageError
from engine.replacing import replacing

STATE, BEST, LOG = "last.pt", "best.pt", "log.jsonl"


def check_folder(out: Path, resume: bool) -> None:
    """Make the folder of a run; raises UsageError where one is there that was not to be resumed, or none that was."""
    state = out / STATE
    if state.exists() != resume:
        hint = "give --resume to go on with it, or another --out" if not resume else "leave out --resume to start it"
        raise UsageError(f"{state} {'exists already' if not resume else 'does not exist'}: {hint}")
    out.mkdir(parents=True, exist_ok=True)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state whole or not at all: a killed run finds the one before.

    Raises:
        StoreFull: the disk does not take it.
    """
    try:
        with replacing(path) as part, part.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__context__  # torch itself does not know why
        if not isinstance(reason, OSError):
            raise
        again = "go on with --resume" if (path.parent / STATE).exists() else "start it again"
        raise StoreFull(
            f"{path} cannot be written ({reason.strerror}): make room on its disk, then {again}"
        ) from error


def load(path: Path, device: str) -> dict[str, Any]:
    """Read a state that `save` wrote.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__}")
    except Exception as error:  # junk may be taken for any pickle, and fails in as many ways
        raise UsageError(
            f"{path} is damaged and cannot be gone on with: start anew, without --resume and with another --out"
        ) from error
    return state


def go_on(restore: Callable[[dict[str, Any]], None], out: Path, begun: Mapping[str, Any], device: str) -> None:
    """Let a run ``restore`` the state in ``out``, unless it was begun otherwise, though all its shapes may be alike.

    ``begun``: what a state must hold, by what is said of the run if it holds another value.

    Raises:
        UsageError: it was, or the file is damaged.
    """
    state = load(out / STATE, device)
    for what, value in begun.items():
        if state.get(what) != value:
            raise UsageError(
                f"last.pt belongs to {what}, or to an earlier version: resume with what it was started with"
            )
    restore(state)


def cut_log(log: Path, step: int) -> None:
    """Drop from a log what a run that is at ``step`` does again, and what was torn when it was killed."""
    if log.exists():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        with replacing(log) as part:
            part.write_text("".join(f"{line}\n" for line in lines if _is_done(line, step)), encoding="utf-8")


def _is_done(line: str, step: int) -> bool:
    try:
        return int(json.loads(line)["step"]) <= step
    except (ValueError, TypeError, KeyError):
        return False
