"""Effective time of a process: wall time without the time that it waited for a processor.

A virtual machine's own clock continues while other processes use the processors, so only the
scheduler's statistics (the "run delay" of schedstat) tell how much time the machine had.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
POLL_INTERVAL = 0.5
"""Seconds between two readings."""


class RunDelayMeter:
    """Measures the time that a process and its descendants waited for a processor.

    Each interval counts the wait of the thread that waited longest, since a virtual machine is as
    slow as its slowest thread, and the steal time of a hypervisor below this machine.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._delays: dict[int, float] = {}
        self._steal_time = read_steal_time()
        self._lost_seconds = 0.0
        self._polled_at = time.monotonic()

    def to_effective_seconds(self, wall_seconds: float) -> float:
        """Convert wall time since the start to the time that the process had."""
        now = time.monotonic()
        if now - self._polled_at >= POLL_INTERVAL:
            self._poll(now - self._polled_at)
            self._polled_at = now
        return max(0.0, wall_seconds - self._lost_seconds)

    def _poll(self, interval: float) -> None:
        previous, self._delays = self._delays, read_run_delays(self._pid)
        longest = max(
            (delay - previous.get(thread, 0.0) for thread, delay in self._delays.items()),
            default=0.0,
        )
        previous_steal_time, self._steal_time = self._steal_time, read_steal_time()
        self._lost_seconds += min(
            interval, max(0.0, longest) + self._steal_time - previous_steal_time
        )


def read_run_delays(pid: int) -> dict[int, float]:
    """Read the seconds that each thread of a process and its descendants has waited, by thread id.

    Empty where the kernel has no such statistics. Source: Linux, scheduler/sched-stats,
    "/proc/<pid>/schedstat".
    """
    seconds: dict[int, float] = {}
    for member in iter_process_tree(pid):
        with contextlib.suppress(OSError):
            for path in (PROC / str(member) / "task").iterdir():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    waited = int((path / "schedstat").read_text().split()[1])
                    seconds[int(path.name)] = waited / 10**9
    return seconds


def read_steal_time() -> float:
    """Read the mean seconds per processor that a hypervisor took since this machine's start.

    0 where the kernel does not count them. Source: proc_stat(5), "steal".
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        ticks = int((PROC / "stat").read_text().splitlines()[0].split()[8])
        return ticks / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
    return 0.0


def iter_process_tree(pid: int) -> Iterator[int]:
    """Yield the ids of a process, its children and theirs. Source: proc_pid_task(5), children."""
    yield pid
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    yield from iter_process_tree(int(child))
