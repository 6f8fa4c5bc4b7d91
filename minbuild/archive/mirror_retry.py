"""Retries: one file from several mirrors, each asked several times, then one error for all."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from minbuild.archive import http_client, http_model
from minbuild.errors import ArchiveError

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
        self.unreachable: tuple[str, http_model.TransientError] | None = None
        self.absent: tuple[str, http_model.NotFound] | None = None

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
        for attempt, pause in enumerate((*http_model.RETRY_DELAYS, None)):
            try:
                return _try_addresses(urls, attempt > 0, request, tally)
            except http_model.NotFound:
                requested_pause = 0.0
                if not last or attempt:
                    break
            except http_model.TransientError as error:
                requested_pause = error.pause
            except WrongContent:
                requested_pause = 0.0
                if attempt + 1 == MAX_WRONG_ANSWERS:
                    break
            if pause is None or (requested_pause > http_model.MAX_RETRY_AFTER and not last):
                _exhausted_hosts.add(_get_host(urls))
                break
            time.sleep(
                min(
                    max(http_model.scale_pause(pause), requested_pause),
                    http_model.MAX_RETRY_AFTER,
                )
            )
    raise _build_error(purpose, tally, fix)


def fetch_small(url: str, *, purpose: str, limit: int) -> bytes:
    """Read a file of at most `limit` bytes from its only address.

    Raises: ArchiveError.
    """
    try:
        return try_mirrors(
            purpose,
            [[url]],
            lambda url, fresh: http_client.read_url(url, purpose=purpose, limit=limit, fresh=fresh),
        )
    except http_model.NotFound as error:
        raise ArchiveError(
            f"cannot get {purpose}: {error.reason}", where=url, fix="correct the address"
        ) from error


def _try_addresses(
    urls: Sequence[str], fresh: bool, request: Callable[[str, bool], T], tally: _FailureTally
) -> T:
    for url in urls:
        try:
            return request(url, fresh)
        except http_model.NotFound as error:
            tally.add(url, error.reason)
            tally.absent = tally.absent if tally.absent and error.is_absent else (url, error)
            if url == urls[-1]:
                raise
        except http_model.TransientError as error:
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
