"""What a run takes of its machine: cores, where nobody else needs them, and memory, which it keeps.

Two threads of torch on cores that somebody else needs wait for each other most of the time: 10 to 40 times slower was
measured. So a step takes all cores only while nobody else has computed for some time.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from pathlib import Path
from statistics import median_low

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h, for mallopt(3)."""
LOADAVG, TASKS = Path("/proc/loadavg"), Path("/proc/self/task")
LOOKS = 4
PATIENCE = 8
"""So many steps on one core after somebody else was seen."""


class Cores:
    """Looks, before every step, whether other processes compute.

    ``loadavg``: where the system says how many threads run; ``tasks``: where it says so of those of this process.
    """

    def __init__(self, loadavg: Path = LOADAVG, tasks: Path = TASKS) -> None:
        self._loadavg, self._tasks = loadavg, tasks
        self._wait = 0

    def idle(self) -> int:
        """Return how many cores this process may use now: all, or 1; 1 also where the system does not tell."""
        try:
            others = median_low(self._others() for _ in range(LOOKS))  # not a daemon that runs for a moment
        except (OSError, ValueError, IndexError):
            return 1
        self._wait = PATIENCE if others else max(0, self._wait - 1)
        return 1 if self._wait else len(os.sched_getaffinity(0))

    def _others(self) -> int:
        time.sleep(0.002)
        running = self._loadavg.read_text(encoding="ascii").split()[3].partition("/")[0]
        return int(running) - self._own()

    def _own(self) -> int:
        """Return how many threads of this process run: after a step torch's wait for the next one without rest."""
        states = []
        for task in self._tasks.iterdir():
            with suppress(OSError):  # it has ended meanwhile
                stat = (task / "stat").read_text(encoding="utf-8", errors="replace")
                states.append(stat.rpartition(")")[2].split()[0])
        return states.count("R")


def keep_memory() -> None:
    """Let this process keep what it frees, in large pages: to be called before torch is imported.

    A step takes and frees a gigabyte in large blocks. glibc gives each of them back to the system, and the system has
    to find and clear every page of 4 KiB again. Where malloc is not glibc's, or pages have one size, nothing changes.
    """
    os.putenv("THP_MEM_ALLOC_ENABLE", "1")  # torch then asks for pages of 2 MiB
    with suppress(OSError, AttributeError):
        malloc = ctypes.CDLL(None)
        malloc.mallopt(M_MMAP_MAX, 0)
        malloc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
