"""The time that a machine had: wall time without that in which it waited for a processor.

Under emulation and under KVM a guest's own clock goes on while the machine is busy with others: how
far it came, only the scheduler can tell.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
AGAIN = 0.5
"""Seconds between two looks."""


class Granted:
    """Follows a process and all that it started."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._waited = 0.0
        self._looked = 0.0

    def of(self, seconds: float) -> float:
        """Seconds that it had of so many of wall time since its start."""
        now = time.monotonic()
        if now - self._looked >= AGAIN:
            self._looked = now
            # a thread that ended takes its time with it: what was seen once counts
            self._waited = max(self._waited, waited(self._process))
        return max(0.0, seconds - self._waited)


def waited(process: int) -> float:
    """Seconds that the one thread of a process or its descendants which waited most has waited.

    0 where the kernel does not say. Source: Linux, scheduler/sched-stats, "/proc/<pid>/schedstat".
    """
    longest = 0
    for each in descent(process):
        with contextlib.suppress(OSError):
            for place in (PROC / str(each) / "task").iterdir():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    longest = max(longest, int((place / "schedstat").read_text().split()[1]))
    return longest / 10**9


def descent(process: int) -> Iterator[int]:
    """A process, its children and theirs. Source: proc_pid_task(5), children."""
    yield process
    with contextlib.suppress(OSError):
        for place in (PROC / str(process) / "task").iterdir():
            with contextlib.suppress(OSError):
                for child in (place / "children").read_text().split():
                    yield from descent(int(child))
