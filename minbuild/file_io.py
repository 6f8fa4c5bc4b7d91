"""Bounded reads, atomic writes and digests of files on the build machine."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from minbuild.errors import ToolError, UsageError


def read_regular_file(path: Path, max_size: int) -> bytes:
    """Return the bytes of a regular file; a FIFO or a device never blocks the caller.

    Raises: OSError, also for a path that is not a regular file or has more than `max_size` bytes.
    """
    return _read_bounded(
        os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), str(path), max_size
    )


def read_regular_text(path: Path, max_size: int) -> str:
    """Return the text of a regular file. Raises: OSError, UnicodeDecodeError."""
    return read_regular_file(path, max_size).decode("utf-8")


def read_named_text(path: Path) -> str:
    """Return the text of a file, or of a pipe, that the user names.

    Raises: UsageError when it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"cannot read the file: {reason}", where=str(path), fix="name a readable file"
        ) from error


def read_beneath(top: Path, path: str, max_size: int) -> bytes:
    """Return the bytes of `path` below a directory that a program filled; links are not followed.

    Raises: OSError, also for a path that is not a regular file or has more than `max_size` bytes.
    """
    return _read_bounded(open_beneath(top, path), path, max_size)


def open_beneath(top: Path, path: str) -> int:
    """Open `path` below `top` for reading without following a link; returns the descriptor.

    Raises: OSError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    *parents, name = path.split("/")
    directory = os.open(top, flags | os.O_DIRECTORY)
    try:
        for part in parents:
            subdirectory = os.open(part, flags | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = subdirectory
        return os.open(name, flags, dir_fd=directory)
    finally:
        os.close(directory)


def _read_bounded(descriptor: int, path: str, max_size: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        data = file.read(max_size + 1)
    if len(data) > max_size:
        raise OSError(errno.EFBIG, f"larger than {max_size} bytes", path)
    return data


def write_atomic(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all; returns `path`. Raises: ToolError."""
    with open_atomic(path) as file:
        file.write(data)
    return path


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` once it is complete and on the disk.

    On any failure `path` keeps its content, and the temporary file beside it is removed.
    Raises: ToolError when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with translate_disk_errors(path.parent):
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Write a file or directory through to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises: OSError."""
    with path.open("rb") as file:
        return hash_open_file(file)


def hash_open_file(file: IO[bytes]) -> str:
    """Return the SHA-256 of an open file from its start, in hex."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def hash_pieces(pieces: Iterable[bytes | memoryview], out: IO[bytes] | None = None) -> str:
    """Return the SHA-256 of a content that comes in pieces, in hex; `out` gets a copy of it."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        if out is not None:
            out.write(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def translate_disk_errors(directory: Path) -> Iterator[None]:
    """Turn an OSError (disk full, no permission) into a ToolError that names the file.

    `directory` is named when the error itself names no file.
    """
    try:
        yield
    except OSError as error:
        raise ToolError(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or directory),
            fix="free space or change the rights there, or name another place (--store DIR, -o DIR)",
        ) from error
