"""How a file that anybody may have made is read whole: regular files alone, up to a size."""

import errno
import os
import stat
from pathlib import Path


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file; a FIFO or a device is not waited for.

    Raises: OSError, also for what is no regular file or has more than `most` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return data


def read_text(path: Path, most: int) -> str:
    """The text of such a file. Raises: OSError, UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8")
