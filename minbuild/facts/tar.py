"""The tars of a package as dpkg-deb reads them: v7, ustar, GNU's and pax's, sparse files too.

What a package must not bring (device nodes, names that lead out), and what two readers could take
for two things, is refused. Source: tar(5); pax(1), POSIX.1-2017; GNU tar 1.35; dpkg's
lib/dpkg/tarfn.c.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from minbuild.facts.damage import Damage
from minbuild.facts.root import sparse
from minbuild.facts.root.pax import Records, records
from minbuild.paths import spelled

BLOCK = 512
LONGEST_NAME = 4096
"""PATH_MAX: the longest name or link text."""
MOST_MEMBERS = 1_000_000
LARGEST_HEADER = 1 << 20
"""Bytes of a pax header: a file may have 64 KiB of attributes."""
MOST_HEADERS = 1 << 27
"""Bytes of all pax headers and long names together."""


class Type(StrEnum):
    FILE = "0"
    HARDLINK = "1"
    LINK = "2"
    DIRECTORY = "5"


_REFUSED = {
    "3": "a character device",
    "4": "a block device",
    "6": "a FIFO",
}
_SAME = {"7": "0", "S": "0", "D": "5"}
"""Types that are others by another name: contiguous and sparse files, GNU's directories."""
_NOT_FOR_ALL = frozenset({b"path", b"linkpath", b"size"})
_NOTHING = memoryview(bytes(1 << 16))
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

    def spend(self, count: int) -> None:
        """Count bytes that stand nowhere against the limit: holes of sparse files."""
        self._left -= count
        if self._left < 0:
            raise Damage(f"it unpacks to more than {self._limit} bytes, its limit")

    def header(self) -> bytes:
        """The next block; b"" where the tar ends. Raises: Damage when it ends within one."""
        start = bytes(self.some(BLOCK))
        return start + self.exactly(BLOCK - len(start)) if 0 < len(start) < BLOCK else start

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


@dataclass(slots=True)
class _Pending:
    """What headers say of the member behind them."""

    long: dict[str, str]
    pax: Records | None = None

    def __bool__(self) -> bool:
        return bool(self.long) or self.pax is not None


class Tar:
    """Iterates over headers; after each, `content` or `pieces` give that member's bytes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._padding = 0
        self._sparse: Iterator[memoryview] | None = None
        """What is left of a sparse file, holes included."""
        self._for_all: dict[bytes, bytes] = {}
        self._headers = 0

    def __iter__(self) -> Iterator[Header]:
        """Raises: Damage, for all that dpkg-deb would not unpack or should not."""
        pending = _Pending({})
        for _ in range(MOST_MEMBERS):
            self._skip()
            block = self._source.header()
            if not any(block):
                if pending:
                    raise Damage("its archive ends behind a header that says more of a member")
                self._drain()
                return
            size = _checked(block)
            kind = chr(block[156])
            self._left, self._padding = size, -size % BLOCK
            if kind in "LKxXg":
                self._remember(kind, size, pending)
            elif kind != "V":
                yield self._member(block, kind, size, pending)
                pending = _Pending({})
        raise Damage(f"it has more than {MOST_MEMBERS} members, the limit")

    def _remember(self, kind: str, size: int, pending: _Pending) -> None:
        """Take in what a header says of the next member, or of all that follow."""
        self._headers += size
        if kind in "LK":
            if size > LONGEST_NAME + 1:
                raise Damage(f"it has a name of {size} bytes")
            if kind in pending.long:
                raise Damage("a member has two long names")
            pending.long[kind] = _text(self.content().partition(b"\0")[0])
            return
        if size > LARGEST_HEADER or self._headers > MOST_HEADERS:
            raise Damage(f"it has a pax header of {size} bytes")
        found = records(self.content())
        if kind == "g":
            if any(key in _NOT_FOR_ALL or key.startswith(b"GNU.sparse.") for key, _ in found.rows):
                raise Damage("a global pax header gives all members one name or size")
            self._for_all |= found.last
        elif pending.pax is not None:
            raise Damage("a member has two pax headers")
        else:
            pending.pax = found

    def _member(self, block: bytes, kind: str, size: int, pending: _Pending) -> Header:
        pax = pending.pax or Records(())
        told = {**self._for_all, **pax.last}
        size = _told(told, b"size", size)
        if kind == "1":
            size = 0  # as dpkg and GNU tar: nothing follows, whatever it says
        self._left, self._padding = size, -size % BLOCK
        name = _name(block, pending, told)
        header = _header(block, kind, size, name, pending, told)
        if header.type is Type.FILE and (kind == "S" or any(b"GNU.sparse." in key for key in told)):
            ahead = _Ahead(self._source)
            real, begin, extents = sparse.extents(ahead, block, kind, pax, 0, size)
            rest = size if kind == "S" else size - begin
            self._left, self._padding = real, -rest % BLOCK
            self._sparse = self._holes(extents, real)
            return replace(header, size=real)
        return header

    def _holes(self, extents: Sequence[sparse.Extent], size: int) -> Iterator[memoryview]:
        """A sparse file's bytes: zeros between its stretches of data."""
        at = 0
        for extent in extents:
            yield from self._zeros(extent.offset - at)
            left = extent.size
            while left:
                piece = self._source.some(left)
                if not piece:
                    raise Damage("its archive is truncated")
                left -= len(piece)
                yield piece
            at = extent.offset + extent.size
        yield from self._zeros(size - at)

    def _zeros(self, count: int) -> Iterator[memoryview]:
        self._source.spend(count)
        while count:
            piece = _NOTHING[: min(count, len(_NOTHING))]
            count -= len(piece)
            yield piece

    def pieces(self) -> Iterator[memoryview]:
        """What is not yet read of the current member's content."""
        while self._left:
            piece = self._some()
            if not piece:
                raise Damage("its archive is truncated")
            self._left -= len(piece)
            yield piece
        self._sparse = None

    def _some(self) -> memoryview:
        if self._sparse is None:
            return self._source.some(self._left)
        return next(self._sparse, _NOTHING[:0])

    def start(self, most: int) -> bytes:
        """The next bytes of the current member's content: `most`, or all that is left."""
        count = min(most, self._left)
        if self._sparse is not None:
            return self._start_sparse(count)
        self._left -= count
        return self._source.exactly(count) if count else b""

    def _start_sparse(self, count: int) -> bytes:
        found = bytearray()
        assert self._sparse is not None
        for piece in self._sparse:
            found += piece
            if len(found) >= count:
                break
        if len(found) > count:
            rest = memoryview(bytes(found[count:]))
            self._sparse = itertools.chain([rest], self._sparse)
        self._left -= count
        return bytes(found[:count])

    def content(self) -> bytes:
        """All that is not yet read of the current member's content, in memory."""
        return self.start(self._left)

    def _skip(self) -> None:
        for _ in self.pieces():
            pass
        self._sparse = None
        if self._padding:
            self._source.exactly(self._padding)
            self._padding = 0

    def _drain(self) -> None:
        while self._source.some(1 << 20):
            pass


