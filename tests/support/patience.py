"""How long tests wait for what hangs, and for what comes when the machine is busy."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 600
"""Seconds until what did not come is given up; no verdict is that something took shorter."""

T = TypeVar("T")


def wait_for(ask: Callable[[], T], pause: float = 0.05) -> T:
    """Ask until the answer is true, and return it. Raises: AssertionError when it never comes."""
    end = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < end, "it never came"
        time.sleep(pause)
    return found
