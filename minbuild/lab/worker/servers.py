"""Servers of the lab: TCP echo, NTP, syslog, HTTP, and a DNS port that never answers."""

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from minbuild.errors import ToolError

WriteLog = Callable[[str], None]

DNS_PORT = 53
NTP_PORT = 123
NTP_ERA = 2_208_988_800
"""Seconds from 1900 to 1970. Source: RFC 5905, section 6, figure 4."""
NTP = struct.Struct(">BBBb II4s 8s 8s 8s II")
"""Source: RFC 5905, section 7.3, figure 8."""
RECEIVE_SIZE = 65536
LOGGED_BYTES = 80
"""Bytes of a message that are logged."""
SYSLOG_PORT = 514


def open_listener(address: str, port: int) -> socket.socket:
    """Open a non-blocking listening socket: TCP, or a Unix socket for an address in `.socket`.

    Raises: ToolError when the port is in use.
    """
    try:
        if address.endswith(".socket"):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(address)
            listener.listen()
        else:
            listener = socket.create_server((address, port))
    except OSError as error:
        raise ToolError(
            f"cannot listen on {address} port {port}: {error.strerror}",
            fix="run the boot again: another program uses the port",
        ) from error
    listener.setblocking(False)
    return listener


class EchoServer:
    """TCP server that sends back what it receives."""

    def __init__(
        self, address: str, port: int, loop: selectors.BaseSelector, log: WriteLog
    ) -> None:
        self._loop = loop
        self._log = log
        self._listener = open_listener(address, port)
        loop.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, peer = self._listener.accept()[:2]
            self._log(f"tcp: connection from {':'.join(map(str, peer)) or 'the machine'}")
            connection.settimeout(1)
            self._loop.register(connection, selectors.EVENT_READ, lambda: self._answer(connection))

    def _answer(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(RECEIVE_SIZE)
            if data:
                connection.sendall(data)
                text = " ".join(data[:LOGGED_BYTES].decode("utf-8", "replace").split())
                self._log(f"tcp: answered {len(data)} bytes: {text}")
                return
        except OSError:
            pass  # the client is gone: only this connection ends
        self._loop.unregister(connection)
        connection.close()


def open_silent_dns(address: str) -> socket.socket:
    """Open the DNS port without reading from it: a name server that never answers."""
    dns_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns_socket.bind((address, DNS_PORT))
    return dns_socket


class NtpServer:
    """NTP server with this machine's time."""

    def __init__(self, address: str, loop: selectors.BaseSelector, log: WriteLog) -> None:
        self._log = log
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, NTP_PORT))
        self._socket.setblocking(False)
        loop.register(self._socket, selectors.EVENT_READ, self._answer)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            question, peer = self._socket.recvfrom(RECEIVE_SIZE)
            now = time.time_ns()
            answer = make_ntp_answer(question, now)
            if answer:
                self._socket.sendto(answer, peer)
                self._log(f"ntp: told {peer[0]} the time, {now / 10**9:.3f}")


class SyslogServer:
    """Syslog server that logs each message. Source: RFC 5426, 3.1: one message a datagram."""

    def __init__(self, address: str, loop: selectors.BaseSelector, log: WriteLog) -> None:
        self._log = log
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, SYSLOG_PORT))
        self._socket.setblocking(False)
        loop.register(self._socket, selectors.EVENT_READ, self._receive)

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            message, peer = self._socket.recvfrom(RECEIVE_SIZE)
            self._log(f"syslog: {peer[0]} {message.decode('utf-8', 'replace').strip()}")


def make_ntp_answer(question: bytes, now: int) -> bytes:
    """Make the answer to an NTP client's packet at `now` (nanoseconds UTC); b"" for other packets.

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


HTTP_PORT = 80
HTTP_CHUNK = 65536
MAX_REQUEST_HEAD = 8192
"""Bytes of a request's head at most."""


@dataclass
class HttpResponse:
    """The rest of a response: bytes to send, then those of a file."""

    unsent: memoryview
    file: BufferedReader | None
    """None for a response without a body."""


class HttpServer:
    """HTTP server for the files of a directory: GET and HEAD.

    Source: RFC 9112; UEFI 2.10, 24.7.5 (HEAD first, then GET).
    """

    def __init__(
        self,
        address: str,
        directory: Path,
        loop: selectors.BaseSelector,
        log: WriteLog,
        port: int = HTTP_PORT,
    ) -> None:
        self._directory = directory
        self._loop = loop
        self._log = log
        self._listener = open_listener(address, port)
        self.port = int(self._listener.getsockname()[1])
        loop.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection = self._listener.accept()[0]
            connection.setblocking(False)
            head = bytearray()
            self._loop.register(
                connection, selectors.EVENT_READ, lambda: self._read(connection, head)
            )

    def _read(self, connection: socket.socket, head: bytearray) -> None:
        try:
            data = connection.recv(HTTP_CHUNK)
        except OSError:
            data = b""
        head += data
        if not data or len(head) > MAX_REQUEST_HEAD:
            self._close(connection, None)
        elif b"\r\n\r\n" in head:
            response = self._make_response(bytes(head))
            self._loop.modify(
                connection, selectors.EVENT_WRITE, lambda: self._write(connection, response)
            )

    def _make_response(self, head: bytes) -> HttpResponse:
        """Make the response to a request for a file of the directory."""
        request_line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        method, name = (
            (request_line[0], request_line[1].lstrip("/")) if len(request_line) == 3 else ("", "")
        )
        files = {path.name: path for path in self._directory.iterdir()}
        if method not in {"GET", "HEAD"}:
            return _make_status_response("405 Method Not Allowed")
        if name not in files:
            self._log(f"http: {method} /{name} not found")
            return _make_status_response("404 Not Found")
        size = files[name].stat().st_size
        self._log(f"http: {method} /{name}, {size} bytes")
        body = files[name].open("rb") if method == "GET" else None
        kind = "application/efi" if name.endswith(".efi") else "application/octet-stream"
        fields = f"Content-Length: {size}\r\nContent-Type: {kind}"
        return HttpResponse(_encode_head("200 OK", fields), body)

    def _write(self, connection: socket.socket, response: HttpResponse) -> None:
        if not response.unsent and response.file is not None:
            response.unsent = memoryview(response.file.read(HTTP_CHUNK))
        try:
            response.unsent = response.unsent[connection.send(response.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._close(connection, response.file)
            return
        if not response.unsent and (response.file is None or not response.file.peek(1)):
            if response.file is not None:
                self._log(f"http: sent {Path(response.file.name).name}")
            self._close(connection, response.file)

    def _close(self, connection: socket.socket, file: BufferedReader | None) -> None:
        self._loop.unregister(connection)
        connection.close()
        if file is not None:
            file.close()


def _make_status_response(status: str) -> HttpResponse:
    return HttpResponse(_encode_head(status, "Content-Length: 0"), None)


def _encode_head(status: str, fields: str) -> memoryview:
    return memoryview(f"HTTP/1.1 {status}\r\n{fields}\r\nConnection: close\r\n\r\n".encode())
