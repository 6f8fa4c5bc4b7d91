"""Messages from one process to the one that forked it: whole values, one after the other.

What multiprocessing.connection does, which takes 25 ms to be imported.
"""

import os
import pickle
import select
import struct
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct("<Q")
"""Before each value: its bytes."""


class Sender:
    """The end that speaks; one thread at a time."""

    def __init__(self, file: int) -> None:
        self._file = open(file, "wb", buffering=0)  # noqa: SIM115  closed with its process

    def send(self, value: object) -> None:
        """Say a value. Raises: BrokenPipeError when nobody listens."""
        body = pickle.dumps(value)
        left = memoryview(_HEAD.pack(len(body)) + body)
        while left:
            left = left[self._file.write(left) or 0 :]

    def close(self) -> None:
        """Say no more."""
        self._file.close()


class Receiver:
    """The end that listens."""

    def __init__(self, file: int) -> None:
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115  closed by `close`

    def fileno(self) -> int:
        """For select and its kin."""
        return self._file.fileno()

    def receive(self) -> Any:
        """Wait for the next value. Raises: EOFError when there will be none."""
        (size,) = _HEAD.unpack(self._read(_HEAD.size))
        return pickle.loads(self._read(size))

    def close(self) -> None:
        """Listen no more."""
        self._file.close()

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            piece = self._file.read(size - len(found))
            if not piece:
                raise EOFError
            found += piece
        return bytes(found)


def pipe() -> tuple[Receiver, Sender]:
    """Both ends of a pipe."""
    reader, writer = os.pipe()
    return Receiver(reader), Sender(writer)


def wait(receivers: Sequence[Receiver]) -> list[Receiver]:
    """Wait until some of them have something to say, or have ended."""
    polled = select.poll()
    for one in receivers:
        polled.register(one, select.POLLIN)
    ready = {file for file, _ in polled.poll()}
    return [one for one in receivers if one.fileno() in ready]
