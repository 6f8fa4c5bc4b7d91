"""dnsmasq as the lab runs it: from the start, or with outages."""

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from minbuild.run import failed, start, stop

if TYPE_CHECKING:
    from subprocess import Popen  # noqa: TID251  the type alone

DEVNULL = -3
"""As subprocess.DEVNULL."""
CHUNK = 65536
TICK = 0.2
"""Seconds between two looks at the clock while an outage is to come or to end."""
WHAT = "serving DHCP and DNS"


class Serving:
    """Starts dnsmasq, ends it and starts it again as the outages say."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        outages: Sequence[Sequence[float]],
        loop: selectors.BaseSelector,
        hear: Callable[[bytes], None],
    ) -> None:
        """Serve from now on; `outages` are pairs of seconds from now, `hear` is given the log."""
        self._words = words
        self._environment = environment
        self._outages = outages
        self._loop = loop
        self._hear = hear
        self._began = time.monotonic()
        self._process: Popen[bytes] | None = None
        self._said = b""
        self.turn()

    @property
    def wait(self) -> float | None:
        """Seconds that the loop may sleep; None for as long as it likes."""
        now = time.monotonic() - self._began
        return TICK if any(now < end for _, end in self._outages) or self._out(now) else None

    def turn(self) -> None:
        """Start or end the server, when it is time."""
        out = self._out(time.monotonic() - self._began)
        if out and self._process is not None:
            self.close()
        elif not out and self._process is None:
            self._start()

    def close(self) -> None:
        """End the server, if it runs."""
        if self._process is None:
            return
        assert self._process.stderr is not None
        self._loop.unregister(self._process.stderr.fileno())
        stop(self._process)
        with self._process:
            self._process = None

    def _out(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self._outages)

    def _start(self) -> None:
        process = start(self._words, what=WHAT, env=self._environment, stdout=DEVNULL)
        assert process.stderr is not None
        fd = process.stderr.fileno()
        self._process = process
        self._loop.register(fd, selectors.EVENT_READ, lambda: self._log(fd, process))

    def _log(self, fd: int, process: "Popen[bytes]") -> None:
        data = os.read(fd, CHUNK)
        if data:
            self._said = (self._said + data)[-CHUNK:]
            self._hear(data)
            return
        raise failed(self._words, WHAT, process.wait(), self._said)
