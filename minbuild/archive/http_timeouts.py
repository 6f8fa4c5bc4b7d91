"""How long a connection may take: an end for servers that send a byte a second."""

import contextlib
import math
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

DEFAULT_WINDOW = 30.0
"""Seconds, where a connection does not say how long it may stay silent."""


class SpeedWatch:
    """Calls `end` when fewer than `lowest` bytes a second came in a window of seconds.

    Who reads adds to `came` what it has read.
    """

    def __init__(self, end: Callable[[], object], window: float, lowest: float) -> None:
        self.received = 0
        self.is_slow = False
        self._end, self._window, self._least_bytes = end, window, lowest * window
        self._done = threading.Event()

    def __enter__(self) -> "SpeedWatch":
        # a daemon: it must not hold back the end of the program
        threading.Thread(target=self._check_speed, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()

    def _check_speed(self) -> None:
        before = 0
        while not self._done.wait(self._window):
            if self.received - before < self._least_bytes:
                self.is_slow = True
                with contextlib.suppress(OSError, ValueError):
                    self._end()
                return
            before = self.received


class _TimedConnection(HTTPConnection):
    """A connection whose answer's head must come, whole, in the time that it may stay silent."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        sock = self.sock
        with SpeedWatch(lambda: sock.shutdown(socket.SHUT_RDWR), _get_window(self), math.inf):
            return super().getresponse()


def _get_window(connection: HTTPConnection) -> float:
    """Seconds that a connection may stay silent."""
    timeout = connection.timeout
    return float(timeout) if isinstance(timeout, int | float) else DEFAULT_WINDOW


class _TimedTlsConnection(_TimedConnection, HTTPSConnection):
    """The same by TLS; a proxy's tunnel must stand in that time, too."""

    def connect(self) -> None:
        def shut_down() -> None:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)

        with SpeedWatch(shut_down, _get_window(self), math.inf):
            super().connect()


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _TimedTlsConnection


def use_timed_connections(manager: PoolManager) -> PoolManager:
    """The same manager; answers of its connections begin in bounded time."""
    manager.pool_classes_by_scheme = {"http": _TimedPool, "https": _TimedTlsPool}
    return manager
