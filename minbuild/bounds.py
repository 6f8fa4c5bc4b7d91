"""Limits on CPU time and memory of our own work on untrusted input."""

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

MAX_SECONDS = 2.0
"""Of CPU time."""
MAX_EXTRA_MEMORY = 512 << 20
"""Bytes above those that the process has at the start."""


class TimeExceeded(Exception):
    """The work took too much CPU time."""


@contextlib.contextmanager
def limit_resources(
    *, seconds: float = MAX_SECONDS, memory: int = MAX_EXTRA_MEMORY
) -> Iterator[None]:
    """Limit CPU time and additional memory of the work in a `with` block.

    This works in the main thread, where Python handles signals; in others the work is unlimited.
    The limits apply to the whole process, so other threads should do little meanwhile.
    Source: setitimer(2), ITIMER_VIRTUAL; setrlimit(2), RLIMIT_AS.
    Raises: TimeExceeded, MemoryError.
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
    """Return the bytes of the address space of this process. Source: proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
