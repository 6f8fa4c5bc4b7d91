"""How one file is had from several mirrors that may err: asked again, then the next, then told."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from minbuild.archive import net
from minbuild.errors import ArchiveError

T = TypeVar("T")

WRONG = 4
"""Times that one mirror may offer something else before the next one is asked."""
_FIX = (
    "check the network and the proxy (http_proxy), name another mirror (--mirror URL), "
    "or use what the store holds (--offline)"
)


class Wrong(Exception):
    """What a mirror offered is not what it must be; the next answer may be."""

    def __init__(self, said: str, error: ArchiveError) -> None:
        super().__init__(said)
        self.said = said
        """What it is instead, in a few words."""
        self.error = error
        """What is said when it stays so."""


_given_up: set[str] = set()
"""Hosts that this run has asked as often as it may: they are asked last."""


class _Tally:
    """What was offered, where and how often."""

    def __init__(self) -> None:
        self.said: dict[str, Counter[str]] = {}
        self.wrong: Wrong | None = None
        self.unreachable: tuple[str, net.Unreachable] | None = None
        self.absent: tuple[str, net.NotThere] | None = None

    def add(self, url: str, said: str) -> None:
        self.said.setdefault(url, Counter())[said] += 1

    def text(self) -> str:
        """One line for each address when there are several; else how often, when it is not once."""
        if len(self.said) == 1:
            ((_, counts),) = self.said.items()
            times = sum(counts.values())
            more = f", {'; '.join(_times(counts))}" if len(counts) > 1 else ""
            return f" (asked {times} times{more})" if times > 1 else ""
        return "".join(f"\n    {url}: {'; '.join(_times(one))}" for url, one in self.said.items())


def _times(counts: Counter[str]) -> list[str]:
    return [f"{said} ({times} times)" if times > 1 else said for said, times in counts.items()]


def first_right(
    what: str, mirrors: Sequence[Sequence[str]], take: Callable[[str, bool], T], *, fix: str = _FIX
) -> T:
    """What `take` makes of the first right answer.

    `mirrors` has the addresses of the file at each mirror, each tried when the one before it has
    no such file. `take` gets an address, and whether caches are to look again; it makes one
    request and raises Unreachable, NotThere or Wrong. Each mirror is asked several times, with
    growing pauses; one that was given up before is asked last.

    Raises: NotThere when no mirror has it; ArchiveError with what was offered how often.
    """
    tally = _Tally()
    ordered = sorted(mirrors, key=lambda urls: _host(urls) in _given_up)
    for number, urls in enumerate(ordered):
        last = number == len(ordered) - 1
        for attempt, pause in enumerate((*net.PAUSES, None)):
            try:
                return _one(urls, attempt > 0, take, tally)
            except net.NotThere:
                asked = 0.0
                if not last or attempt:
                    break
            except net.Unreachable as error:
                asked = error.pause
            except Wrong:
                asked = 0.0
                if attempt + 1 == WRONG:
                    break
            if pause is None or (asked > net.LONGEST and not last):
                _given_up.add(_host(urls))
                break
            time.sleep(min(max(net.shortened(pause), asked), net.LONGEST))
    raise _error(what, tally, fix)


def get(url: str, *, what: str, limit: int) -> bytes:
    """Read a whole small file, of at most `limit` bytes, from the one place that has it.

    Raises: ArchiveError.
    """
    try:
        return first_right(
            what, [[url]], lambda url, fresh: net.read(url, what=what, limit=limit, fresh=fresh)
        )
    except net.NotThere as error:
        raise ArchiveError(
            f"cannot get {what}: {error.reason}", where=url, fix="correct the address"
        ) from error


def _one(urls: Sequence[str], fresh: bool, take: Callable[[str, bool], T], tally: _Tally) -> T:
    for url in urls:
        try:
            return take(url, fresh)
        except net.NotThere as error:
            tally.add(url, error.reason)
            tally.absent = tally.absent if tally.absent and error.missing else (url, error)
            if url == urls[-1]:
                raise
        except net.Unreachable as error:
            tally.add(url, error.reason)
            tally.unreachable = url, error
            raise
        except Wrong as error:
            tally.add(url, error.said)
            tally.wrong = error
            raise
    raise AssertionError("a mirror has an address")


def _error(what: str, tally: _Tally, fix: str) -> Exception:
    """What is told of several failures: something wrong before something that is not there."""
    if tally.wrong is not None:
        error = tally.wrong.error
        return type(error)(f"{error.what}{tally.text()}", where=error.where, fix=error.fix)
    if tally.unreachable is not None:
        url, reason = tally.unreachable
        return ArchiveError(f"cannot get {what}: {reason.reason}{tally.text()}", where=url, fix=fix)
    if tally.absent is not None:
        return tally.absent[1]
    return ArchiveError(f"no mirror is known for {what}", fix=fix)


def _host(urls: Sequence[str]) -> str:
    return urlsplit(urls[0]).netloc if urls else ""
