"""Extended headers of a tar: records of a key and a value.

Source: pax(1), POSIX.1-2017, "pax Extended Header"; star(5), SCHILY.xattr; libarchive,
archive_write_set_format_pax.c (LIBARCHIVE.xattr).
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

from minbuild.facts.damage import Damage

_CAPABILITY = b"security.capability"
_MOST_DIGITS = 10


@dataclass(frozen=True)
class Records:
    """The records of one extended header, in their order."""

    rows: tuple[tuple[bytes, bytes], ...]

    @cached_property
    def last(self) -> Mapping[bytes, bytes]:
        """By key; of several with one key the last."""
        return dict(self.rows)


def records(body: bytes) -> Records:
    """Take an extended header apart. Raises: Damage when a record is not whole."""
    rows = []
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + _MOST_DIGITS + 1)
        digits = body[at:space] if space > at else b""
        if not digits.isdigit():
            raise _broken(body, at)
        end = at + int(digits)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1 : end] != b"\n" or not equals:
            raise _broken(body, at)
        rows.append((key, value))
        at = end
    return Records(tuple(rows))


def capability(told: Mapping[bytes, bytes]) -> bytes:
    """The value of security.capability, by whichever of its two keys; b"" without one.

    Raises: Damage when both are there and differ.
    """
    found = {told.get(b"SCHILY.xattr." + _CAPABILITY, b"")}
    for key, value in told.items():
        start, mark, name = key.partition(b"LIBARCHIVE.xattr.")
        if mark and not start and unquote_to_bytes(name) == _CAPABILITY:
            found.add(_decoded(value))
    found.discard(b"")
    if len(found) > 1:
        raise Damage("a file has two values of security.capability")
    return next(iter(found), b"")


def _decoded(value: bytes) -> bytes:
    """Source: libarchive leaves the padding of Base64 out."""
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise Damage("an attribute of LIBARCHIVE.xattr is no Base64") from error


def _broken(body: bytes, at: int) -> Damage:
    return Damage(f"an extended header has a record that is not whole: {body[at : at + 40]!r}")
