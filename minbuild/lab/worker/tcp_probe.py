"""TCP probes: connections from the lab to host or guests, repeated until they succeed."""

import contextlib
import json
import re
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minbuild.lab.model import TcpProbe
from minbuild.lab.worker.network import FIRST_MAC

RETRY_INTERVAL = 0.5
"""Seconds between two attempts."""
TRY_TIMEOUT = 3.0
"""Seconds for one attempt."""
CHUNK = 4096
LEASE_LINE = re.compile(r"DHCPACK\(\S+\) (\d+\.\d+\.\d+\.\d+) (\S+)")
"""dnsmasq's log line of a lease: address and MAC address."""


def encode_tcp_probe(name: str, probe: TcpProbe) -> str:
    """Encode a probe as JSON."""
    return json.dumps([name, probe.port, probe.target, probe.banner])


def decode_tcp_probe(text: str) -> tuple[str, TcpProbe]:
    """Decode a probe from `encode_tcp_probe`."""
    name, port, target, banner = json.loads(text)
    return name, TcpProbe(port, target, banner)


@dataclass
class ProbeConnection:
    """The connection of one probe, over all attempts."""

    name: str
    probe: TcpProbe
    tcp_socket: socket.socket | None = None
    deadline: float = 0.0
    """Time at which this attempt ends, or the next one begins."""
    received: bytearray = field(default_factory=bytearray)
    done: bool = False


class TcpProber:
    """Makes the connections of all probes, each once its target's address is known."""

    def __init__(
        self,
        probes: Sequence[tuple[str, TcpProbe]],
        loop: selectors.BaseSelector,
        log: Callable[[str], None],
        host_address: str = "",
    ) -> None:
        """`host_address` is the host's fixed one; "" for one that its lease shows."""
        self._connections = [ProbeConnection(name, dial) for name, dial in probes]
        self._loop = loop
        self._log = log
        self._addresses: dict[str, str] = {"host": host_address} if host_address else {}

    @property
    def poll_interval(self) -> float | None:
        """Seconds that the loop may sleep; None for no limit."""
        return None if all(call.done for call in self._connections) else RETRY_INTERVAL / 2

    def learn_addresses(self, log: str) -> None:
        """Learn addresses from dnsmasq's log: the host's by its MAC address, any other a guest's."""
        for address, mac in LEASE_LINE.findall(log):
            self._addresses["host" if mac == FIRST_MAC else "guest"] = address

    def tick(self) -> None:
        """Start the attempts that are due, and end those that took too long."""
        now = time.monotonic()
        for connection in self._connections:
            if connection.done or now < connection.deadline:
                continue
            if connection.tcp_socket is not None:
                self._close(connection)
            address = self._addresses.get(connection.probe.target, connection.probe.target)
            if address not in {"host", "guest"}:
                self._connect(connection, address)

    def _connect(self, connection: ProbeConnection, address: str) -> None:
        connection.tcp_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.tcp_socket.setblocking(False)
        connection.received.clear()
        connection.deadline = time.monotonic() + TRY_TIMEOUT
        with contextlib.suppress(OSError):
            connection.tcp_socket.connect((address, connection.probe.port))
        self._loop.register(
            connection.tcp_socket, selectors.EVENT_WRITE, lambda: self._finish_connect(connection)
        )

    def _finish_connect(self, connection: ProbeConnection) -> None:
        assert connection.tcp_socket is not None
        if connection.tcp_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._close(connection)
        elif not connection.probe.banner:
            self._report_success(connection, "open")
        else:
            self._loop.modify(
                connection.tcp_socket, selectors.EVENT_READ, lambda: self._receive(connection)
            )

    def _receive(self, connection: ProbeConnection) -> None:
        assert connection.tcp_socket is not None
        try:
            data = connection.tcp_socket.recv(CHUNK)
        except OSError:
            data = b""
        connection.received += data
        text = connection.received[:CHUNK].decode("utf-8", "replace")
        match = re.search(connection.probe.banner, text)
        if match:
            self._report_success(connection, f"said {' '.join(match[0].split())}")
        elif not data or len(connection.received) > CHUNK:
            self._close(connection)

    def _report_success(self, connection: ProbeConnection, result: str) -> None:
        assert connection.tcp_socket is not None
        address, port = connection.tcp_socket.getpeername()[:2]
        self._log(f"probe {connection.name}: {address}:{port} {result}")
        connection.done = True
        self._close(connection)

    def _close(self, connection: ProbeConnection) -> None:
        assert connection.tcp_socket is not None
        self._loop.unregister(connection.tcp_socket)
        connection.tcp_socket.close()
        connection.tcp_socket = None
        connection.deadline = time.monotonic() + RETRY_INTERVAL
