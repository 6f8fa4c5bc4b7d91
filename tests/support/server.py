"""A small web server on loopback that answers ranges, keeps a log and fails on request."""

import base64
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote


class Fault(StrEnum):
    NOT_FOUND = "404"
    BUSY = "503"
    """503 with Retry-After: 0."""
    MANY = "429"
    TRUNCATE = "truncate"
    """The connection ends in the middle of the promised length."""
    SHORT = "short"
    """Half of the file, as if that were all of it."""
    STALL = "stall"
    """Headers, half the body, then nothing for as long as the server runs."""
    FLIP = "flip"
    """One byte differs."""
    HTML = "html"
    """200 and a page of a captive portal."""
    REDIRECT = "redirect"
    """302 to the same file below /moved/."""
    HUGE = "huge"
    """The file and then zeros without end, chunked."""
    DRIP = "drip"
    """Headers, then the body a few bytes at a time, for as long as anybody listens."""
    DRIP_HEAD = "drip-head"
    """A head that never ends, a few bytes at a time."""
    ENDLESS = "endless"
    """302 to the same file below /moved/, and a body that never ends."""
    LOOP = "loop"
    """302 to itself."""
    DATED = "dated"
    """503 with Retry-After as a date, a second after the server's own Date."""


@dataclass(slots=True)
class Server:
    """What the server serves, how it fails, and what was asked of it."""

    directory: Path
    url: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By the end of the path (`/InRelease`, `hello_1.0_amd64.deb`): one fault for each answer, in
    turn; the last one stays when `forever`."""
    forever: bool = False
    requests: list[str] = field(default_factory=list)
    """`/path` or `/path bytes=10-`, in order."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """What each request says, names in small letters."""
    elsewhere: str = ""
    """The server that redirections lead to; "" for this one."""
    login: str = ""
    """`user:password` that every request must bear; "" for none."""
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, end: str, *faults: Fault, forever: bool = False) -> None:
        """Fail the next answers for paths that end so; then serve, unless `forever`."""
        self.faults[end] = list(faults)
        self.forever = forever

    def next_fault(self, path: str) -> Fault | None:
        with self.lock:
            for end, faults in self.faults.items():
                if path.endswith(end) and faults:
                    last = self.forever and len(faults) == 1
                    return faults[0] if last else faults.pop(0)
        return None


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[Server]:
    """Serve a directory on loopback until the end of the block."""
    server = Server(directory)
    http = _Http(("127.0.0.1", 0), _Handler)
    http.state = server
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    state: Server

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client goes away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Say nothing: the log is Server.requests."""

    def do_GET(self) -> None:
        state = cast("_Http", self.server).state
        span = self.headers.get("Range", "")
        state.requests.append(f"{self.path} {span}".strip())
        state.headers.append({name.lower(): value for name, value in self.headers.items()})
        path = state.directory / unquote(self.path.removeprefix("/moved").lstrip("/"))
        token = base64.b64encode(state.login.encode()).decode()
        if state.login and self.headers.get("Authorization") != f"Basic {token}":
            self._answer(401, b"who are you", {"WWW-Authenticate": 'Basic realm="x"'})
            return
        fault = state.next_fault(self.path)
        if fault is None and not path.is_file():
            fault = Fault.NOT_FOUND
        data = path.read_bytes() if path.is_file() else b""
        if fault is not None:
            self._fail(state, fault, data)
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if span and start >= len(data):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        elif span:
            says = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self._answer(206, data[start:], says)
        else:
            self._answer(200, data)

    def _fail(self, state: Server, fault: Fault, data: bytes) -> None:
        half = len(data) // 2
        match fault:
            case Fault.NOT_FOUND:
                self._answer(404, b"not found")
            case Fault.BUSY | Fault.MANY:
                self._answer(int(fault), b"later", {"Retry-After": "0"})
            case Fault.SHORT:
                self._answer(200, data[:half])
            case Fault.FLIP:
                self._answer(200, data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
            case Fault.HTML:
                self._answer(200, b"<!DOCTYPE html><title>Log in</title>" * 40)
            case Fault.REDIRECT:
                self._answer(302, b"", {"Location": f"{state.elsewhere}/moved{self.path}"})
            case Fault.TRUNCATE | Fault.STALL:
                self._answer(200, data[:half], promised=len(data))
                if fault is Fault.STALL:
                    self.wfile.flush()
                    state.closing.wait()
                self.close_connection = True
            case _:
                self._fail_slowly(state, fault, data)

    def _fail_slowly(self, state: Server, fault: Fault, data: bytes) -> None:
        match fault:
            case Fault.DRIP:
                self._answer(200, b"", promised=len(data))
                self._drip(state, data)
            case Fault.DRIP_HEAD:
                self._drip(state, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000)
            case Fault.ENDLESS:
                self._answer(302, b"", {"Location": f"/moved{self.path}"}, promised=1 << 40)
                self._drip(state, bytes(1 << 20))
            case Fault.LOOP:
                self._answer(302, b"", {"Location": self.path})
            case Fault.DATED:
                later = {"Retry-After": formatdate(time.time() + 1, usegmt=True)}
                self._answer(503, b"later", later)
            case _:
                self._huge(state, data)

    def _drip(self, state: Server, data: bytes) -> None:
        self.close_connection = True
        for path in range(0, len(data), 2):
            if state.closing.wait(0.02):
                return
            self.wfile.write(data[path : path + 2])

    def _huge(self, state: Server, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        piece = data or b"\0"
        deadline = time.monotonic() + 20
        while not state.closing.is_set() and time.monotonic() < deadline:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            piece = bytes(65536)

    def _answer(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, promised: int = -1
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(promised if promised >= 0 else len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
