"""Publication of a build's outputs: all of them or none, whatever ends the build.

The new directory is made beside the old one and both change places in one moment. Where that cannot
be, the outputs move into the old one, one after the other, SHA256SUMS last.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.file_io import fsync_path, hash_file, translate_disk_errors
from minbuild.parallel import open_threads

STAGING_PREFIX = ".minbuild-"
"""Of what builds make beside outputs, and remove."""
MAX_FOREIGN_ENTRIES = 1000
"""Entries of others in a directory that come along; with more, it stays where it is."""
_AT_FDCWD = -100  # AT_FDCWD
_RENAME_EXCHANGE = 2  # RENAME_EXCHANGE


def can_swap(directory: Path) -> bool:
    """Another directory may take the place of this one, as far as can be told without trying.

    Not when this process stands in it, when it is mounted, or what it lies in cannot be written.
    """
    parent = directory.parent
    with contextlib.suppress(FileNotFoundError):  # of a process whose directory is gone
        if Path.cwd().is_relative_to(directory):
            return False
    same_device = parent.stat().st_dev == directory.stat().st_dev
    return same_device and parent != directory and os.access(parent, os.W_OK | os.X_OK)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Wait until no other build puts outputs in this directory."""
    while True:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(lock), directory.stat()):
            break
        os.close(lock)  # another one took its place meanwhile
    try:
        yield
    finally:
        os.close(lock)


def swap_directories(new: Path, directory: Path, ours: Set[str]) -> bool:
    """Put `new` where `directory` is, which goes where `new` was; no moment is between.

    What is in `directory` under other names than `ours` is then in `new`, too: the same files.
    False where that cannot be; then `directory` is as it was.
    """
    try:
        _preserve_foreign_files(directory, new, ours)
        _copy_ownership(directory, new)
        fsync_path(new)
        exchange_paths(new, directory)
    except OSError:
        return False
    fsync_path(directory.parent)
    with contextlib.suppress(OSError):
        _preserve_foreign_files(new, directory, ours)  # what came since
    return True


def _preserve_foreign_files(old: Path, new: Path, ours: Set[str]) -> None:
    """Link every file below `old` that `new` has not, or has another one of, under its name.

    Raises: OSError for what cannot have a second one: a file system that is mounted there, too
    many entries, the work of another build.
    """
    for count, path in enumerate(_walk_tree(old)):
        name = path.relative_to(old).as_posix()
        target = new / name
        if count >= MAX_FOREIGN_ENTRIES or name.startswith(STAGING_PREFIX):
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK), str(path))
        if path.is_dir() and not path.is_symlink():
            if path.stat().st_dev != old.stat().st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
            if not target.is_dir():
                target.mkdir()
                _copy_ownership(path, target)
        elif name not in ours and not _is_same_file(path, target):
            target.unlink(missing_ok=True)
            os.link(path, target, follow_symlinks=False)


