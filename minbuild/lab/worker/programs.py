"""Programs in the lab's network: dnsmasq, with outages, and commands of tests."""

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from minbuild.lab.worker.protocol import LineDecoder
from minbuild.lab.worker.servers import WriteLog
from minbuild.process import describe_failure, start_program, stop_program

if TYPE_CHECKING:
    from subprocess import Popen  # noqa: TID251  the type alone


STDOUT = -2
"""As subprocess.STDOUT."""
OUTPUT_CHUNK = 65536


class SideCommand:
    """A program in the lab's network; its output is logged as `NAME: …`, its exit code last."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        loop: selectors.BaseSelector,
        log: WriteLog,
    ) -> None:
        self._name = name
        self._loop = loop
        self._log = log
        self._lines = LineDecoder()
        self._process = start_program(argv, purpose=name, env=environment, stderr=STDOUT)
        assert self._process.stdout is not None
        self._stdout_fd = self._process.stdout.fileno()
        loop.register(self._stdout_fd, selectors.EVENT_READ, self._read_output)

    def _read_output(self) -> None:
        data = os.read(self._stdout_fd, OUTPUT_CHUNK)
        for line in self._lines.feed(data):
            self._log(f"{self._name}: {line}")
        if data:
            return
        for line in self._lines.flush():
            self._log(f"{self._name}: {line}")
        self._loop.unregister(self._stdout_fd)
        self._log(f"{self._name}: ended with {self._process.wait()}")

    def close(self) -> None:
        """End the program if it still runs."""
        stop_program(self._process)
        with self._process:
            pass


DEVNULL = -3
"""As subprocess.DEVNULL."""
LOG_CHUNK = 65536
POLL_INTERVAL = 0.2
"""Seconds between two looks at the clock while an outage is due to begin or to end."""
PURPOSE = "serving DHCP and DNS"


class Dnsmasq:
    """The DHCP and DNS server, stopped during the outages."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        outages: Sequence[Sequence[float]],
        loop: selectors.BaseSelector,
        handle_log: Callable[[bytes], None],
    ) -> None:
        """Start to serve; `outages` are pairs of seconds from now, `handle_log` gets the log."""
        self._argv = argv
        self._environment = environment
        self._outages = outages
        self._loop = loop
        self._handle_log = handle_log
        self._started_at = time.monotonic()
        self._process: Popen[bytes] | None = None
        self._last_log = b""
        self.tick()

    @property
    def poll_interval(self) -> float | None:
        """Seconds that the loop may sleep; None for no limit."""
        now = time.monotonic() - self._started_at
        return (
            POLL_INTERVAL
            if any(now < end for _, end in self._outages) or self._is_in_outage(now)
            else None
        )

    def tick(self) -> None:
        """Start or stop the server when an outage ends or begins."""
        in_outage = self._is_in_outage(time.monotonic() - self._started_at)
        if in_outage and self._process is not None:
            self.close()
        elif not in_outage and self._process is None:
            self._start()

    def close(self) -> None:
        """Stop the server if it runs."""
        if self._process is None:
            return
        assert self._process.stderr is not None
        self._loop.unregister(self._process.stderr.fileno())
        stop_program(self._process)
        with self._process:
            self._process = None

    def _is_in_outage(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self._outages)

    def _start(self) -> None:
        process = start_program(self._argv, purpose=PURPOSE, env=self._environment, stdout=DEVNULL)
        assert process.stderr is not None
        fd = process.stderr.fileno()
        self._process = process
        self._loop.register(fd, selectors.EVENT_READ, lambda: self._read_log(fd, process))

    def _read_log(self, fd: int, process: "Popen[bytes]") -> None:
        data = os.read(fd, LOG_CHUNK)
        if data:
            self._last_log = (self._last_log + data)[-LOG_CHUNK:]
            self._handle_log(data)
            return
        raise describe_failure(self._argv, PURPOSE, process.wait(), self._last_log)
