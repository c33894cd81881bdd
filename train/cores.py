"""How many cores a step may use on a machine that does other work too.

Two threads of torch on cores that somebody else needs wait for each other most of the time: 10 to 40 times slower was
measured. So a step takes all cores only while nobody else has computed for some time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOADAVG = Path("/proc/loadavg")
LOOKS = 4
PATIENCE = 8
"""So many steps on one core after somebody else was seen."""


class Cores:
    """Looks, before every step, whether other processes compute. ``loadavg``: where the system says so."""

    def __init__(self, loadavg: Path = LOADAVG) -> None:
        self._loadavg = loadavg
        self._wait = 0

    def idle(self) -> int:
        """Return how many cores this process may use now: all, or 1; 1 also where the system does not tell."""
        try:
            others = max(self._others() for _ in range(LOOKS))
        except (OSError, ValueError, IndexError):
            return 1
        self._wait = PATIENCE if others else max(0, self._wait - 1)
        return 1 if self._wait else len(os.sched_getaffinity(0))

    def _others(self) -> int:
        time.sleep(0.002)
        running = self._loadavg.read_text(encoding="ascii").split()[3].partition("/")[0]
        return int(running) - 1  # one of them is this thread
