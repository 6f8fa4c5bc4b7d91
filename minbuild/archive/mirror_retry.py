"""How one file is had from several mirrors that may err: asked again, then the next, then told."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from minbuild.archive import http_client, http_model
from minbuild.errors import ArchiveError

T = TypeVar("T")

MAX_WRONG_ANSWERS = 4
"""Times that one mirror may offer something else before the next one is asked."""
_FIX = (
    "check the network and the proxy (http_proxy), name another mirror (--mirror URL), "
    "or use what the store holds (--offline)"
)


class WrongContent(Exception):
    """What a mirror offered is not what it must be; the next answer may be."""

    def __init__(self, reason: str, error: ArchiveError) -> None:
        super().__init__(reason)
        self.reason = reason
        """What it is instead, in a few words."""
        self.error = error
        """What is said when it stays so."""


_exhausted_hosts: set[str] = set()
"""Hosts that this run has asked as often as it may: they are asked last."""


class _FailureTally:
    """What was offered, where and how often."""

    def __init__(self) -> None:
        self.reasons: dict[str, Counter[str]] = {}
        self.wrong: WrongContent | None = None
        self.unreachable: tuple[str, http_model.TransientError] | None = None
        self.absent: tuple[str, http_model.NotFound] | None = None

    def add(self, url: str, reason: str) -> None:
        self.reasons.setdefault(url, Counter())[reason] += 1

    def summarise(self) -> str:
        """One line for each address when there are several; else how often, when it is not once."""
        if len(self.reasons) == 1:
            ((_, counts),) = self.reasons.items()
            times = sum(counts.values())
            more = f", {'; '.join(_format_counts(counts))}" if len(counts) > 1 else ""
            return f" (asked {times} times{more})" if times > 1 else ""
        return "".join(
            f"\n    {url}: {'; '.join(_format_counts(one))}" for url, one in self.reasons.items()
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
    """What `take` makes of the first right answer.

    `mirrors` has the addresses of the file at each mirror, each tried when the one before it has
    no such file. `take` gets an address, and whether caches are to look again; it makes one
    request and raises Unreachable, NotThere or Wrong. Each mirror is asked several times, with
    growing pauses; one that was given up before is asked last.

    Raises: NotThere when no mirror has it; ArchiveError with what was offered how often.
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
    """Read a whole small file, of at most `limit` bytes, from the one place that has it.

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
    """What is told of several failures: something wrong before something that is not there."""
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
    return ArchiveError(f"no mirror is known for {purpose}", fix=fix)


def _get_host(urls: Sequence[str]) -> str:
    return urlsplit(urls[0]).netloc if urls else ""
