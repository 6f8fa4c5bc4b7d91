"""The one door to the network: connections, proxies, time-outs, how slow a server may be."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from minbuild.archive import credentials
from minbuild.archive.proxy import proxy_for
from minbuild.errors import ArchiveError

if TYPE_CHECKING:
    import urllib3

PAUSES = (0.1, 0.4, 1.6, 3.0)
"""Seconds before each new attempt, where a server may stay silent for SILENCE."""
SILENCE = 30.0
"""Seconds that a server may stay silent; MINBUILD_TIMEOUT says otherwise."""
LONGEST = 30.0
"""Seconds that a server's Retry-After may make us wait."""
LOWEST = 1024
"""Bytes a second that a server must send, over as long as it may stay silent."""
REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
PIECE = 1 << 17
PARALLEL = 6
"""Connections at once."""
_SHOWN = 80
"""Characters of a server's own words that a message repeats."""


class Unreachable(Exception):
    """An attempt that failed and may do better when it is made again."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        """Seconds that the server asks us to wait."""


class Shorter(Unreachable):
    """The server has fewer bytes than the start that was asked for."""


class NotThere(Exception):
    """The server answers that it has no such file, or keeps it from us."""

    def __init__(self, reason: str, *, missing: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.missing = missing
        """False: the file may be there, for somebody else."""


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
def opened(url: str, start: int = 0, *, fresh: bool = False) -> Iterator[Answer]:
    """Open a file by address, from byte `start` where the server can do that.

    With `fresh`, caches on the way are to ask the server itself. Source: RFC 9111, 5.2.1.4.

    Raises: Unreachable, NotThere.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        with _local(Path(unquote(parts.path)), start) as answer:
            yield answer
        return
    with _remote(url, start, fresh=fresh) as answer:
        yield answer


def read(url: str, *, what: str, limit: int, fresh: bool) -> bytes:
    """Read a whole small file, of at most `limit` bytes, by one request.

    Raises: Unreachable, NotThere; ArchiveError when it is too large.
    """
    with opened(url, fresh=fresh) as answer:
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


def silence() -> float:
    """Seconds that a server may stay silent."""
    told = os.environ.get("MINBUILD_TIMEOUT", "")
    return float(told) if told.isdecimal() and int(told) else SILENCE


