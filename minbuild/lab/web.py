"""The lab's HTTP server: it hands out the files of one directory, one request a connection."""

import contextlib
import selectors
import socket
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from minbuild.lab.servers import Say, listening

PORT = 80
CHUNK = 65536
LONGEST = 8192
"""Bytes of a request's head."""


@dataclass
class Answer:
    """What is still to be sent on a connection."""

    rest: memoryview
    file: BufferedReader | None


class Web:
    """Answers GET and HEAD. Source: RFC 9112; UEFI 2.10, 24.7.5 (HEAD first, then GET)."""

    def __init__(
        self, address: str, folder: Path, loop: selectors.BaseSelector, say: Say, port: int = PORT
    ) -> None:
        self._folder = folder
        self._loop = loop
        self._say = say
        self._listener = listening(address, port)
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
            data = connection.recv(CHUNK)
        except OSError:
            data = b""
        head += data
        if not data or len(head) > LONGEST:
            self._close(connection, None)
        elif b"\r\n\r\n" in head:
            answer = self._answer(bytes(head))
            self._loop.modify(
                connection, selectors.EVENT_WRITE, lambda: self._write(connection, answer)
            )

    def _answer(self, head: bytes) -> Answer:
        """The answer to a request: the file it names, if the folder has it."""
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        method, name = (words[0], words[1].lstrip("/")) if len(words) == 3 else ("", "")
        here = {path.name: path for path in self._folder.iterdir()}
        if method not in {"GET", "HEAD"}:
            return _text("405 Method Not Allowed")
        if name not in here:
            self._say(f"http: {method} /{name} is not here")
            return _text("404 Not Found")
        size = here[name].stat().st_size
        self._say(f"http: {method} /{name}, {size} bytes")
        whole = here[name].open("rb") if method == "GET" else None
        kind = "application/efi" if name.endswith(".efi") else "application/octet-stream"
        fields = f"Content-Length: {size}\r\nContent-Type: {kind}"
        return Answer(_head("200 OK", fields), whole)

    def _write(self, connection: socket.socket, answer: Answer) -> None:
        if not answer.rest and answer.file is not None:
            answer.rest = memoryview(answer.file.read(CHUNK))
        try:
            answer.rest = answer.rest[connection.send(answer.rest) :]
        except BlockingIOError:
            return
        except OSError:
            self._close(connection, answer.file)
            return
        if not answer.rest and (answer.file is None or not answer.file.peek(1)):
            if answer.file is not None:
                self._say(f"http: sent {Path(answer.file.name).name}")
            self._close(connection, answer.file)

    def _close(self, connection: socket.socket, file: BufferedReader | None) -> None:
        self._loop.unregister(connection)
        connection.close()
        if file is not None:
            file.close()


def _text(status: str) -> Answer:
    return Answer(_head(status, "Content-Length: 0"), None)


def _head(status: str, fields: str) -> memoryview:
    return memoryview(f"HTTP/1.1 {status}\r\n{fields}\r\nConnection: close\r\n\r\n".encode())
