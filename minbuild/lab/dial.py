"""Connections from the lab to what it booted: tried again and again until one answers."""

import contextlib
import json
import re
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minbuild.lab.link import MAC
from minbuild.lab.types import Dial

AGAIN = 0.5
"""Seconds between two tries."""
PATIENCE = 3.0
"""Seconds for one try."""
CHUNK = 4096
LEASE = re.compile(r"DHCPACK\(\S+\) (\d+\.\d+\.\d+\.\d+) (\S+)")
"""What dnsmasq says of an address that it granted."""


def render(name: str, dial: Dial) -> str:
    """Write the dial of a probe for `parse`."""
    return json.dumps([name, dial.port, dial.to, dial.says])


def parse(text: str) -> tuple[str, Dial]:
    """Read what `render` wrote."""
    name, port, to, says = json.loads(text)
    return name, Dial(port, to, says)


@dataclass
class Call:
    """One probe's connection, from try to try."""

    name: str
    dial: Dial
    wire: socket.socket | None = None
    until: float = 0.0
    """When this try is given up, or when the next one begins."""
    heard: bytearray = field(default_factory=bytearray)
    done: bool = False


class Dialer:
    """Makes each connection when the address it goes to is known."""

    def __init__(
        self,
        dials: Sequence[tuple[str, Dial]],
        loop: selectors.BaseSelector,
        say: Callable[[str], None],
    ) -> None:
        self._calls = [Call(name, dial) for name, dial in dials]
        self._loop = loop
        self._say = say
        self._addresses: dict[str, str] = {}

    @property
    def wait(self) -> float | None:
        """Seconds that the loop may sleep; None for as long as it likes."""
        return None if all(call.done for call in self._calls) else AGAIN / 2

    def heard(self, log: str) -> None:
        """Learn the addresses that dnsmasq granted: the host's by its card, any other a guest's."""
        for address, mac in LEASE.findall(log):
            self._addresses["host" if mac == MAC else "guest"] = address

    def turn(self) -> None:
        """Begin what is due, give up what took too long."""
        now = time.monotonic()
        for call in self._calls:
            if call.done or now < call.until:
                continue
            if call.wire is not None:
                self._hang_up(call)
            address = self._addresses.get(call.dial.to, call.dial.to)
            if address not in {"host", "guest"}:
                self._begin(call, address)

    def _begin(self, call: Call, address: str) -> None:
        call.wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        call.wire.setblocking(False)
        call.heard.clear()
        call.until = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            call.wire.connect((address, call.dial.port))
        self._loop.register(call.wire, selectors.EVENT_WRITE, lambda: self._connected(call))

    def _connected(self, call: Call) -> None:
        assert call.wire is not None
        if call.wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._hang_up(call)
        elif not call.dial.says:
            self._answered(call, "open")
        else:
            self._loop.modify(call.wire, selectors.EVENT_READ, lambda: self._listen(call))

    def _listen(self, call: Call) -> None:
        assert call.wire is not None
        try:
            data = call.wire.recv(CHUNK)
        except OSError:
            data = b""
        call.heard += data
        text = call.heard[:CHUNK].decode("utf-8", "replace")
        found = re.search(call.dial.says, text)
        if found:
            self._answered(call, f"said {' '.join(found[0].split())}")
        elif not data or len(call.heard) > CHUNK:
            self._hang_up(call)

    def _answered(self, call: Call, what: str) -> None:
        assert call.wire is not None
        address, port = call.wire.getpeername()[:2]
        self._say(f"probe {call.name}: {address}:{port} {what}")
        call.done = True
        self._hang_up(call)

    def _hang_up(self, call: Call) -> None:
        assert call.wire is not None
        self._loop.unregister(call.wire)
        call.wire.close()
        call.wire = None
        call.until = time.monotonic() + AGAIN
