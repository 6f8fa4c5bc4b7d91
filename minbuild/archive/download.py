"""Downloads of files with known size and SHA-256 into the store: resumed, verified, adopted."""

import contextlib
import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar, cast

from minbuild.archive import http_client, http_request
from minbuild.archive.http_client import WrongContent, try_mirrors
from minbuild.archive.mirror import Mirror, is_local
from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.file_io import hash_open_file, translate_disk_errors
from minbuild.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class DownloadSpec:
    """A file to download, with its size and digest."""

    description: str
    """For people: `package busybox 1.37.0-6`."""
    mirrors: tuple[tuple[str, ...], ...]
    """Addresses at each mirror; the next one is tried if the server lacks the file."""
    sha256: str
    size: int
    fix: str
    """What to do if no mirror has the file, or all have a wrong one."""


class MirrorOutOfSync(ArchiveError):
    """No mirror has a file that an index or Release file lists; these may have changed meanwhile."""


class _Cancelled(Exception):
    """The caller was interrupted: end this download."""


class Downloads:
    """Parallel downloads and their progress."""

    def __init__(self, store: Store, progress: Progress, label: str, total: int) -> None:
        self.store, self.progress, self.label, self.total = store, progress, label, total
        self.done = 0
        self.missing: dict[DownloadSpec, str] = {}
        """Files that no mirror has → the answer of the last one."""
        self.cancelled = threading.Event()
        self._lock = threading.Lock()

    def add_progress(self, size: int) -> None:
        with self._lock:
            self.done += size
            done = self.done
        self.progress.bar(self.label, min(done, self.total), self.total)

    def download_one(self, spec: DownloadSpec) -> None:
        """Download one file into the store.

        Raises: ArchiveError.
        """
        with self._lock_partial(spec) as file:
            if file is None:
                self.add_progress(spec.size)
                return

            def fetch_from(url: str, fresh: bool) -> None:
                self._download_from(spec, url, file, fresh=fresh)

            try:
                try_mirrors(spec.description, spec.mirrors, fetch_from)
            except http_request.NotFound as error:
                self.missing[spec] = error.reason
                return
            self.store.adopt(self.store.partial_path(spec.sha256), spec.sha256)

    def _download_from(self, spec: DownloadSpec, url: str, file: FileIO, *, fresh: bool) -> None:
        """Complete `file` by one request and verify it.

        Raises: WrongContent, TransientError, NotFound.
        """
        offset = file.seek(0, os.SEEK_END)
        if offset < spec.size or spec.size == 0:
            try:
                self._resume(spec, url, file, offset, fresh=fresh)
            except http_request.RangeNotSatisfiable:
                self._truncate(file)
                raise
        digest = hash_open_file(file)
        if digest != spec.sha256:
            self._truncate(file)
            raise _mismatch_error(spec, url, f"its SHA-256 is {digest}")

    def _truncate(self, file: FileIO) -> None:
        """Discard what is downloaded."""
        size = file.seek(0, os.SEEK_END)
        with translate_disk_errors(self.store.directory):
            file.truncate(0)
        self.add_progress(-size)

    def _resume(
        self, spec: DownloadSpec, url: str, file: FileIO, offset: int, *, fresh: bool
    ) -> None:
        """Append the missing bytes; start over if the server cannot resume."""
        with http_client.open_url(url, offset, fresh=fresh) as response:
            if response.start != offset:
                self._truncate(file)
                offset = 0
            if response.length is not None and offset + response.length != spec.size:
                content_type = response.content_type or "no type"
                raise _mismatch_error(
                    spec,
                    url,
                    f"the server offers {offset + response.length} bytes ({content_type})",
                )
            for chunk in response.chunks:
                if self.cancelled.is_set():
                    raise _Cancelled
                offset += len(chunk)
                if offset > spec.size:
                    self._truncate(file)
                    raise _mismatch_error(spec, url, "the server sends more bytes")
                with translate_disk_errors(self.store.directory):
                    _write_all(file, chunk)
                self.add_progress(len(chunk))
        if offset < spec.size:
            raise http_request.TransientError(
                f"the connection ended after {offset} of {spec.size} bytes"
            )

    @contextlib.contextmanager
    def _lock_partial(self, spec: DownloadSpec) -> Iterator[FileIO | None]:
        """Open the partial file, locked against other processes; None if another one completed it."""
        path = self.store.partial_path(spec.sha256)
        while True:
            with translate_disk_errors(self.store.directory):
                file = path.open("a+b", buffering=0)
            with file:
                if not _try_lock(file) or not _is_same_file(file, path):
                    if self.cancelled.is_set():
                        raise _Cancelled
                    time.sleep(0.05)
                    continue
                if self.store.path(spec.sha256) is not None:
                    path.unlink(missing_ok=True)
                    yield None
                    return
                self.add_progress(min(file.seek(0, os.SEEK_END), spec.size))
                yield file
                return


