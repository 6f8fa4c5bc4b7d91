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

from minbuild.errors import MalformedFile

_CAPABILITY = b"security.capability"
_MAX_DIGITS = 10


@dataclass(frozen=True)
class PaxRecords:
    """The records of one extended header, in their order."""

    rows: tuple[tuple[bytes, bytes], ...]

    @cached_property
    def by_key(self) -> Mapping[bytes, bytes]:
        """By key; of several with one key the last."""
        return dict(self.rows)


def parse_pax_records(body: bytes) -> PaxRecords:
    """Take an extended header apart. Raises: MalformedFile when a record is not whole."""
    rows = []
    offset = 0
    while offset < len(body):
        space = body.find(b" ", offset, offset + _MAX_DIGITS + 1)
        digits = body[offset:space] if space > offset else b""
        if not digits.isdigit():
            raise _broken_record_error(body, offset)
        end = offset + int(digits)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1 : end] != b"\n" or not equals:
            raise _broken_record_error(body, offset)
        rows.append((key, value))
        offset = end
    return PaxRecords(tuple(rows))


def read_pax_capability(pax_values: Mapping[bytes, bytes]) -> bytes:
    """The value of security.capability, by whichever of its two keys; b"" without one.

    Raises: MalformedFile when both are there and differ.
    """
    values = {pax_values.get(b"SCHILY.xattr." + _CAPABILITY, b"")}
    for key, value in pax_values.items():
        start, mark, name = key.partition(b"LIBARCHIVE.xattr.")
        if mark and not start and unquote_to_bytes(name) == _CAPABILITY:
            values.add(_decode_base64(value))
    values.discard(b"")
    if len(values) > 1:
        raise MalformedFile("a file has two values of security.capability")
    return next(iter(values), b"")


def _decode_base64(value: bytes) -> bytes:
    """Source: libarchive leaves the padding of Base64 out."""
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise MalformedFile("an attribute of LIBARCHIVE.xattr is no Base64") from error


def _broken_record_error(body: bytes, offset: int) -> MalformedFile:
    return MalformedFile(
        f"an extended header has a record that is not whole: {body[offset : offset + 40]!r}"
    )