def shortened(pause: float) -> float:
    """A pause, shorter where a server may stay silent for less than usual."""
    return pause * min(silence() / SILENCE, 1.0)


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
def _remote(url: str, start: int, *, fresh: bool) -> Iterator[Answer]:
    import urllib3

    headers = {"Accept-Encoding": "identity", "User-Agent": "minbuild"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if fresh:
        headers |= {"Cache-Control": "no-cache", "Pragma": "no-cache"}
    secret = ""
    for _ in range(REDIRECTS + 1):
        secret = credentials.authorization(url) or secret
        own = {"Authorization": secret} if secret else {}
        try:
            response = _pool(url).request(
                "GET", url, headers=headers | own, redirect=False, preload_content=False,
                decode_content=False,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(_reason(error)) from error
        try:
            elsewhere = response.headers.get("Location", "")
            if response.status not in _MOVED or not elsewhere:
                yield _answer(response, start, named=bool(secret))
                return
            there = _followed(url, elsewhere)
            if urlsplit(there)[:2] != urlsplit(url)[:2]:
                secret = ""  # another server is told nothing that is not for it
            url = there
            response.close()  # what it sends beside its redirection is not waited for
        finally:
            response.close() if response.length_remaining != 0 else response.release_conn()
    raise Unreachable(f"the server leads to other addresses more than {REDIRECTS} times")


def _followed(url: str, elsewhere: str) -> str:
    """The address that a redirection leads to. Source: RFC 9110, 15.4; apt's https method.

    Raises: NotThere for one that nobody may be led to.
    """
    try:
        there = urljoin(url, elsewhere)
        scheme = urlsplit(there).scheme
    except ValueError as error:
        raise NotThere("the server leads to what is no address") from error
    if scheme not in {"http", "https"} or (scheme == "http" and url.startswith("https:")):
        raise NotThere(f"the server leads from {urlsplit(url).scheme} to {plain(scheme)}")
    return credentials.hide(there)


def _answer(response: "urllib3.BaseHTTPResponse", start: int, *, named: bool) -> Answer:
    status, said = response.status, f"{response.status} {plain(response.reason or '')}".rstrip()
    if status in {408, 425, 429, 500, 502, 503, 504}:
        pause = retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date"))
        raise Unreachable(f"the server answers {said}", pause=pause)
    if status == 416:
        raise Shorter("the server has fewer bytes than were fetched already")
    if status in {401, 403}:
        raise NotThere(f"the server answers {said}{_login(status, named=named)}", missing=False)
    if status not in {200, 206}:
        raise NotThere(f"the server answers {said}")
    where = response.headers.get("Content-Range", "")
    resumed = status == 206 and where.startswith(f"bytes {start}-")
    if status == 206 and not resumed:
        raise Unreachable("the server answers with another part than was asked for")
    length = response.headers.get("Content-Length", "")
    return Answer(
        start if resumed else 0,
        int(length) if length.isdecimal() and len(length) < 20 else None,
        plain(response.headers.get("Content-Type", "")),
        _pieces(response),
    )


def plain(text: str) -> str:
    """A server's own words as one short line of ASCII."""
    return "".join(char for char in text if " " <= char <= "~")[:_SHOWN]


def _login(status: int, *, named: bool) -> str:
    """What a server means that wants to know who asks."""
    if named:
        return " to the user and password that are known for it"
    if status != 401:
        return ""
    hidden = credentials.unreadable()
    closed = f"; {hidden[0]} may not be read by this user" if hidden else ""
    return (
        ", it wants a user and a password (http://USER:PASSWORD@HOST/…, or a machine in apt's "
        f"auth.conf.d){closed}"
    )


def retry_after(text: str, date: str | None) -> float:
    """Seconds that Retry-After asks for: a number, or a date, held against the server's own.

    Source: RFC 9110, 10.2.3.
    """
    text = text.strip()
    if text.isdecimal():
        return float(text[:9])
    until = _seconds(text)
    if until is None:
        return 0.0
    now = _seconds(date or "")
    return max(until - (time.time() if now is None else now), 0.0)


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _pieces(response: "urllib3.BaseHTTPResponse") -> Iterator[bytes]:
    """The body as it comes.

    Raises: Unreachable, also when it comes slower than LOWEST bytes a second.
    """
    import urllib3

    from minbuild.archive.connections import Watch

    held = bytearray()
    broken = ""
    with Watch(response.shutdown, silence(), LOWEST) as watch:
        try:
            while piece := response.read1(PIECE, decode_content=False):
                watch.came += len(piece)
                held += piece
                if len(held) >= PIECE:
                    yield bytes(held)
                    held.clear()
        except urllib3.exceptions.HTTPError as error:
            broken = _reason(error)
    if held:  # what came is kept, and what follows it is asked for the next time
        yield bytes(held)
    if watch.slow:
        raise Unreachable(f"it sends less than {LOWEST} bytes a second")
    if broken:
        raise Unreachable(broken)


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
    return credentials.hide(str(text))


def _pool(url: str) -> "urllib3.PoolManager":
    parts = urlsplit(url)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE", "") if parts.scheme == "https" else ""
    return _manager(proxy_for(parts), parts.scheme, bundle, silence())


@functools.cache
def _manager(proxy: str, scheme: str, bundle: str, silence: float) -> "urllib3.PoolManager":
    """Connections that are kept open; a server may stay silent for `silence` seconds."""
    import urllib3

    from minbuild.archive.connections import bounded

    context = None
    if scheme == "https" or proxy.startswith("https:"):
        import ssl

        context = ssl.create_default_context(cafile=bundle or None)
    retries = urllib3.Retry(
        0, connect=0, read=0, status=0, other=0, redirect=0, respect_retry_after_header=False
    )
    timeout = urllib3.Timeout(connect=min(10.0, silence), read=silence)
    if not proxy:
        return bounded(
            urllib3.PoolManager(
                maxsize=PARALLEL, retries=retries, timeout=timeout, ssl_context=context
            )
        )
    try:
        parts = urlsplit(proxy)
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=secret) if parts.username else None
        return bounded(
            urllib3.ProxyManager(
                proxy, maxsize=PARALLEL, proxy_headers=headers, retries=retries, timeout=timeout,
                ssl_context=context, proxy_ssl_context=context,
            )
        )  # fmt: skip
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise ArchiveError(
            f"the proxy cannot be used: {credentials.hide(str(error))}",
            where=f"{scheme}_proxy",
            fix=f"correct {scheme}_proxy: http://HOST:PORT",
        ) from error