class _Ahead:
    """What follows a header, read in its order: as a tar in memory is read by place."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def read(self, at: int, count: int) -> bytes:
        if at != self._at:
            raise Damage("a sparse file's map is not in order")
        self._at += count
        return self._source.exactly(count)


def _checked(block: bytes) -> int:
    """Check a header's checksum and return the size of what follows.

    Old tars added up signed bytes. Source: tar(5); GNU tar, src/list.c.
    """
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(rest) - 256 * sum(byte > 127 for byte in rest)
    if _number(block[148:156]) not in (sum(rest), signed):
        raise Damage("a header of its archive has a wrong checksum")
    return _number(block[124:136])


def _header(
    block: bytes, kind: str, size: int, name: str, pending: _Pending, told: Mapping[bytes, bytes]
) -> Header:
    clean = _clean(name)
    if kind in _REFUSED:
        raise Damage(f"it has {_REFUSED[kind]}, which no package may bring: {name!r}")
    kind = _SAME.get(kind, kind)
    if kind in {"\0", "0"}:
        kind = "5" if name.endswith("/") else "0"
    if kind not in frozenset(Type):
        raise Damage(f"it has a member of the unknown type {kind!r}: {name!r}")
    type_ = Type(kind)
    if size and type_ is not Type.FILE and block[156:157] != b"D":
        raise Damage(f"it has a {type_.name.lower()} with content: {name!r}")
    if not clean and type_ is not Type.DIRECTORY:
        raise Damage("its top is not a directory")
    target = _target(block, pending, told)
    if type_ in (Type.LINK, Type.HARDLINK) and not target:
        raise Damage(f"it has a link to nothing: {name!r}")
    return Header(
        name=clean,
        type=type_,
        mode=_number(block[100:108]) & 0o7777,
        uid=_told(told, b"uid", _number(block[108:116])),
        gid=_told(told, b"gid", _number(block[116:124])),
        size=size if type_ is Type.FILE else 0,
        target=_clean(target) if type_ is Type.HARDLINK else target,
    )


def _name(block: bytes, pending: _Pending, told: Mapping[bytes, bytes]) -> str:
    """The name, from wherever its format keeps it."""
    long, path = pending.long.get("L"), told.get(b"GNU.sparse.name", told.get(b"path"))
    if long is not None and path is not None:
        raise Damage(f"a member has two names: {long!r} and {path!r}")
    if path is not None:
        if len(path) > LONGEST_NAME:
            raise Damage(f"it has a name of {len(path)} bytes")
        return _text(path)
    return long or _field_name(block)


def _target(block: bytes, pending: _Pending, told: Mapping[bytes, bytes]) -> str:
    long, path = pending.long.get("K"), told.get(b"linkpath")
    if long is not None and path is not None:
        raise Damage(f"a link has two targets: {long!r} and {path!r}")
    if path is not None:
        if len(path) > LONGEST_NAME:
            raise Damage(f"it has a link of {len(path)} bytes")
        return _text(path)
    return long or _text(block[157:257].partition(b"\0")[0])


def _told(told: Mapping[bytes, bytes], key: bytes, otherwise: int) -> int:
    """A number that a pax header may say."""
    value = told.get(key, b"")
    if not value:
        return otherwise
    if not value.isdigit() or len(value) > 19:
        raise Damage(f"a pax header has a {key.decode()} that is no number: {value[:40]!r}")
    return int(value)


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
    digits = field.lstrip(b" \0").partition(b"\0")[0].partition(b" ")[0]
    try:
        if digits.translate(None, b"01234567"):
            raise ValueError
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise Damage(f"a header of its archive has a number that is none: {field!r}") from error
