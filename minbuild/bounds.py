"""A bound on the time and memory that a piece of work of ours takes on input of others."""

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

MAX_SECONDS = 2.0
"""Of processor time."""
MAX_EXTRA_MEMORY = 512 << 20
"""Bytes beside those that the process has at the start."""


class TimeExceeded(Exception):
    """The work took more processor time than it may."""


@contextlib.contextmanager
def limit_resources(
    *, seconds: float = MAX_SECONDS, memory: int = MAX_EXTRA_MEMORY
) -> Iterator[None]:
    """Let the work take so much processor time and so much more memory.

    Holds in a process's main thread, where Python handles signals; elsewhere the work goes unbounded.
    The bounds are the whole process's while they hold, so other threads are not to do much then.
    Source: setitimer(2), ITIMER_VIRTUAL; setrlimit(2), RLIMIT_AS.
    Raises: OutOfTime; MemoryError.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.signal(signal.SIGVTALRM, _raise_time_exceeded)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    max_size = _read_process_size() + memory
    try:
        if soft == resource.RLIM_INFINITY or max_size < soft:
            resource.setrlimit(resource.RLIMIT_AS, (max_size, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, previous_handler)


def _raise_time_exceeded(_number: int, _frame: FrameType | None) -> None:
    raise TimeExceeded("it takes too long")


def _read_process_size() -> int:
    """Bytes of this process's address space. Source: proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
