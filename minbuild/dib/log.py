"""Which lines of dib's log say what went wrong."""

import re
from collections.abc import Iterable

_NOISE = re.compile(
    r"INFO |DEBUG |Unmount |\++ |Copying hooks|Running hooks|dib-run-parts|Target:|-+$|$"
    r"|builder: (?!error)|\[ *\d+\.\d+\] reboot: "
)
OURS = "builder: error: "
"""The builder machine's own word."""
_ERROR = re.compile(
    r"\berror\b|Error\b|Exception\b|\bfailed\b|cannot |No such |not found|No space"
    r"|Out of memory|Kernel panic"
)


def blame(lines: Iterable[str]) -> str:
    """The lines of dib's log that say what went wrong."""
    said = [line for line in lines if not _NOISE.match(line)]
    known = [line for line in said if line.startswith(OURS)]
    if known:  # of what the kernel says besides, there may be hundreds of lines
        return known[0]
    telling = [line for line in said if _ERROR.search(line)]
    return "\n    ".join((telling or said)[-3:])
