"""The tars of a package as dpkg-deb reads them: v7, ustar, GNU's and pax's, sparse files too.

What a package must not bring (device nodes, names that lead out), and what two readers could take
for two things, is refused. Source: tar(5); pax(1), POSIX.1-2017; GNU tar 1.35; dpkg's
lib/dpkg/tarfn.c.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from minbuild.errors import MalformedFile
from minbuild.formats import tar_sparse
from minbuild.formats.pax import PaxRecords, parse_pax_records
from minbuild.paths import escape_name

BLOCK = 512
MAX_NAME = 4096
"""PATH_MAX: the longest name or link text."""
MAX_MEMBER_COUNT = 1_000_000
MAX_HEADER = 1 << 20
"""Bytes of a pax header: a file may have 64 KiB of attributes."""
MAX_HEADER_BYTES = 1 << 27
"""Bytes of all pax headers and long names together."""


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
_NEVER_GLOBAL = frozenset({b"path", b"linkpath", b"size"})
_ZEROS = memoryview(bytes(1 << 16))
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


class BoundedReader:
    """Reads exact counts of bytes from pieces; at most `limit` in all."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._remaining = limit
        self._limit = limit
        self._piece = memoryview(b"")

    def read_some(self, most: int) -> memoryview:
        """At least one byte and at most `most`, as they lie there; empty at the end."""
        if not self._piece:
            piece = next(self._pieces, b"")
            self._remaining -= len(piece)
            if self._remaining < 0:
                raise MalformedFile(f"it unpacks to more than {self._limit} bytes, its limit")
            self._piece = memoryview(piece)
        chunk, self._piece = self._piece[:most], self._piece[most:]
        return chunk

    def spend(self, count: int) -> None:
        """Count bytes that stand nowhere against the limit: holes of sparse files."""
        self._remaining -= count
        if self._remaining < 0:
            raise MalformedFile(f"it unpacks to more than {self._limit} bytes, its limit")

    def read_block(self) -> bytes:
        """The next block; b"" where the tar ends. Raises: Damage when it ends within one."""
        start = bytes(self.read_some(BLOCK))
        return start + self.read_exactly(BLOCK - len(start)) if 0 < len(start) < BLOCK else start

    def read_exactly(self, count: int) -> bytes:
        first = self.read_some(count)
        if len(first) == count:
            return bytes(first)
        parts = [first]
        missing = count - len(first)
        while missing:
            part = self.read_some(missing)
            if not part:
                raise MalformedFile("its archive is truncated")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


@dataclass(slots=True)
class _Pending:
    """What headers say of the member behind them."""

    long: dict[str, str]
    pax: PaxRecords | None = None

    def __bool__(self) -> bool:
        return bool(self.long) or self.pax is not None


class Tar:
    """Iterates over headers; after each, `content` or `pieces` give that member's bytes."""

    def __init__(self, source: BoundedReader) -> None:
        self._source = source
        self._remaining = 0
        self._padding = 0
        self._sparse: Iterator[memoryview] | None = None
        """What is left of a sparse file, holes included."""
        self._global_pax: dict[bytes, bytes] = {}
        self._header_bytes = 0

    def __iter__(self) -> Iterator[TarHeader]:
        """Raises: Damage, for all that dpkg-deb would not unpack or should not."""
        pending = _Pending({})
        for _ in range(MAX_MEMBER_COUNT):
            self._skip()
            block = self._source.read_block()
            if not any(block):
                if pending:
                    raise MalformedFile(
                        "its archive ends behind a header that says more of a member"
                    )
                self._drain()
                return
            size = _check_header(block)
            kind = chr(block[156])
            self._remaining, self._padding = size, -size % BLOCK
            if kind in "LKxXg":
                self._remember(kind, size, pending)
            elif kind != "V":
                yield self._build_header(block, kind, size, pending)
                pending = _Pending({})
        raise MalformedFile(f"it has more than {MAX_MEMBER_COUNT} members, the limit")

    def _remember(self, kind: str, size: int, pending: _Pending) -> None:
        """Take in what a header says of the next member, or of all that follow."""
        self._header_bytes += size
        if kind in "LK":
            if size > MAX_NAME + 1:
                raise MalformedFile(f"it has a name of {size} bytes")
            if kind in pending.long:
                raise MalformedFile("a member has two long names")
            pending.long[kind] = _decode_name(self.read_content().partition(b"\0")[0])
            return
        if size > MAX_HEADER or self._header_bytes > MAX_HEADER_BYTES:
            raise MalformedFile(f"it has a pax header of {size} bytes")
        pax = parse_pax_records(self.read_content())
        if kind == "g":
            if any(key in _NEVER_GLOBAL or key.startswith(b"GNU.sparse.") for key, _ in pax.rows):
                raise MalformedFile("a global pax header gives all members one name or size")
            self._global_pax |= pax.by_key
        elif pending.pax is not None:
            raise MalformedFile("a member has two pax headers")
        else:
            pending.pax = pax

    def _build_header(self, block: bytes, kind: str, size: int, pending: _Pending) -> TarHeader:
        pax = pending.pax or PaxRecords(())
        pax_fields = {**self._global_pax, **pax.by_key}
        size = _read_pax_number(pax_fields, b"size", size)
        if kind == "1":
            size = 0  # as dpkg and GNU tar: nothing follows, whatever it says
        self._remaining, self._padding = size, -size % BLOCK
        name = _read_name(block, pending, pax_fields)
        header = _parse_header(block, kind, size, name, pending, pax_fields)
        if header.type is TarType.FILE and (
            kind == "S" or any(b"GNU.sparse." in key for key in pax_fields)
        ):
            reader = _SequentialReader(self._source)
            real_size, data_start, extents = tar_sparse.read_extents(
                reader, block, kind, pax, 0, size
            )
            stored_size = size if kind == "S" else size - data_start
            self._remaining, self._padding = real_size, -stored_size % BLOCK
            self._sparse = self._expand_holes(extents, real_size)
            return replace(header, size=real_size)
        return header

    def _expand_holes(
        self, extents: Sequence[tar_sparse.Extent], size: int
    ) -> Iterator[memoryview]:
        """A sparse file's bytes: zeros between its stretches of data."""
        at = 0
        for extent in extents:
            yield from self._yield_zeros(extent.offset - at)
            remaining = extent.size
            while remaining:
                piece = self._source.read_some(remaining)
                if not piece:
                    raise MalformedFile("its archive is truncated")
                remaining -= len(piece)
                yield piece
            at = extent.offset + extent.size
        yield from self._yield_zeros(size - at)

    def _yield_zeros(self, count: int) -> Iterator[memoryview]:
        self._source.spend(count)
        while count:
            piece = _ZEROS[: min(count, len(_ZEROS))]
            count -= len(piece)
            yield piece

    def iterate_content(self) -> Iterator[memoryview]:
        """What is not yet read of the current member's content."""
        while self._remaining:
            piece = self._read_some()
            if not piece:
                raise MalformedFile("its archive is truncated")
            self._remaining -= len(piece)
            yield piece
        self._sparse = None

    def _read_some(self) -> memoryview:
        if self._sparse is None:
            return self._source.read_some(self._remaining)
        return next(self._sparse, _ZEROS[:0])

    def read_start(self, most: int) -> bytes:
        """The next bytes of the current member's content: `most`, or all that is left."""
        count = min(most, self._remaining)
        if self._sparse is not None:
            return self._read_sparse_start(count)
        self._remaining -= count
        return self._source.read_exactly(count) if count else b""

    def _read_sparse_start(self, count: int) -> bytes:
        data = bytearray()
        assert self._sparse is not None
        for piece in self._sparse:
            data += piece
            if len(data) >= count:
                break
        if len(data) > count:
            remainder = memoryview(bytes(data[count:]))
            self._sparse = itertools.chain([remainder], self._sparse)
        self._remaining -= count
        return bytes(data[:count])

    def read_content(self) -> bytes:
        """All that is not yet read of the current member's content, in memory."""
        return self.read_start(self._remaining)

    def _skip(self) -> None:
        for _ in self.iterate_content():
            pass
        self._sparse = None
        if self._padding:
            self._source.read_exactly(self._padding)
            self._padding = 0

    def _drain(self) -> None:
        while self._source.read_some(1 << 20):
            pass


