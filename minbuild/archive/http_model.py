"""Response, errors and time limits of one HTTP request."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

RETRY_DELAYS = (0.1, 0.4, 1.6, 3.0)
"""Seconds before each new attempt, where a server may stay silent for SILENCE."""
DEFAULT_TIMEOUT = 30.0
"""Seconds that a server may stay silent; MINBUILD_TIMEOUT says otherwise."""
MAX_RETRY_AFTER = 30.0
"""Seconds that a server's Retry-After may make us wait."""
MIN_SPEED = 1024
"""Bytes a second that a server must send, over as long as it may stay silent."""
CHUNK_SIZE = 1 << 17
MAX_CONNECTIONS = 6
"""Connections at once."""


class TransientError(Exception):
    """An attempt that failed and may do better when it is made again."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        """Seconds that the server asks us to wait."""


class RangeNotSatisfiable(TransientError):
    """The server has fewer bytes than the start that was asked for."""


class NotFound(Exception):
    """The server answers that it has no such file, or keeps it from us."""

    def __init__(self, reason: str, *, is_absent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_absent = is_absent
        """False: the file may be there, for somebody else."""


@dataclass(frozen=True, slots=True)
class FileResponse:
    """The start of a server's answer; `pieces` is the body from byte `start` on."""

    start: int
    length: int | None
    """Bytes that will follow; None when the server does not say."""
    content_type: str
    """Content type."""
    chunks: Iterator[bytes]


def get_timeout() -> float:
    """Seconds that a server may stay silent."""
    value = os.environ.get("MINBUILD_TIMEOUT", "")
    return float(value) if value.isdecimal() and int(value) else DEFAULT_TIMEOUT


def scale_pause(pause: float) -> float:
    """A pause, shorter where a server may stay silent for less than usual."""
    return pause * min(get_timeout() / DEFAULT_TIMEOUT, 1.0)
