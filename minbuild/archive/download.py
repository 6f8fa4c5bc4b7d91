"""How a file of known digest and size comes into the store: resumed, checked, then adopted."""

import contextlib
import fcntl
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar, cast

from minbuild.archive import net
from minbuild.archive.offers import Wrong, first_right
from minbuild.errors import ArchiveError
from minbuild.progress import Progress
from minbuild.records import full_disk
from minbuild.store import Store

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to be had, and what it must be."""

    what: str
    """For people: `package busybox 1.37.0-6`."""
    mirrors: tuple[tuple[str, ...], ...]
    """Its addresses at each mirror, each tried when the server has nothing at the one before."""
    sha256: str
    size: int
    fix: str
    """What to do when no server has it or what it has is wrong."""


class Unfit(ArchiveError):
    """No mirror has what an index or a Release names: they may have changed meanwhile."""


class _Stopped(Exception):
    """The caller has gone: end this download."""


class Downloads:
    """Several downloads side by side, and how far they are."""

    def __init__(self, store: Store, progress: Progress, label: str, total: int) -> None:
        self.store, self.progress, self.label, self.total = store, progress, label, total
        self.done = 0
        self.gone: dict[Wanted, str] = {}
        """What no server has, and what they said."""
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def count(self, size: int) -> None:
        with self._lock:
            self.done += size
            done = self.done
        self.progress.bar(self.label, min(done, self.total), self.total)

    def one(self, wanted: Wanted) -> None:
        """Bring one file into the store.

        Raises: ArchiveError.
        """
        with self._alone(wanted) as file:
            if file is None:
                self.count(wanted.size)
                return

            def take(url: str, fresh: bool) -> None:
                self._from(wanted, url, file, fresh=fresh)

            try:
                first_right(wanted.what, wanted.mirrors, take)
            except net.NotThere as error:
                self.gone[wanted] = error.reason
                return
            self.store.adopt(self.store.partial(wanted.sha256), wanted.sha256)

    def _from(self, wanted: Wanted, url: str, file: FileIO, *, fresh: bool) -> None:
        """Fill `file` by one request, until it is what it must be.

        Raises: Wrong, Unreachable, NotThere.
        """
        held = file.seek(0, os.SEEK_END)
        if held < wanted.size or wanted.size == 0:
            try:
                self._more(wanted, url, file, held, fresh=fresh)
            except net.Shorter:
                self._empty(file)
                raise
        found = _digest(file)
        if found != wanted.sha256:
            self._empty(file)
            raise _wrong(wanted, url, f"its SHA-256 is {found}")

    def _empty(self, file: FileIO) -> None:
        """Begin anew."""
        held = file.seek(0, os.SEEK_END)
        with full_disk(self.store.directory):
            file.truncate(0)
        self.count(-held)

    def _more(self, wanted: Wanted, url: str, file: FileIO, held: int, *, fresh: bool) -> None:
        """Append what is missing; begins anew when the server cannot resume."""
        with net.opened(url, held, fresh=fresh) as answer:
            if answer.start != held:
                self._empty(file)
                held = 0
            if answer.length is not None and held + answer.length != wanted.size:
                kind = answer.kind or "no type"
                raise _wrong(
                    wanted, url, f"the server offers {held + answer.length} bytes ({kind})"
                )
            for piece in answer.pieces:
                if self.stopped.is_set():
                    raise _Stopped
                held += len(piece)
                if held > wanted.size:
                    self._empty(file)
                    raise _wrong(wanted, url, "the server sends more")
                with full_disk(self.store.directory):
                    _write(file, piece)
                self.count(len(piece))
        if held < wanted.size:
            raise net.Unreachable(f"the connection ended after {held} of {wanted.size} bytes")

    @contextlib.contextmanager
    def _alone(self, wanted: Wanted) -> Iterator[FileIO | None]:
        """The file that grows, locked against other processes; None when another one got it."""
        path = self.store.partial(wanted.sha256)
        while True:
            with full_disk(self.store.directory):
                file = path.open("a+b", buffering=0)
            with file:
                if not _locked(file) or not _same(file, path):
                    if self.stopped.is_set():
                        raise _Stopped
                    time.sleep(0.05)
                    continue
                if self.store.file(wanted.sha256) is not None:
                    path.unlink(missing_ok=True)
                    yield None
                    return
                self.count(min(file.seek(0, os.SEEK_END), wanted.size))
                yield file
                return


def download(files: Sequence[Wanted], store: Store, progress: Progress, label: str) -> None:
    """Bring every file that the store lacks into it, the largest ones first, side by side.

    Ends at once on an interrupt. Raises: ArchiveError, the first one found.
    """
    absent = {one.sha256: one for one in files if store.file(one.sha256) is None}
    ordered = sorted(absent.values(), key=lambda one: (-one.size, one.sha256))
    downloads = Downloads(store, progress, label, sum(one.size for one in ordered))
    try:
        side_by_side(downloads.one, ordered)
    finally:
        downloads.stopped.set()
    if downloads.gone:
        raise _gone(downloads.gone)


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do network work on every item, several at once; results in the items' order.

    Raises what the first failing item raises, and does not wait for the others then.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
    for place in range(len(items)):
        waiting.put(place)

    def labour() -> None:
        while True:
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ended.put((place, work(items[place]), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                ended.put((place, None, error))

    for _ in range(min(net.PARALLEL, len(items))):
        # daemons: a thread that waits for a silent server must not hold back an interrupt
        threading.Thread(target=labour, daemon=True).start()
    found: dict[int, R] = {}
    try:
        for _ in items:
            place, result, error = ended.get()
            if error is not None:
                raise error
            found[place] = cast("R", result)
    finally:
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
    return [found[place] for place in range(len(items))]


def _write(file: FileIO, data: bytes) -> None:
    """Write all of it; unbuffered, so that a full disk is seen here and not when closing."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _digest(file: FileIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _locked(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(file: FileIO, path: Path) -> bool:
    """The locked file still lies at its path: it was not adopted meanwhile."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _gone(found: Mapping[Wanted, str]) -> Unfit:
    """The error for what no server has: all of it is named, each by a line of its own."""
    wanted = sorted(found, key=lambda one: one.what)
    first = wanted[0]
    if len(wanted) == 1:
        what = f"the mirror does not have {first.what}: {found[first]}"
    else:
        names = "".join(f"\n    {one.what}: {found[one]}" for one in wanted)
        what = f"the mirror does not have {len(wanted)} files:{names}"
    return Unfit(what, where=first.mirrors[0][-1] if first.mirrors else "", fix=first.fix)


def _wrong(wanted: Wanted, url: str, said: str) -> Wrong:
    error = Unfit(
        f"{wanted.what} is not what the archive says: {said}; "
        f"expected are {wanted.size} bytes with SHA-256 {wanted.sha256}",
        where=url,
        fix=wanted.fix,
    )
    return Wrong(said, error)
