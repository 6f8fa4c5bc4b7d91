"""The lab's own small servers: TCP that answers with what it is told, and the time."""

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable

from minbuild.errors import ToolError

Say = Callable[[str], None]

DNS_PORT = 53
NTP_PORT = 123
NTP_ERA = 2_208_988_800
"""Seconds from 1900 to 1970. Source: RFC 5905, section 6, figure 4."""
NTP = struct.Struct(">BBBb II4s 8s 8s 8s II")
"""Source: RFC 5905, section 7.3, figure 8."""
CHUNK = 65536
SHOWN = 80
"""Bytes of what was sent that are said."""
SYSLOG_PORT = 514


def listening(address: str, port: int) -> socket.socket:
    """A socket that takes connections, and blocks for none: of TCP, or for a name one in a directory.

    Raises: ToolError when the port cannot be had.
    """
    try:
        if address.endswith(".socket"):
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            found.bind(address)
            found.listen()
        else:
            found = socket.create_server((address, port))
    except OSError as error:
        raise ToolError(
            f"cannot listen on {address} port {port}: {error.strerror}",
            fix="run the boot again: another program took the port",
        ) from error
    found.setblocking(False)
    return found


class Echo:
    """Answers every TCP connection with its own bytes."""

    def __init__(self, address: str, port: int, loop: selectors.BaseSelector, say: Say) -> None:
        self._loop = loop
        self._say = say
        self._listener = listening(address, port)
        loop.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, peer = self._listener.accept()[:2]
            self._say(f"tcp: connection from {':'.join(map(str, peer)) or 'the machine'}")
            connection.settimeout(1)
            self._loop.register(connection, selectors.EVENT_READ, lambda: self._answer(connection))

    def _answer(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(CHUNK)
            if data:
                connection.sendall(data)
                said = " ".join(data[:SHOWN].decode("utf-8", "replace").split())
                self._say(f"tcp: answered {len(data)} bytes: {said}")
                return
        except OSError:
            pass  # the other side went away: that ends this connection and no more
        self._loop.unregister(connection)
        connection.close()


def silent(address: str) -> socket.socket:
    """A DNS server that never answers: its port is open and nobody reads."""
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((address, DNS_PORT))
    return found


class Clock:
    """Tells the machine's time to every NTP client that asks."""

    def __init__(self, address: str, loop: selectors.BaseSelector, say: Say) -> None:
        self._say = say
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, NTP_PORT))
        self._socket.setblocking(False)
        loop.register(self._socket, selectors.EVENT_READ, self._answer)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            question, peer = self._socket.recvfrom(CHUNK)
            now = time.time_ns()
            answer = ntp_answer(question, now)
            if answer:
                self._socket.sendto(answer, peer)
                self._say(f"ntp: told {peer[0]} the time, {now / 10**9:.3f}")


class Log:
    """Takes what hosts send to a syslog server. Source: RFC 5426, 3.1: a datagram a message."""

    def __init__(self, address: str, loop: selectors.BaseSelector, say: Say) -> None:
        self._say = say
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, SYSLOG_PORT))
        self._socket.setblocking(False)
        loop.register(self._socket, selectors.EVENT_READ, self._take)

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            message, peer = self._socket.recvfrom(CHUNK)
            self._say(f"syslog: {peer[0]} {message.decode('utf-8', 'replace').strip()}")


def ntp_answer(question: bytes, now: int) -> bytes:
    """Answer an NTP client's packet at `now` (nanoseconds UTC); b"" for anything else.

    Source: RFC 5905, section 7.3; mode 3 is a client, 4 a server.
    """
    if len(question) < NTP.size or question[0] & 7 != 3:
        return b""
    version = question[0] & 0x38
    moment = (now // 10**9 + NTP_ERA, (now % 10**9 << 32) // 10**9)
    stamp = struct.pack(">II", *moment)
    return NTP.pack(
        version | 4, 1, question[2], -20, 0, 0, b"LOCL", stamp, question[40:48], stamp, *moment
    )
