"""How two directories change places in one moment, and what else stood in the old one comes along.

Source: renameat2(2), RENAME_EXCHANGE.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Set
from pathlib import Path

PREFIX = ".minbuild-"
"""Of what builds make beside outputs, and remove."""
MOST = 1000
"""Entries of others in a directory that come along; with more, it stays where it is."""
_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE


def may_move(directory: Path) -> bool:
    """Another directory may take the place of this one, as far as can be told without trying.

    Not when this process stands in it, when it is mounted, or what it lies in cannot be written.
    """
    parent = directory.parent
    with contextlib.suppress(FileNotFoundError):  # of a process whose directory is gone
        if Path.cwd().is_relative_to(directory):
            return False
    same = parent.stat().st_dev == directory.stat().st_dev
    return same and parent != directory and os.access(parent, os.W_OK | os.X_OK)


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
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


def take_place(new: Path, directory: Path, ours: Set[str]) -> bool:
    """Put `new` where `directory` is, which goes where `new` was; no moment is between.

    What is in `directory` under other names than `ours` is then in `new`, too: the same files.
    False where that cannot be; then `directory` is as it was.
    """
    try:
        _take_along(directory, new, ours)
        _take_owner(directory, new)
        sync(new)
        exchange(new, directory)
    except OSError:
        return False
    sync(directory.parent)
    with contextlib.suppress(OSError):
        _take_along(new, directory, ours)  # what came since
    return True


def sync(path: Path) -> None:
    """Have a file or directory on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_along(old: Path, new: Path, ours: Set[str]) -> None:
    """Link every file below `old` that `new` has not, or has another one of, under its name.

    Raises: OSError for what cannot have a second one: a file system that is mounted there, too
    many entries, the work of another build.
    """
    for count, path in enumerate(_below(old)):
        name = path.relative_to(old).as_posix()
        place = new / name
        if count >= MOST or name.startswith(PREFIX):
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK), str(path))
        if path.is_dir() and not path.is_symlink():
            if path.stat().st_dev != old.stat().st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
            if not place.is_dir():
                place.mkdir()
                _take_owner(path, place)
        elif name not in ours and not _is_same(path, place):
            place.unlink(missing_ok=True)
            os.link(path, place, follow_symlinks=False)


def _below(top: Path) -> Iterator[Path]:
    """Everything in a directory, each directory before what is in it."""
    for entry in sorted(os.scandir(top), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))


def _is_same(one: Path, other: Path) -> bool:
    return os.path.lexists(other) and os.path.samestat(one.lstat(), other.lstat())


def _take_owner(old: Path, new: Path) -> None:
    """Give a directory the mode, attributes and owner of another. Raises: OSError."""
    shutil.copystat(old, new)
    was, now = old.stat(), new.stat()
    if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        os.chown(new, was.st_uid, was.st_gid)
        new.chmod(was.st_mode & 0o7777)


def exchange(one: Path, other: Path) -> None:
    """Have two paths change places. Raises: OSError where system or file system cannot."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    try:
        call = library.renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    names = os.fsencode(one), os.fsencode(other)
    if call(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_EXCHANGE)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(one))
