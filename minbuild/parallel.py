"""Threads side by side: for work that waits for disks and programs, or that compresses and hashes.

Python lets such threads run at once; packing with them uses every core. Work in Python itself goes
to processes: `facts/process_pool.py` (packages, in a pool) and `pipeline/workers.py` (whole builds,
in forks). Imports the standard library's executors late: 10 ms that a build without a change saves.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function for every item, side by side; results are in the order of the items.

    Raises: what the function raises for the first item that fails.
    """
    with open_threads() as pool:
        return list(pool.map(function, items))


def open_threads(threads: int = 0) -> "ThreadPoolExecutor":
    """Open a pool of threads, one for each core when no number is given."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms; see above

    return ThreadPoolExecutor(threads or count_cpus())


class Ticker:
    """Calls a function every few moments, in a thread that no fork of this process meets.

    The thread ends before a fork, and is started again in the parent after it.
    """

    def __init__(self, function: Callable[[], None], seconds: float) -> None:
        """`function` is called every `seconds` once the ticker is started."""
        self._function, self._seconds = function, seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start ticking; does nothing while it ticks."""
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._tick, daemon=True)
            self._thread.start()
            _TICKERS.append(self)

    def stop(self) -> None:
        """Stop ticking, and wait until the last call has returned."""
        if self._thread is not None:
            _TICKERS.remove(self)
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _tick(self) -> None:
        while not self._ended.wait(self._seconds):
            self._function()


_TICKERS: list[Ticker] = []
"""Those that tick."""
_PAUSED: list[Ticker] = []
"""Those that a fork has stopped."""


def is_single_threaded() -> bool:
    """Whether this process has one thread beside tickers: only then a fork is safe.

    Others may hold locks, which nobody in the fork would release.
    """
    return threading.active_count() - len(_TICKERS) == 1


def _pause_tickers() -> None:
    _PAUSED[:] = _TICKERS
    for ticker in _PAUSED:
        ticker.stop()


def _resume_tickers() -> None:
    for ticker in _PAUSED:
        ticker.start()


os.register_at_fork(before=_pause_tickers, after_in_parent=_resume_tickers)
