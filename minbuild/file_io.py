"""How a file that anybody may have made is read whole: regular files alone, up to a size."""

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from minbuild.errors import ToolError


def read_regular_file(path: Path, max_size: int) -> bytes:
    """The bytes of a regular file; a FIFO or a device is not waited for.

    Raises: OSError, also for what is no regular file or has more than `most` bytes.
    """
    return _read_bounded(
        os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), str(path), max_size
    )


def read_regular_text(path: Path, max_size: int) -> str:
    """The text of such a file. Raises: OSError, UnicodeDecodeError."""
    return read_regular_file(path, max_size).decode("utf-8")


def read_beneath(top: Path, path: str, max_size: int) -> bytes:
    """The bytes of a file below a directory that a program filled; no link on the way is followed.

    Raises: OSError, also for what is no regular file or has more than `most` bytes.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    *parents, name = path.split("/")
    directory = os.open(top, flags | os.O_DIRECTORY)
    try:
        for part in parents:
            subdirectory = os.open(part, flags | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = subdirectory
        return _read_bounded(os.open(name, flags, dir_fd=directory), path, max_size)
    finally:
        os.close(directory)


def _read_bounded(descriptor: int, path: str, max_size: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        data = file.read(max_size + 1)
    if len(data) > max_size:
        raise OSError(errno.EFBIG, f"it has more than {max_size} bytes", path)
    return data


@contextlib.contextmanager
def translate_disk_errors(directory: Path) -> Iterator[None]:
    """Turn what the operating system or SQLite says of a full or forbidden disk into an error."""
    try:
        yield
    except OSError as error:
        raise ToolError(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or directory),
            fix="free space or change the rights there, or name another place (--store DIR, -o DIR)",
        ) from error
    except sqlite3.OperationalError as error:
        raise ToolError(
            f"cannot write the store's records: {error}",
            where=str(directory / "records.sqlite"),
            fix="free space or change the rights there, or name another store: --store DIR",
        ) from error
