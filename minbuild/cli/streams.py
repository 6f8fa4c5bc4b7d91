"""The standard streams, whatever the caller left of them.

A service or a cron job may start a program with some of its three descriptors closed. The next file
that is opened would then be the output of it and of all that it starts; so they are opened on
/dev/null. What goes to a reader that has gone away is dropped, and what cannot be said on stderr is
not said: the work is done, and ends with its own exit code.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Container
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDOUT, STDERR = 1, 2


class _Output(io.RawIOBase):
    """A descriptor that drops what its reader does not take any more."""

    def __init__(self, descriptor: int, dropped: Container[int] | None) -> None:
        """`dropped`: numbers of errors that are passed over; None for all."""
        self._descriptor, self._dropped = descriptor, dropped
        self._gone = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: "Buffer", /) -> int:
        view = memoryview(data)
        if self._gone:
            return view.nbytes
        try:
            return os.write(self._descriptor, view)
        except OSError as error:
            if self._dropped is not None and error.errno not in self._dropped:
                raise
            self._gone = True
            return view.nbytes


def open_streams() -> None:
    """Make the three standard streams such that they can be used."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest number that is free: this one
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _text(STDOUT, sys.stdout, {errno.EPIPE})
    sys.stderr = _text(STDERR, sys.stderr, None)


def _text(descriptor: int, before: TextIO | None, dropped: Container[int] | None) -> TextIO:
    """The stream of a descriptor, in the encoding that Python chose."""
    if before is not None:
        with contextlib.suppress(OSError):
            before.flush()
    raw = _Output(descriptor, dropped)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors=before.errors if before is not None else "backslashreplace",
        line_buffering=descriptor == STDERR or raw.isatty(),
    )
