"""The facts of the machine that the figures depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    *("numpy", "onnxruntime", "torch", "transformers", "sentence-transformers"),
    *("qdrant-edge-py", "qdrant-client", "pillow", "typer"),
)
_MATRIX_BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx10_1", "bf16"}
_MATRIX_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}


def machine() -> dict[str, str]:
    """Return what the figures depend on beside the code: commit, processor, memory, Python and libraries."""
    flags = _processor("flags", "Features").split()
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return {
        "commit": _commit(),
        "processor": f"{_processor('model name') or platform.processor() or platform.machine()}, {cores()} cores",
        "memory": f"{gib:.0f} GiB",
        "native bfloat16": _has(_MATRIX_BFLOAT16, flags),
        "native 8-bit products": _has(_MATRIX_INT8, flags),
        "load at the start": f"{load:.1f}" + (" (not idle: the times mean little)" if load > 0.5 else ""),
        "system": platform.platform(),
        "Python": platform.python_version(),
        "libraries": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has(wanted: set[str], flags: list[str]) -> str:
    return "yes" if wanted & set(flags) else "no" if flags else "unknown"


def _processor(*names: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in names)
    return next(found, "")


def _commit() -> str:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (", with changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
