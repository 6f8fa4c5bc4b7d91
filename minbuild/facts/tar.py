"""The tar format as dpkg accepts it: ustar with GNU long names, nothing else.

Source: tar(5), dpkg's lib/dpkg/tarfn.c (other member types are refused there too).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from minbuild.facts.damage import Damage
from minbuild.paths import spelled

BLOCK = 512
LONGEST_NAME = 4096
"""PATH_MAX: the longest name or link text."""
MOST_MEMBERS = 1_000_000


class Type(StrEnum):
    FILE = "0"
    HARDLINK = "1"
    LINK = "2"
    DIRECTORY = "5"


_REFUSED = {
    "3": "a character device",
    "4": "a block device",
    "6": "a FIFO",
    "7": "a contiguous file",
    "S": "a sparse file",
    "x": "a pax header",
    "g": "a global pax header",
}
_CONTROL = frozenset(chr(code) for code in (*range(0x20), 0x7F))


@dataclass(frozen=True, slots=True)
class Header:
    """One member, checked; its name is relative, without `.` or `..`: "" for the top."""

    name: str
    type: Type
    mode: int
    uid: int
    gid: int
    size: int
    target: str
    """A link's text; a hard link's other name, checked like a name."""


class Source:
    """Reads exact counts of bytes from pieces; at most `limit` in all."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._left = limit
        self._limit = limit
        self._piece = memoryview(b"")

    def some(self, most: int) -> memoryview:
        """At least one byte and at most `most`, as they lie there; empty at the end."""
        if not self._piece:
            piece = next(self._pieces, b"")
            self._left -= len(piece)
            if self._left < 0:
                raise Damage(f"it unpacks to more than {self._limit} bytes, its limit")
            self._piece = memoryview(piece)
        found, self._piece = self._piece[:most], self._piece[most:]
        return found

    def exactly(self, count: int) -> bytes:
        found = self.some(count)
        if len(found) == count:
            return bytes(found)
        parts = [found]
        missing = count - len(found)
        while missing:
            part = self.some(missing)
            if not part:
                raise Damage("its archive is truncated")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


class Tar:
    """Iterates over headers; after each, `content` or `pieces` give that member's bytes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Header]:
        """Raises: Damage, for all that dpkg would not unpack or should not."""
        long: dict[str, str] = {}
        for _ in range(MOST_MEMBERS):
            self._skip()
            block = self._source.exactly(BLOCK)
            if block == bytes(BLOCK):
                self._drain()
                return
            size = _checked(block)
            kind = chr(block[156])
            self._left, self._padding = size, -size % BLOCK
            if kind in "LK":
                if size > LONGEST_NAME:
                    raise Damage(f"it has a name of {size} bytes")
                long[kind] = _text(self.content().partition(b"\0")[0])
                continue
            yield _header(block, kind, size, long)
            long = {}
        raise Damage(f"it has more than {MOST_MEMBERS} members, the limit")

    def pieces(self) -> Iterator[memoryview]:
        """What is not yet read of the current member's content."""
        while self._left:
            piece = self._source.some(self._left)
            if not piece:
                raise Damage("its archive is truncated")
            self._left -= len(piece)
            yield piece

    def start(self, most: int) -> bytes:
        """The next bytes of the current member's content: `most`, or all that is left."""
        count = min(most, self._left)
        self._left -= count
        return self._source.exactly(count) if count else b""

    def content(self) -> bytes:
        """All that is not yet read of the current member's content, in memory."""
        return self.start(self._left)

    def _skip(self) -> None:
        for _ in self.pieces():
            pass
        if self._padding:
            self._source.exactly(self._padding)
            self._padding = 0

    def _drain(self) -> None:
        while self._source.some(1 << 20):
            pass


def _checked(block: bytes) -> int:
    """Check a header's checksum and return the size of what follows."""
    if sum(block) - sum(block[148:156]) + 8 * 0x20 != _number(block[148:156]):
        raise Damage("a header of its archive has a wrong checksum")
    return _number(block[124:136])


def _header(block: bytes, kind: str, size: int, long: dict[str, str]) -> Header:
    name = long.get("L") or _field_name(block)
    clean = _clean(name)
    if kind in _REFUSED:
        raise Damage(f"it has {_REFUSED[kind]}: {name!r}")
    if kind == "\0":
        kind = "5" if name.endswith("/") else "0"
    if kind not in frozenset(Type):
        raise Damage(f"it has a member of the unknown type {kind!r}: {name!r}")
    type_ = Type(kind)
    if size and type_ is not Type.FILE:
        raise Damage(f"it has a {type_.name.lower()} with content: {name!r}")
    if not clean and type_ is not Type.DIRECTORY:
        raise Damage("its top is not a directory")
    target = long.get("K") or _text(block[157:257].partition(b"\0")[0])
    if type_ in (Type.LINK, Type.HARDLINK) and not target:
        raise Damage(f"it has a link to nothing: {name!r}")
    return Header(
        name=clean,
        type=type_,
        mode=_number(block[100:108]) & 0o7777,
        uid=_number(block[108:116]),
        gid=_number(block[116:124]),
        size=size,
        target=_clean(target) if type_ is Type.HARDLINK else target,
    )


def _field_name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return _text(name)


def _clean(name: str) -> str:
    """Refuse a name that leads out of the top; returns it without `./` and a last slash."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise Damage(f"it has an absolute name: {name!r}")
    if ".." in parts:
        raise Damage(f"it has a name that leads out of its top: {name!r}")
    return "/".join(parts)


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damage(f"it has a name that is not UTF-8: {raw!r}") from error
    if not _CONTROL.isdisjoint(text):
        raise Damage(f"it has a name with control characters: {text!r}")
    return spelled(text)


def _number(field: bytes) -> int:
    """An octal field, or GNU's base 256 for what does not fit."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise Damage(f"a header of its archive has a number that is none: {field!r}") from error
