"""Threads side by side: for work that waits for disks and programs, or that compresses and hashes.

Python lets such threads run at once; packing with them uses every core. Work in Python itself goes
to processes: `facts/process_pool.py` (packages, in a pool) and `pipeline/workers.py` (whole builds,
in forks). Imports the standard library's executors late: 10 ms that a build without a change saves.
"""

import os
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
