"""Response, errors and time limits of one HTTP request."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

RETRY_DELAYS = (0.1, 0.4, 1.6, 3.0)
"""Seconds before each retry, at the default timeout."""
DEFAULT_TIMEOUT = 30.0
"""Seconds that a server may stay silent; MINBUILD_TIMEOUT overrides it."""
MAX_RETRY_AFTER = 30.0
"""Longest wait for a server's Retry-After, in seconds."""
MIN_SPEED = 1024
"""Bytes a second that a server must send, averaged over the timeout."""
CHUNK_SIZE = 1 << 17
MAX_CONNECTIONS = 6
"""Parallel connections."""


class TransientError(Exception):
    """A failed request that may succeed when repeated."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        """Seconds that the server asks to wait (Retry-After)."""


class RangeNotSatisfiable(TransientError):
    """The file on the server ends before the requested start."""


class NotFound(Exception):
    """The server does not have the file, or denies access to it."""

    def __init__(self, reason: str, *, is_absent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_absent = is_absent
        """False: access is denied."""


@dataclass(frozen=True, slots=True)
class FileResponse:
    """A response whose body is still to be read; `chunks` starts at byte `start` of the file."""

    start: int
    length: int | None
    """Bytes of `chunks`; None if the server does not tell."""
    content_type: str
    chunks: Iterator[bytes]


def get_timeout() -> float:
    """Return the seconds that a server may stay silent."""
    value = os.environ.get("MINBUILD_TIMEOUT", "")
    return float(value) if value.isdecimal() and int(value) else DEFAULT_TIMEOUT


def scale_pause(pause: float) -> float:
    """Shorten a pause in proportion to a shorter timeout."""
    return pause * min(get_timeout() / DEFAULT_TIMEOUT, 1.0)
