"""The one door to the network: connections, proxies, time-outs, what is tried again and when."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from minbuild.errors import ArchiveError

if TYPE_CHECKING:
    import urllib3

PAUSES = (0.1, 0.4, 1.6, 3.0)
"""Seconds before each new attempt."""
LONGEST = 30.0
"""Seconds that a server's Retry-After may make us wait."""
PIECE = 1 << 17
PARALLEL = 6
"""Connections at once."""


class Unreachable(Exception):
    """An attempt that failed and may do better when it is made again."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        """Seconds that the server asks us to wait."""


class NotThere(Exception):
    """The server answers that it has no such file, or keeps it from us."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """The start of a server's answer; `pieces` is the body from byte `start` on."""

    start: int
    length: int | None
    """Bytes that will follow; None when the server does not say."""
    kind: str
    """Content type."""
    pieces: Iterator[bytes]


@contextlib.contextmanager
def opened(url: str, start: int = 0) -> Iterator[Answer]:
    """Open a file by address, from byte `start` where the server can do that.

    Raises: Unreachable, NotThere.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        with _local(Path(unquote(parts.path)), start) as answer:
            yield answer
        return
    with _remote(url, start) as answer:
        yield answer


def get(url: str, *, what: str, limit: int) -> bytes:
    """Read a whole small file, of at most `limit` bytes.

    Raises: NotThere; ArchiveError when it is too large or cannot be read after all attempts.
    """
    for attempt in attempts(what, url):
        with attempt, opened(url) as answer:
            found = bytearray()
            for piece in answer.pieces:
                found += piece
                if len(found) > limit:
                    raise ArchiveError(
                        f"{what} is larger than {limit} bytes", where=url, fix="use another mirror"
                    )
            if answer.length is not None and len(found) < answer.length:
                raise Unreachable(f"the answer ended after {len(found)} bytes")
            return bytes(found)
    raise AssertionError("attempts() ends with an error")


class Attempt:
    """One attempt: in its block, Unreachable is kept for the next one, or becomes the error."""

    def __init__(self, what: str, url: str, pause: float | None) -> None:
        self.what, self.url, self.pause = what, url, pause

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Unreachable):
            return False
        if self.pause is None:
            raise ArchiveError(
                f"cannot get {self.what}: {error.reason}",
                where=self.url,
                fix="check the network and the proxy (http_proxy), name another mirror "
                "(--mirror URL), or use what the store holds (--offline)",
            ) from error
        time.sleep(min(max(self.pause, error.pause), LONGEST))
        return True


def attempts(what: str, url: str) -> Iterator[Attempt]:
    """Attempts for one file, with pauses between them; the last one raises ArchiveError."""
    for pause in (*PAUSES, None):
        yield Attempt(what, url, pause)


@contextlib.contextmanager
def _local(path: Path, start: int) -> Iterator[Answer]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(start)
            yield Answer(start, max(size - start, 0), "file", iter(lambda: file.read(PIECE), b""))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise NotThere(error.strerror or str(error)) from error


@contextlib.contextmanager
def _remote(url: str, start: int) -> Iterator[Answer]:
    import urllib3

    headers = {"Accept-Encoding": "identity", "User-Agent": "minbuild"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = _pool(url).request(
            "GET", url, headers=headers, preload_content=False, decode_content=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(_reason(error)) from error
    try:
        yield _answer(response, start)
    finally:
        response.close() if response.length_remaining != 0 else response.release_conn()


def _answer(response: "urllib3.BaseHTTPResponse", start: int) -> Answer:
    status = response.status
    if status in {408, 425, 429, 500, 502, 503, 504}:
        wait = response.headers.get("Retry-After", "")
        pause = float(wait) if wait.isdigit() else 0.0
        raise Unreachable(f"the server answers {status} {response.reason}", pause=pause)
    if status == 416:
        raise Unreachable("the server has fewer bytes than were fetched already")
    if status not in {200, 206}:
        raise NotThere(f"the server answers {status} {response.reason}")
    where = response.headers.get("Content-Range", "")
    resumed = status == 206 and where.startswith(f"bytes {start}-")
    length = response.headers.get("Content-Length", "")
    return Answer(
        start if resumed else 0,
        int(length) if length.isdigit() else None,
        response.headers.get("Content-Type", ""),
        _pieces(response),
    )


def _pieces(response: "urllib3.BaseHTTPResponse") -> Iterator[bytes]:
    import urllib3

    try:
        yield from response.stream(PIECE, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The innermost cause of what urllib3 says, in a few words."""
    import urllib3

    cause: BaseException = error
    while isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return "its name cannot be resolved"
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not refused:
        return "it does not answer in time"
    if isinstance(cause, urllib3.exceptions.IncompleteRead | urllib3.exceptions.ProtocolError):
        return "the connection broke in the middle"
    inner = cause.__cause__ or cause.__context__
    text = getattr(inner, "strerror", None) or str(cause)
    return str(text)


def _pool(url: str) -> "urllib3.PoolManager":
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    if proxy and proxy_bypass(parts.netloc):
        proxy = ""
    silence = os.environ.get("MINBUILD_TIMEOUT", "")
    bundle = os.environ.get("REQUESTS_CA_BUNDLE", "") if parts.scheme == "https" else ""
    return _manager(proxy, parts.scheme, bundle, float(silence) if silence.isdigit() else 30.0)


@functools.cache
def _manager(proxy: str, scheme: str, bundle: str, silence: float) -> "urllib3.PoolManager":
    """Connections that are kept open; a server may stay silent for `silence` seconds."""
    import urllib3

    context = None
    if scheme == "https" or proxy.startswith("https:"):
        import ssl

        context = ssl.create_default_context(cafile=bundle or None)
    retries = urllib3.Retry(
        6, connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False
    )
    timeout = urllib3.Timeout(connect=min(10.0, silence), read=silence)
    if not proxy:
        return urllib3.PoolManager(
            maxsize=PARALLEL, retries=retries, timeout=timeout, ssl_context=context
        )
    if not proxy.startswith(("http://", "https://")):
        proxy = f"http://{proxy}" if "://" not in proxy else proxy
    try:
        parts = urlsplit(proxy)
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=secret) if parts.username else None
        return urllib3.ProxyManager(
            proxy, maxsize=PARALLEL, proxy_headers=headers, retries=retries, timeout=timeout,
            ssl_context=context,
        )  # fmt: skip
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise ArchiveError(
            f"the proxy cannot be used: {error}",
            where=f"{scheme}_proxy",
            fix=f"correct {scheme}_proxy: http://HOST:PORT",
        ) from error