def _walk_tree(top: Path) -> Iterator[Path]:
    """Everything in a directory, each directory before what is in it."""
    for entry in sorted(os.scandir(top), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk_tree(Path(entry.path))


def _is_same_file(path: Path, other: Path) -> bool:
    return os.path.lexists(other) and os.path.samestat(path.lstat(), other.lstat())


def _copy_ownership(old: Path, new: Path) -> None:
    """Give a directory the mode, attributes and owner of another. Raises: OSError."""
    shutil.copystat(old, new)
    old_status, new_status = old.stat(), new.stat()
    if (old_status.st_uid, old_status.st_gid) != (new_status.st_uid, new_status.st_gid):
        os.chown(new, old_status.st_uid, old_status.st_gid)
        new.chmod(old_status.st_mode & 0o7777)


def exchange_paths(first: Path, second: Path) -> None:
    """Have two paths change places. Raises: OSError where system or file system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        call = library.renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    names = os.fsencode(first), os.fsencode(second)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(first))


SUMS_FILE = "SHA256SUMS"
_FSYNC_THREADS = 16
"""One output is read while another one is written to the disk: these threads wait."""


class Outputs:
    """Files that are made beside their places and take them together."""

    def __init__(self, directory: Path, staging: Path) -> None:
        """Use `open_outputs`."""
        self.directory = directory
        self.work = staging / "work"
        """A directory for what is needed on the way; it is gone afterwards."""
        self.new = staging / "new"
        """What the directory of outputs will be."""
        self.work.mkdir()
        self.new.mkdir()

    def path(self, name: str) -> Path:
        """Where the output `name` is to be written."""
        return self.new / name

    def add(self, name: str, text: str) -> None:
        """Add a text file to the outputs."""
        self.path(name).write_text(text, encoding="utf-8")

    def publish(self) -> tuple[Path, ...]:
        """Put every output in its place; those that were there are replaced, others stay.

        All is on the disk before anything moves, and an interrupt waits until all has.
        """
        files = sorted(path for path in self.new.rglob("*") if path.is_file())
        for path in files:
            path.chmod(0o644)
        with open_threads(_FSYNC_THREADS) as pool:
            digests = list(pool.map(_fsync_and_hash, files))
        lines = zip(digests, files, strict=True)
        sums = "".join(f"{digest}  {self._get_name(path)}\n" for digest, path in lines)
        (self.new / SUMS_FILE).write_text(sums, encoding="ascii")
        (self.new / SUMS_FILE).chmod(0o644)
        _fsync_all([self.new / SUMS_FILE], directories={path.parent for path in files})
        files.append(self.new / SUMS_FILE)
        names = tuple(self._get_name(path) for path in files)
        with _block_signals(), lock_directory(self.directory):
            is_sibling = self.new.parent.parent == self.directory.parent
            if not (is_sibling and swap_directories(self.new, self.directory, frozenset(names))):
                self._rename_each(names)
        return tuple(self.directory / name for name in names)

    def _rename_each(self, names: Iterable[str]) -> None:
        """Move outputs to their places, SHA256SUMS last, which tells of a kill between two."""
        with _make_staging(self.directory) as staging:
            new = Path(shutil.move(self.new, staging / "new"))  # copied from elsewhere
            sources = [new / name for name in names]
            targets = [self.directory / name for name in names]
            _fsync_all(sources)
            for target in targets:
                target.parent.mkdir(exist_ok=True)
            with _keep_open(targets):
                for path, target in zip(sources, targets, strict=True):
                    os.replace(path, target)
                _fsync_all(targets)

    def _get_name(self, path: Path) -> str:
        """host.efi, or host.pxe/vmlinuz in a folder."""
        return path.relative_to(self.new).as_posix()


@contextlib.contextmanager
def _keep_open(paths: Iterable[Path]) -> Iterator[None]:
    """Keep the former files open: to free their blocks takes 1,000 times as long as a rename."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            with contextlib.suppress(OSError):
                stack.enter_context(path.open("rb"))
        yield


@contextlib.contextmanager
def open_outputs(directory: Path) -> Iterator[Outputs]:
    """Make a place for outputs beside `directory`; what is not published goes away.

    What a killed build has left is removed.
    Raises: ToolError when the directory cannot be made or written.
    """
    with translate_disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        resolved = directory.resolve()
        if not os.access(resolved, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(resolved))
        parent = resolved.parent if can_swap(resolved) else resolved
        for searched in {resolved, parent}:
            for leftover in searched.glob(f"{STAGING_PREFIX}*"):
                _remove_stale(leftover)
    with (
        translate_disk_errors(resolved),
        _make_staging(parent) as staging,
        _rewrite_tool_errors(staging, resolved),
    ):
        yield Outputs(resolved, staging)


@contextlib.contextmanager
def _rewrite_tool_errors(staging: Path, directory: Path) -> Iterator[None]:
    """Keep the errors of tools from naming files that are gone when somebody reads them."""
    try:
        yield
    except ToolError as error:
        if str(staging) not in f"{error.what}{error.where}{error.fix}":
            raise
        first_line = error.what.partition("\n")[0]
        if _is_full(staging, error.what):
            raise ToolError(
                f"cannot write: {os.strerror(errno.ENOSPC)} ({first_line})",
                where=str(directory),
                fix="free space there, or name another place: -o DIR",
            ) from error
        raise ToolError(
            error.what.replace(f"{staging}/", ""),
            where=str(directory),
            fix="build again; if it ends the same way, report the lines above: what the tool worked "
            "on is removed",
        ) from error


def _is_full(directory: Path, message: str) -> bool:
    """Tell whether a tool failed for want of space; mtools and Python say it in their own words."""
    phrases = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "Disk full")
    return any(word in message for word in phrases) or os.statvfs(directory).f_bavail == 0


@contextlib.contextmanager
def _make_staging(parent: Path) -> Iterator[Path]:
    """A directory in `place` with a lock that says it is in use; it is gone afterwards."""
    staging, lock = _create_and_lock(parent)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


def _create_and_lock(parent: Path) -> tuple[Path, int]:
    """A new directory and its open lock; another build may remove it before it is locked."""
    while True:
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent))
        try:
            lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if staging.exists():
            return staging, lock
        os.close(lock)


def _remove_stale(path: Path) -> None:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass  # another build is at work in it
    finally:
        os.close(lock)


@contextlib.contextmanager
def _block_signals() -> Iterator[None]:
    saved_mask = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, saved_mask)


def _fsync_and_hash(path: Path) -> str:
    """Have a file on the disk; returns its SHA-256."""
    fsync_path(path)
    return hash_file(path)


def _fsync_all(paths: Sequence[Path], directories: Set[Path] = frozenset()) -> None:
    """Have files and their directories on the disk, and other directories."""
    for path in (*paths, *sorted({path.parent for path in paths} | directories)):
        fsync_path(path)