def download(files: Sequence[DownloadSpec], store: Store, progress: Progress, label: str) -> None:
    """Download every file that is not in the store, in parallel, the largest first.

    Ends at once on an interrupt. Raises: the first ArchiveError.
    """
    fetch_shared(files, store, progress)
    absent = {spec.sha256: spec for spec in files if store.path(spec.sha256) is None}
    ordered = sorted(absent.values(), key=lambda spec: (-spec.size, spec.sha256))
    downloads = Downloads(store, progress, label, sum(spec.size for spec in ordered))
    try:
        map_requests(downloads.download_one, ordered)
    finally:
        downloads.cancelled.set()
    if store.remote is not None and absent:
        store.remote.share_files(store, absent, progress.note)
    if downloads.missing:
        raise _missing_error(downloads.missing)


def fetch_shared(files: Sequence[DownloadSpec], store: Store, progress: Progress) -> None:
    """Take what the shared store has of files that this machine's store has not."""
    if store.remote is None:
        return
    sizes = {spec.sha256: spec.size for spec in files if store.path(spec.sha256) is None}
    if sizes:
        progress.step(f"asking {store.remote.url} for {len(sizes)} files")
        store.remote.fetch_files(store, sizes, progress.note)


def map_requests(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Run `work` on every item in threads; return the results in the order of the items.

    Raises the error of the first item that fails, without waiting for the others.
    """
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
    for number in range(len(items)):
        pending.put(number)

    def run_worker() -> None:
        while True:
            try:
                number = pending.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((number, work(items[number]), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                finished.put((number, None, error))

    threads = [
        # daemons: a thread that waits for a silent server must not hold back an interrupt
        threading.Thread(target=run_worker, daemon=True)
        for _ in range(min(http_request.MAX_CONNECTIONS, len(items)))
    ]
    for thread in threads:
        thread.start()
    results: dict[int, R] = {}
    try:
        for _ in items:
            number, result, error = finished.get()
            if error is not None:
                raise error
            results[number] = cast("R", result)
    finally:
        _empty(pending)
    for thread in threads:  # their work is done; a fork is safe only where no thread is left
        thread.join()
    return [results[number] for number in range(len(items))]


def _empty(pending: "queue.SimpleQueue[int]") -> None:
    """Take out what no thread has begun."""
    with contextlib.suppress(queue.Empty):
        while True:
            pending.get_nowait()


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all bytes; unbuffered, so that a full disk is an error here and not on close."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[file.write(remaining) :]


def _try_lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same_file(file: FileIO, path: Path) -> bool:
    """Whether the locked file is still at its path: another process may have adopted it."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _missing_error(reasons: Mapping[DownloadSpec, str]) -> MirrorOutOfSync:
    """Return the error that lists every file that no mirror has, one per line."""
    specs = sorted(reasons, key=lambda spec: spec.description)
    first = specs[0]
    if len(specs) == 1:
        message = f"the mirror does not have {first.description}: {reasons[first]}"
    else:
        names = "".join(f"\n    {spec.description}: {reasons[spec]}" for spec in specs)
        message = f"the mirror does not have {len(specs)} files:{names}"
    return MirrorOutOfSync(
        message, where=first.mirrors[0][-1] if first.mirrors else "", fix=first.fix
    )


def _mismatch_error(spec: DownloadSpec, url: str, reason: str) -> WrongContent:
    error = MirrorOutOfSync(
        f"{spec.description} is corrupt: {reason}; "
        f"expected {spec.size} bytes with SHA-256 {spec.sha256}",
        where=url,
        fix=spec.fix,
    )
    return WrongContent(reason, error)


_MAX_NAMED = 5
"""Packages that an error lists before it only counts them."""


def fetch_packages(
    packages: Sequence[Package],
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
) -> None:
    """Download packages into the store, each verified by size and SHA-256.

    Raises: ArchiveError if one is not available or corrupt, or if `offline` forbids it.
    """
    absent = [package for package in packages if store.path(package.sha256) is None]
    if not absent:
        return
    specs = {package: _make_package_spec(package, mirror, offline=offline) for package in absent}
    fetch_shared([*specs.values()], store, progress)
    absent = [package for package in absent if store.path(package.sha256) is None]
    unreachable = [package for package in absent if not specs[package].mirrors]
    if unreachable:
        names = [f"{package.name} {package.version}" for package in unreachable]
        more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        raise ArchiveError(
            f"the store lacks {', '.join(names[:_MAX_NAMED])}{more}, and --offline forbids downloads",
            where=str(store.directory),
            fix="build once without --offline",
        )
    download([*specs.values()], store, progress, "packages")


def _make_package_spec(package: Package, mirror: Mirror, *, offline: bool) -> DownloadSpec:
    """Return the download of a package; offline, only from local mirrors."""
    urls = mirror.build_urls(package.root, package.path)
    return DownloadSpec(
        description=f"package {package.name} {package.version}",
        mirrors=tuple((url,) for url in urls if is_local(url) or not offline),
        sha256=package.sha256,
        size=package.size,
        fix="use another mirror or a snapshot (--mirror URL), newer packages (minbuild lock MANIFEST "
        "--update), or a store that has them (minbuild store import FILE)",
    )
