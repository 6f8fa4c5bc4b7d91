"""Connections that end a server that is too slow, such as one byte a second."""

import contextlib
import math
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

DEFAULT_WINDOW = 30.0
"""Seconds, for a connection without a timeout."""


class SpeedWatch:
    """Calls `end` if fewer than `lowest` bytes a second arrive in a window of seconds.

    The reader adds the bytes it has read to `received`.
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
    """A connection that must deliver the whole header of a response within its timeout."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        sock = self.sock
        with SpeedWatch(lambda: sock.shutdown(socket.SHUT_RDWR), _get_window(self), math.inf):
            return super().getresponse()


def _get_window(connection: HTTPConnection) -> float:
    """Return the timeout of a connection in seconds."""
    timeout = connection.timeout
    return float(timeout) if isinstance(timeout, int | float) else DEFAULT_WINDOW


class _TimedTlsConnection(_TimedConnection, HTTPSConnection):
    """The same with TLS; the tunnel of a proxy must be open within the timeout, too."""

    def connect(self) -> None:
        def end_connection() -> None:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)

        with SpeedWatch(end_connection, _get_window(self), math.inf):
            super().connect()


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _TimedTlsConnection


def use_timed_connections(manager: PoolManager) -> PoolManager:
    """Make the connections of a manager time-limited; return it."""
    manager.pool_classes_by_scheme = {"http": _TimedPool, "https": _TimedTlsPool}
    return manager
