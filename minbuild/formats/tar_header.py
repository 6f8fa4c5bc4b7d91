"""Headers of the tars in a package, extended ones (pax) too: name, type, owner, size, checked as
dpkg-deb checks them.

What a package must not bring (device nodes, names that lead out), and what two readers could take
for two things, is refused.

Source: pax(1), POSIX.1-2017, "pax Extended Header"; star(5), SCHILY.xattr; libarchive,
archive_write_set_format_pax.c (LIBARCHIVE.xattr); tar(5); pax(1), POSIX.1-2017; dpkg's
lib/dpkg/tarfn.c.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from urllib.parse import unquote_to_bytes

from minbuild.errors import MalformedFile
from minbuild.paths import escape_name

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
            raise _make_record_error(body, offset)
        end = offset + int(digits)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1 : end] != b"\n" or not equals:
            raise _make_record_error(body, offset)
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


def _make_record_error(body: bytes, offset: int) -> MalformedFile:
    return MalformedFile(
        f"an extended header has a record that is not whole: {body[offset : offset + 40]!r}"
    )


BLOCK = 512
MAX_NAME = 4096
"""PATH_MAX: the longest name or link text."""


class TarType(StrEnum):
    FILE = "0"
    HARDLINK = "1"
    LINK = "2"
    DIRECTORY = "5"


_REFUSED = {
    "3": "a character device",
    "4": "a block device",
    "6": "a FIFO",
}
_EQUIVALENT_TYPES = {"7": "0", "S": "0", "D": "5"}
"""Types that are others by another name: contiguous and sparse files, GNU's directories."""
NEVER_GLOBAL = frozenset({b"path", b"linkpath", b"size"})
_CONTROL = frozenset(chr(code) for code in (*range(0x20), 0x7F))


@dataclass(frozen=True, slots=True)
class TarHeader:
    """One member, checked; its name is relative, without `.` or `..`: "" for the top."""

    name: str
    type: TarType
    mode: int
    uid: int
    gid: int
    size: int
    target: str
    """A link's text; a hard link's other name, checked like a name."""


@dataclass(slots=True)
class PendingHeaders:
    """What headers say of the member behind them."""

    long: dict[str, str]
    pax: PaxRecords | None = None

    def __bool__(self) -> bool:
        return bool(self.long) or self.pax is not None


def read_checked_size(block: bytes) -> int:
    """Check a header's checksum and return the size of what follows.

    Old tars added up signed bytes. Source: tar(5); GNU tar, src/list.c.
    """
    unsigned_bytes = block[:148] + b" " * 8 + block[156:]
    signed = sum(unsigned_bytes) - 256 * sum(byte > 127 for byte in unsigned_bytes)
    if _parse_number(block[148:156]) not in (sum(unsigned_bytes), signed):
        raise MalformedFile("a header of its archive has a wrong checksum")
    return _parse_number(block[124:136])


def parse_header(
    block: bytes,
    kind: str,
    size: int,
    name: str,
    pending: PendingHeaders,
    pax_fields: Mapping[bytes, bytes],
) -> TarHeader:
    clean = _check_name(name)
    if kind in _REFUSED:
        raise MalformedFile(f"it has {_REFUSED[kind]}, which no package may bring: {name!r}")
    kind = _EQUIVALENT_TYPES.get(kind, kind)
    if kind in {"\0", "0"}:
        kind = "5" if name.endswith("/") else "0"
    if kind not in frozenset(TarType):
        raise MalformedFile(f"it has a member of the unknown type {kind!r}: {name!r}")
    type_ = TarType(kind)
    if size and type_ is not TarType.FILE and block[156:157] != b"D":
        raise MalformedFile(f"it has a {type_.name.lower()} with content: {name!r}")
    if not clean and type_ is not TarType.DIRECTORY:
        raise MalformedFile("its top is not a directory")
    target = _read_target(block, pending, pax_fields)
    if type_ in (TarType.LINK, TarType.HARDLINK) and not target:
        raise MalformedFile(f"it has a link to nothing: {name!r}")
    return TarHeader(
        name=clean,
        type=type_,
        mode=_parse_number(block[100:108]) & 0o7777,
        uid=read_pax_number(pax_fields, b"uid", _parse_number(block[108:116])),
        gid=read_pax_number(pax_fields, b"gid", _parse_number(block[116:124])),
        size=size if type_ is TarType.FILE else 0,
        target=_check_name(target) if type_ is TarType.HARDLINK else target,
    )


def read_name(block: bytes, pending: PendingHeaders, pax_fields: Mapping[bytes, bytes]) -> str:
    """The name, from wherever its format keeps it."""
    long, path = pending.long.get("L"), pax_fields.get(b"GNU.sparse.name", pax_fields.get(b"path"))
    if long is not None and path is not None:
        raise MalformedFile(f"a member has two names: {long!r} and {path!r}")
    if path is not None:
        if len(path) > MAX_NAME:
            raise MalformedFile(f"it has a name of {len(path)} bytes")
        return decode_name(path)
    return long or _read_ustar_name(block)


def _read_target(block: bytes, pending: PendingHeaders, pax_fields: Mapping[bytes, bytes]) -> str:
    long, path = pending.long.get("K"), pax_fields.get(b"linkpath")
    if long is not None and path is not None:
        raise MalformedFile(f"a link has two targets: {long!r} and {path!r}")
    if path is not None:
        if len(path) > MAX_NAME:
            raise MalformedFile(f"it has a link of {len(path)} bytes")
        return decode_name(path)
    return long or decode_name(block[157:257].partition(b"\0")[0])


def read_pax_number(pax_fields: Mapping[bytes, bytes], key: bytes, default: int) -> int:
    """A number that a pax header may say."""
    value = pax_fields.get(key, b"")
    if not value:
        return default
    if not value.isdigit() or len(value) > 19:
        raise MalformedFile(f"a pax header has a {key.decode()} that is no number: {value[:40]!r}")
    return int(value)


def _read_ustar_name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return decode_name(name)


def _check_name(name: str) -> str:
    """Refuse a name that leads out of the top; returns it without `./` and a last slash."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise MalformedFile(f"it has an absolute name: {name!r}")
    if ".." in parts:
        raise MalformedFile(f"it has a name that leads out of its top: {name!r}")
    return "/".join(parts)


def decode_name(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedFile(f"it has a name that is not UTF-8: {raw!r}") from error
    if not _CONTROL.isdisjoint(text):
        raise MalformedFile(f"it has a name with control characters: {text!r}")
    return escape_name(text)


def _parse_number(field: bytes) -> int:
    """An octal field, or GNU's base 256 for what does not fit."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.lstrip(b" \0").partition(b"\0")[0].partition(b" ")[0]
    try:
        if digits.translate(None, b"01234567"):
            raise ValueError
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise MalformedFile(
            f"a header of its archive has a number that is none: {field!r}"
        ) from error
