"""Process pool for work on packages; it ends at once on an error or Ctrl-C."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from minbuild.archive.model import Package
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ArchiveError, MinbuildError, ToolError, combine
from minbuild.file_io import hash_file
from minbuild.parallel import count_cpus, is_single_threaded
from minbuild.progress import Progress

SINGLE_PROCESS_LIMIT = 1 << 20
"""Packages of fewer bytes in all are worked on without starting processes."""
A = TypeVar("A")
R = TypeVar("R")
Work = Callable[[Path, str, A], R]
"""Gets a .deb's place, its name for errors, and what the caller adds; may raise ArchiveError."""


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """An ArchiveError on its way from a process: errors with keywords cannot be pickled."""

    problem: str
    where: str
    fix: str


@dataclass(frozen=True, slots=True)
class WorkDone(Generic[R]):
    result: R


def map_packages(
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
    located = [
        (package, find_verified_deb(package, store), argument) for package, argument in ordered
    ]
    single_process = len(located) < 2 or total < SINGLE_PROCESS_LIMIT or count_cpus() < 2
    outcomes = (_run_here if single_process else _run_in_processes)(work, located)
    failures: list[ArchiveError] = []
    ready = 0
    for package, outcome in outcomes:
        ready += package.size
        progress.bar(title, ready, total)
        if isinstance(outcome, WorkDone):
            yield package, outcome.result
        else:
            failures.append(_explain_failure(outcome, package, store))
    if failures:
        raise combine(sorted(failures, key=lambda error: error.where))


def label_package(package: Package) -> str:
    """How errors name a package: busybox 1.37.0-6 (amd64)."""
    return f"{package.name} {package.version} ({package.arch})"


def find_verified_deb(package: Package, store: Store) -> Path:
    """Path of the .deb in the store, its bytes checked.

    Raises: ArchiveError when it is not in the store, CacheCorrupted when it was damaged there.
    """
    if store.path(package.sha256) is not None and store.find_verified(package.sha256) is None:
        raise CacheCorrupted(
            "the store's copy of a package was damaged and has been removed",
            where=label_package(package),
            fix="run the command again: the package is fetched anew",
        )
    path = store.path(package.sha256)
    if path is None:
        raise ArchiveError(
            "the package is not in the store",
            where=label_package(package),
            fix="run the command again with the archive at hand, without --offline",
        )
    return path


LocatedPackages = Sequence[tuple[Package, Path, A]]
Outcomes = Iterator[tuple[Package, WorkDone[R] | WorkFailed]]


def _run_here(work: Work[A, R], located: LocatedPackages[A]) -> Outcomes[R]:
    for package, path, argument in located:
        yield package, _try_work(work, path, label_package(package), argument)


def _run_in_processes(work: Work[A, R], located: LocatedPackages[A]) -> Outcomes[R]:
    with _open_pool(min(count_cpus(), len(located))) as pool:
        futures: dict[Future[WorkDone[R] | WorkFailed], Package] = {
            pool.submit(_try_work, work, path, label_package(package), argument): package
            for package, path, argument in located
        }
        for future in as_completed(futures):
            package = futures.pop(future)
            try:
                yield package, future.result()
            except BrokenProcessPool as error:
                raise ToolError(
                    "a process that read packages was ended from outside",
                    where=label_package(package),
                    fix="see whether this machine ran out of memory (dmesg), and try again",
                ) from error


def _try_work(work: Work[A, R], path: Path, name: str, argument: A) -> WorkDone[R] | WorkFailed:
    try:
        return WorkDone(work(path, name, argument))
    except MinbuildError as error:
        return WorkFailed(error.what, error.where, error.fix)


@contextmanager
def _open_pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the `with`, at once when it is left by an error or Ctrl-C."""
    before = set(multiprocessing.active_children())
    # A fork is the fastest start and safe only where no other thread may hold a lock.
    start_method = "fork" if is_single_threaded() else "forkserver"
    pool = ProcessPoolExecutor(
        size,
        multiprocessing.get_context(start_method),
        _follow_parent,
        (os.getpid() if start_method == "fork" else 0,),
    )
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed.

    `parent` is its id where it made this process itself, else 0.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if parent and os.getppid() != parent:
        os._exit(1)  # it was killed before the line above


def _explain_failure(failed: WorkFailed, package: Package, store: Store) -> ArchiveError:
    """The error to show: the store's copy may have been damaged since it was checked."""
    path = store.path(package.sha256)
    if path is None or hash_file(path) == package.sha256:
        return ArchiveError(failed.problem, where=failed.where, fix=failed.fix)
    store.discard(package.sha256)
    return ArchiveError(
        "the store's copy of a package was damaged and has been removed",
        where=label_package(package),
        fix="run the command again: the package is fetched anew",
    )
