"""One HTTP request by urllib3: redirects, proxies, passwords, time limits, and an end for a server
that is too slow."""

import contextlib
import functools
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from types import TracebackType
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from minbuild.archive import http_request
from minbuild.archive.http_request import (
    CHUNK_SIZE,
    MAX_CONNECTIONS,
    MIN_SPEED,
    FileResponse,
    NotFound,
    RangeNotSatisfiable,
    TransientError,
    find_proxy,
    get_timeout,
)
from minbuild.errors import ArchiveError

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


MAX_REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_MAX_QUOTED = 80
"""Characters of a server's text that a message quotes."""


@contextlib.contextmanager
def open_remote(url: str, start: int, *, fresh: bool) -> Iterator[FileResponse]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "minbuild"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if fresh:
        headers |= {"Cache-Control": "no-cache", "Pragma": "no-cache"}
    secret = ""
    for _ in range(MAX_REDIRECTS + 1):
        secret = http_request.find_authorization(url) or secret
        login_header = {"Authorization": secret} if secret else {}
        try:
            response = get_pool(url).request(
                "GET", url, headers=headers | login_header, redirect=False, preload_content=False,
                decode_content=False,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(describe_error(error)) from error
        try:
            location = response.headers.get("Location", "")
            if response.status not in REDIRECT_STATUSES or not location:
                yield _build_response(response, start, has_login=bool(secret))
                return
            target = resolve_redirect(url, location)
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                secret = ""  # another server must not get it
            url = target
            response.close()  # do not wait for the body of a redirect
        finally:
            response.close() if response.length_remaining != 0 else response.release_conn()
    raise TransientError(f"more than {MAX_REDIRECTS} redirects")


def resolve_redirect(url: str, location: str) -> str:
    """Return the target of a redirect. Source: RFC 9110, 15.4; apt's https method.

    Raises: NotFound for an invalid target, and for one from https to http.
    """
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError as error:
        raise NotFound("the server redirects to an invalid address") from error
    if scheme not in {"http", "https"} or (scheme == "http" and url.startswith("https:")):
        raise NotFound(
            f"the server redirects from {urlsplit(url).scheme} to {sanitise_text(scheme)}"
        )
    return http_request.hide_credentials(target)


def _build_response(
    response: urllib3.BaseHTTPResponse, start: int, *, has_login: bool
) -> FileResponse:
    status, status_text = (
        response.status,
        f"{response.status} {sanitise_text(response.reason or '')}".rstrip(),
    )
    if status in {408, 425, 429, 500, 502, 503, 504}:
        pause = parse_retry_after(
            response.headers.get("Retry-After", ""), response.headers.get("Date")
        )
        raise TransientError(f"the server answers {status_text}", pause=pause)
    if status == 416:
        raise RangeNotSatisfiable("the server has fewer bytes than are downloaded already")
    if status in {401, 403}:
        raise NotFound(
            f"the server answers {status_text}{_explain_login(status, has_login=has_login)}",
            is_absent=False,
        )
    if status not in {200, 206}:
        raise NotFound(f"the server answers {status_text}")
    content_range = response.headers.get("Content-Range", "")
    resumed = status == 206 and content_range.startswith(f"bytes {start}-")
    if status == 206 and not resumed:
        raise TransientError("the server sends another range than requested")
    length = response.headers.get("Content-Length", "")
    return FileResponse(
        start if resumed else 0,
        int(length) if length.isdecimal() and len(length) < 20 else None,
        sanitise_text(response.headers.get("Content-Type", "")),
        _read_chunks(response),
    )


def sanitise_text(text: str) -> str:
    """Reduce text of a server to one short line of ASCII."""
    return "".join(char for char in text if " " <= char <= "~")[:_MAX_QUOTED]


def _explain_login(status: int, *, has_login: bool) -> str:
    """Explain status 401 or 403."""
    if has_login:
        return " to the configured user and password"
    if status != 401:
        return ""
    unreadable_files = http_request.list_unreadable_files()
    note = f"; this user cannot read {unreadable_files[0]}" if unreadable_files else ""
    return (
        ", it requires a user and a password (http://USER:PASSWORD@HOST/…, or a machine in apt's "
        f"auth.conf.d){note}"
    )


def parse_retry_after(text: str, date: str | None) -> float:
    """Parse Retry-After: seconds, or a date that is compared with the server's own.

    Source: RFC 9110, 10.2.3.
    """
    text = text.strip()
    if text.isdecimal():
        return float(text[:9])
    until = _parse_date(text)
    if until is None:
        return 0.0
    now = _parse_date(date or "")
    return max(until - (time.time() if now is None else now), 0.0)


def _parse_date(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _read_chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the body in chunks.

    Raises: TransientError, also below MIN_SPEED bytes a second.
    """
    buffer = bytearray()
    failure = ""
    with SpeedWatch(response.shutdown, get_timeout(), MIN_SPEED) as watch:
        try:
            while chunk := response.read1(CHUNK_SIZE, decode_content=False):
                watch.received += len(chunk)
                buffer += chunk
                if len(buffer) >= CHUNK_SIZE:
                    yield bytes(buffer)
                    buffer.clear()
        except urllib3.exceptions.HTTPError as error:
            failure = describe_error(error)
    if buffer:  # keep it: the next request resumes behind it
        yield bytes(buffer)
    if watch.is_slow:
        raise TransientError(f"the server sends less than {MIN_SPEED} bytes a second")
    if failure:
        raise TransientError(failure)


def describe_error(error: Exception) -> str:
    """Describe the innermost cause of an error of urllib3 in a few words."""
    cause: BaseException = error
    while isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return "the host name cannot be resolved"
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not refused:
        return "the server does not answer in time"
    if isinstance(cause, urllib3.exceptions.IncompleteRead | urllib3.exceptions.ProtocolError):
        return "the connection was interrupted"
    origin = cause.__cause__ or cause.__context__
    text = getattr(origin, "strerror", None) or str(cause)
    return http_request.hide_credentials(str(text))


def get_pool(url: str) -> urllib3.PoolManager:
    parts = urlsplit(url)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE", "") if parts.scheme == "https" else ""
    return _create_manager(find_proxy(parts), parts.scheme, bundle, get_timeout())


@functools.cache
def _create_manager(
    proxy: str, scheme: str, bundle: str, read_timeout: float
) -> urllib3.PoolManager:
    """Create a pool of connections whose server may stay silent for `read_timeout` seconds."""
    context = None
    if scheme == "https" or proxy.startswith("https:"):
        context = ssl.create_default_context(cafile=bundle or None)
    retries = urllib3.Retry(
        0, connect=0, read=0, status=0, other=0, redirect=0, respect_retry_after_header=False
    )
    timeout = urllib3.Timeout(connect=min(10.0, read_timeout), read=read_timeout)
    if not proxy:
        return use_timed_connections(
            urllib3.PoolManager(
                maxsize=MAX_CONNECTIONS, retries=retries, timeout=timeout, ssl_context=context
            )
        )
    try:
        parts = urlsplit(proxy)
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=secret) if parts.username else None
        return use_timed_connections(
            urllib3.ProxyManager(
                proxy, maxsize=MAX_CONNECTIONS, proxy_headers=headers, retries=retries, timeout=timeout,
                ssl_context=context, proxy_ssl_context=context,
            )
        )  # fmt: skip
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise ArchiveError(
            f"cannot use the proxy: {http_request.hide_credentials(str(error))}",
            where=f"{scheme}_proxy",
            fix=f"correct {scheme}_proxy: http://HOST:PORT",
        ) from error
