"""How packages are worked on side by side in processes, and how that ends early."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from minbuild.archive.types import Package
from minbuild.errors import ArchiveError, MinbuildError, ToolError, together
from minbuild.progress import Progress
from minbuild.store import Lost, Store

ALONE = 1 << 20
"""Packages of fewer bytes in all are worked on without starting processes."""
A = TypeVar("A")
R = TypeVar("R")
Work = Callable[[Path, str, A], R]
"""Gets a .deb's place, its name for errors, and what the caller adds; may raise ArchiveError."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An ArchiveError on its way from a process: errors with keywords cannot be pickled."""

    what: str
    where: str
    fix: str


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    result: R


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def side_by_side(
    work: Work[A, R],
    tasks: Sequence[tuple[Package, A]],
    store: Store,
    progress: Progress,
    title: str,
) -> Iterator[tuple[Package, R]]:
    """Yield each task's package and result as they come; the biggest package is begun first.

    `work` is a function of a module. Results of sound packages come even when others fail.

    Raises: ArchiveError, all packages that failed together, at the end; ToolError.
    """
    ordered = sorted(tasks, key=lambda task: (-task[0].size, task[0].sha256))
    total = sum(package.size for package, _ in ordered)
    places = [(package, place(package, store), added) for package, added in ordered]
    alone = len(places) < 2 or total < ALONE or cores() < 2
    outcomes = (_here if alone else _processes)(work, places)
    failures: list[ArchiveError] = []
    ready = 0
    for package, outcome in outcomes:
        ready += package.size
        progress.bar(title, ready, total)
        if isinstance(outcome, Done):
            yield package, outcome.result
        else:
            failures.append(_blame(outcome, package, store))
    if failures:
        raise together(sorted(failures, key=lambda error: error.where))


def label(package: Package) -> str:
    """How errors name a package: busybox 1.37.0-6 (amd64)."""
    return f"{package.name} {package.version} ({package.arch})"


def place(package: Package, store: Store) -> Path:
    """Where the .deb lies, its bytes checked.

    Raises: ArchiveError when it is not in the store, Lost when it was damaged there.
    """
    if store.file(package.sha256) is not None and store.sound(package.sha256) is None:
        raise Lost(
            "the store's copy of a package was damaged and has been removed",
            where=label(package),
            fix="run the command again: the package is fetched anew",
        )
    path = store.file(package.sha256)
    if path is None:
        raise ArchiveError(
            "the package is not in the store",
            where=label(package),
            fix="run the command again with the archive at hand, without --offline",
        )
    return path


Places = Sequence[tuple[Package, Path, A]]
Outcomes = Iterator[tuple[Package, Done[R] | Failed]]


def _here(work: Work[A, R], places: Places[A]) -> Outcomes[R]:
    for package, path, added in places:
        yield package, _attempt(work, path, label(package), added)


def _processes(work: Work[A, R], places: Places[A]) -> Outcomes[R]:
    with _pool(min(cores(), len(places))) as pool:
        futures: dict[Future[Done[R] | Failed], Package] = {
            pool.submit(_attempt, work, path, label(package), added): package
            for package, path, added in places
        }
        for future in as_completed(futures):
            package = futures.pop(future)
            try:
                yield package, future.result()
            except BrokenProcessPool as error:
                raise ToolError(
                    "a process that read packages was ended from outside",
                    where=label(package),
                    fix="see whether this machine ran out of memory (dmesg), and try again",
                ) from error


def _attempt(work: Work[A, R], path: Path, name: str, added: A) -> Done[R] | Failed:
    try:
        return Done(work(path, name, added))
    except MinbuildError as error:
        return Failed(error.what, error.where, error.fix)


@contextmanager
def _pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the `with`, at once when it is left by an error or Ctrl-C."""
    before = set(multiprocessing.active_children())
    # A fork is the fastest start and safe only where no other thread may hold a lock.
    way = "fork" if threading.active_count() == 1 else "forkserver"
    pool = ProcessPoolExecutor(
        size, multiprocessing.get_context(way), _settle, (os.getpid() if way == "fork" else 0,)
    )
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _settle(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed.

    `parent` is its id where it made this process itself, else 0.
    """
    import ctypes

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if parent and os.getppid() != parent:
        os._exit(1)  # it was killed before the line above


def _blame(failed: Failed, package: Package, store: Store) -> ArchiveError:
    """The error to show: the store's copy may have been damaged since it was checked."""
    path = store.file(package.sha256)
    if path is None or _sha256(path) == package.sha256:
        return ArchiveError(failed.what, where=failed.where, fix=failed.fix)
    store.forget(package.sha256)
    return ArchiveError(
        "the store's copy of a package was damaged and has been removed",
        where=label(package),
        fix="run the command again: the package is fetched anew",
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
