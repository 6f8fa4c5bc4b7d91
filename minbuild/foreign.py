"""How a file that anybody may have made is read whole: regular files alone, up to a size."""

import errno
import os
import stat
from pathlib import Path


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file; a FIFO or a device is not waited for.

    Raises: OSError, also for what is no regular file or has more than `most` bytes.
    """
    return _read(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), str(path), most)


def read_text(path: Path, most: int) -> str:
    """The text of such a file. Raises: OSError, UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8")


def read_below(top: Path, path: str, most: int) -> bytes:
    """The bytes of a file below a directory that a program filled; no link on the way is followed.

    Raises: OSError, also for what is no regular file or has more than `most` bytes.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    *above, name = path.split("/")
    at = os.open(top, flags | os.O_DIRECTORY)
    try:
        for part in above:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        return _read(os.open(name, flags, dir_fd=at), path, most)
    finally:
        os.close(at)


def _read(descriptor: int, path: str, most: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)
    return data