class _SequentialReader:
    """What follows a header, read in its order: as a tar in memory is read by place."""

    def __init__(self, source: BoundedReader) -> None:
        self._source, self._at = source, 0

    def read(self, at: int, count: int) -> bytes:
        if at != self._at:
            raise MalformedFile("a sparse file's map is not in order")
        self._at += count
        return self._source.read_exactly(count)


def _check_header(block: bytes) -> int:
    """Check a header's checksum and return the size of what follows.

    Old tars added up signed bytes. Source: tar(5); GNU tar, src/list.c.
    """
    unsigned_bytes = block[:148] + b" " * 8 + block[156:]
    signed = sum(unsigned_bytes) - 256 * sum(byte > 127 for byte in unsigned_bytes)
    if _parse_number(block[148:156]) not in (sum(unsigned_bytes), signed):
        raise MalformedFile("a header of its archive has a wrong checksum")
    return _parse_number(block[124:136])


def _parse_header(
    block: bytes,
    kind: str,
    size: int,
    name: str,
    pending: _Pending,
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
        uid=_read_pax_number(pax_fields, b"uid", _parse_number(block[108:116])),
        gid=_read_pax_number(pax_fields, b"gid", _parse_number(block[116:124])),
        size=size if type_ is TarType.FILE else 0,
        target=_check_name(target) if type_ is TarType.HARDLINK else target,
    )


def _read_name(block: bytes, pending: _Pending, pax_fields: Mapping[bytes, bytes]) -> str:
    """The name, from wherever its format keeps it."""
    long, path = pending.long.get("L"), pax_fields.get(b"GNU.sparse.name", pax_fields.get(b"path"))
    if long is not None and path is not None:
        raise MalformedFile(f"a member has two names: {long!r} and {path!r}")
    if path is not None:
        if len(path) > MAX_NAME:
            raise MalformedFile(f"it has a name of {len(path)} bytes")
        return _decode_name(path)
    return long or _read_ustar_name(block)


def _read_target(block: bytes, pending: _Pending, pax_fields: Mapping[bytes, bytes]) -> str:
    long, path = pending.long.get("K"), pax_fields.get(b"linkpath")
    if long is not None and path is not None:
        raise MalformedFile(f"a link has two targets: {long!r} and {path!r}")
    if path is not None:
        if len(path) > MAX_NAME:
            raise MalformedFile(f"it has a link of {len(path)} bytes")
        return _decode_name(path)
    return long or _decode_name(block[157:257].partition(b"\0")[0])


def _read_pax_number(pax_fields: Mapping[bytes, bytes], key: bytes, default: int) -> int:
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
    return _decode_name(name)


def _check_name(name: str) -> str:
    """Refuse a name that leads out of the top; returns it without `./` and a last slash."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise MalformedFile(f"it has an absolute name: {name!r}")
    if ".." in parts:
        raise MalformedFile(f"it has a name that leads out of its top: {name!r}")
    return "/".join(parts)


def _decode_name(raw: bytes) -> str:
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
