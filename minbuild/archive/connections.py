"""How long a connection may take: an end for servers that send a byte a second."""

import contextlib
import math
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from urllib3 import HTTPResponse, PoolManager


SILENCE = 30.0
"""Seconds, where a connection does not say how long it may stay silent."""


class Watch:
    """Calls `end` when fewer than `lowest` bytes a second came in a window of seconds.

    Who reads adds to `came` what it has read.
    """

    def __init__(self, end: Callable[[], object], window: float, lowest: float) -> None:
        self.came = 0
        self.slow = False
        self._end, self._window, self._least = end, window, lowest * window
        self._done = threading.Event()

    def __enter__(self) -> "Watch":
        # a daemon: it must not hold back the end of the program
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()

    def _look(self) -> None:
        before = 0
        while not self._done.wait(self._window):
            if self.came - before < self._least:
                self.slow = True
                with contextlib.suppress(OSError, ValueError):
                    self._end()
                return
            before = self.came


class _Bounded(HTTPConnection):
    """A connection whose answer's head must come, whole, in the time that it may stay silent."""

    def getresponse(self) -> "HTTPResponse":  # type: ignore[override]
        sock = self.sock
        with Watch(lambda: sock.shutdown(socket.SHUT_RDWR), _window(self), math.inf):
            return super().getresponse()


def _window(connection: HTTPConnection) -> float:
    """Seconds that a connection may stay silent."""
    told = connection.timeout
    return float(told) if isinstance(told, int | float) else SILENCE


class _BoundedTls(_Bounded, HTTPSConnection):
    """The same by TLS; a proxy's tunnel must stand in that time, too."""

    def connect(self) -> None:
        def end() -> None:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)

        with Watch(end, _window(self), math.inf):
            super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTls


def bounded(manager: "PoolManager") -> "PoolManager":
    """The same manager; answers of its connections begin in bounded time."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager
