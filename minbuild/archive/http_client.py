"""The only door to the network: files by http, https and file addresses, from several mirrors, each
asked several times."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from minbuild.archive import http_request
from minbuild.archive.http_request import CHUNK_SIZE, FileResponse, NotFound, TransientError
from minbuild.errors import ArchiveError
from minbuild.progress import report_detail


@contextlib.contextmanager
def open_url(url: str, start: int = 0, *, fresh: bool = False) -> Iterator[FileResponse]:
    """Open a file by address, from byte `start` if the server supports ranges.

    `fresh`: caches on the way must revalidate. Source: RFC 9111, 5.2.1.4.
    Raises: TransientError, NotFound.
    """
    report_detail(lambda: f"reading {url}" + (f" from byte {start}" if start else ""))
    parts = urlsplit(url)
    if parts.scheme == "file":
        with _open_file(Path(unquote(parts.path)), start) as response:
            yield response
        return
    from minbuild.archive.http_transport import open_remote  # 50 ms, and a local mirror needs none

    with open_remote(url, start, fresh=fresh) as response:
        yield response


def read_url(url: str, *, purpose: str, limit: int, fresh: bool) -> bytes:
    """Read a file of at most `limit` bytes by one request.

    Raises: TransientError, NotFound; ArchiveError if it is too large.
    """
    with open_url(url, fresh=fresh) as response:
        body = bytearray()
        for chunk in response.chunks:
            body += chunk
            if len(body) > limit:
                raise ArchiveError(
                    f"{purpose} is larger than {limit} bytes", where=url, fix="use another mirror"
                )
        if response.length is not None and len(body) < response.length:
            raise TransientError(f"the answer ended after {len(body)} bytes")
        return bytes(body)


@contextlib.contextmanager
def _open_file(path: Path, start: int) -> Iterator[FileResponse]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(start)
            yield FileResponse(
                start, max(size - start, 0), "file", iter(lambda: file.read(CHUNK_SIZE), b"")
            )
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise NotFound(error.strerror or str(error)) from error


T = TypeVar("T")

MAX_WRONG_ANSWERS = 4
"""Wrong answers of one mirror before the next one is asked."""
_FIX = (
    "check the network and the proxy (http_proxy), name another mirror (--mirror URL), "
    "or use only the store (--offline)"
)


class WrongContent(Exception):
    """A mirror sent a wrong file; its next answer may be right."""

    def __init__(self, reason: str, error: ArchiveError) -> None:
        super().__init__(reason)
        self.reason = reason
        """What is wrong, in a few words."""
        self.error = error
        """The error if no answer is right."""


_exhausted_hosts: set[str] = set()
"""Hosts that failed too often in this run: they are asked last."""


class _FailureTally:
    """Failures of each address, with their number."""

    def __init__(self) -> None:
        self.reasons: dict[str, Counter[str]] = {}
        self.wrong: WrongContent | None = None
        self.unreachable: tuple[str, http_request.TransientError] | None = None
        self.absent: tuple[str, http_request.NotFound] | None = None

    def add(self, url: str, reason: str) -> None:
        self.reasons.setdefault(url, Counter())[reason] += 1

    def summarise(self) -> str:
        """Return a line for each address, or for a single one the number of attempts."""
        if len(self.reasons) == 1:
            ((_, counts),) = self.reasons.items()
            times = sum(counts.values())
            more = f", {'; '.join(_format_counts(counts))}" if len(counts) > 1 else ""
            return f" (asked {times} times{more})" if times > 1 else ""
        return "".join(
            f"\n    {url}: {'; '.join(_format_counts(counts))}"
            for url, counts in self.reasons.items()
        )


def _format_counts(counts: Counter[str]) -> list[str]:
    return [
        f"{reason} ({times} times)" if times > 1 else reason for reason, times in counts.items()
    ]


def try_mirrors(
    purpose: str,
    mirrors: Sequence[Sequence[str]],
    request: Callable[[str, bool], T],
    *,
    fix: str = _FIX,
) -> T:
    """Return the result of `request` for the first right answer.

    `mirrors` has the addresses of the file at each mirror; the next one is tried if the server
    lacks the file. `request` gets an address, and whether caches must revalidate; it makes one
    request and raises TransientError, NotFound or WrongContent. Each mirror is asked several
    times, with growing pauses; one that failed too often before is asked last.

    Raises: NotFound if no mirror has the file; ArchiveError with all failures.
    """
    tally = _FailureTally()
    ordered = sorted(mirrors, key=lambda urls: _get_host(urls) in _exhausted_hosts)
    for number, urls in enumerate(ordered):
        last = number == len(ordered) - 1
        for attempt, pause in enumerate((*http_request.RETRY_DELAYS, None)):
            try:
                return _try_addresses(urls, attempt > 0, request, tally)
            except http_request.NotFound:
                requested_pause = 0.0
                if not last or attempt:
                    break
            except http_request.TransientError as error:
                requested_pause = error.pause
            except WrongContent:
                requested_pause = 0.0
                if attempt + 1 == MAX_WRONG_ANSWERS:
                    break
            if pause is None or (requested_pause > http_request.MAX_RETRY_AFTER and not last):
                _exhausted_hosts.add(_get_host(urls))
                break
            longest = http_request.MAX_RETRY_AFTER
            time.sleep(min(max(http_request.scale_pause(pause), requested_pause), longest))
    raise _build_error(purpose, tally, fix)


def fetch_small(url: str, *, purpose: str, limit: int) -> bytes:
    """Read a file of at most `limit` bytes from its only address.

    Raises: ArchiveError.
    """
    try:
        return try_mirrors(
            purpose,
            [[url]],
            lambda url, fresh: read_url(url, purpose=purpose, limit=limit, fresh=fresh),
        )
    except http_request.NotFound as error:
        raise ArchiveError(
            f"cannot get {purpose}: {error.reason}", where=url, fix="correct the address"
        ) from error


def _try_addresses(
    urls: Sequence[str], fresh: bool, request: Callable[[str, bool], T], tally: _FailureTally
) -> T:
    for url in urls:
        try:
            return request(url, fresh)
        except http_request.NotFound as error:
            tally.add(url, error.reason)
            tally.absent = tally.absent if tally.absent and error.is_absent else (url, error)
            if url == urls[-1]:
                raise
        except http_request.TransientError as error:
            tally.add(url, error.reason)
            tally.unreachable = url, error
            raise
        except WrongContent as error:
            tally.add(url, error.reason)
            tally.wrong = error
            raise
    raise AssertionError("a mirror has an address")


def _build_error(purpose: str, tally: _FailureTally, fix: str) -> Exception:
    """Return the error for all failures: a wrong file first, then a network error, then absence."""
    if tally.wrong is not None:
        error = tally.wrong.error
        return type(error)(f"{error.what}{tally.summarise()}", where=error.where, fix=error.fix)
    if tally.unreachable is not None:
        url, reason = tally.unreachable
        return ArchiveError(
            f"cannot get {purpose}: {reason.reason}{tally.summarise()}", where=url, fix=fix
        )
    if tally.absent is not None:
        return tally.absent[1]
    return ArchiveError(f"no mirror is configured for {purpose}", fix=fix)


def _get_host(urls: Sequence[str]) -> str:
    return urlsplit(urls[0]).netloc if urls else ""
