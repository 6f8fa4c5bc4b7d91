"""Reader of the tars in a package: v7, ustar, GNU and pax, sparse files too.

Source: tar(5); pax(1), POSIX.1-2017; GNU tar 1.35; dpkg's lib/dpkg/tarfn.c.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from minbuild.errors import MalformedFile
from minbuild.formats import tar_sparse
from minbuild.formats.tar_header import (
    BLOCK,
    MAX_NAME,
    NEVER_GLOBAL,
    PaxRecords,
    PendingHeaders,
    TarHeader,
    TarType,
    decode_name,
    parse_header,
    parse_pax_records,
    read_checked_size,
    read_name,
    read_pax_number,
)

MAX_MEMBER_COUNT = 1_000_000
MAX_HEADER = 1 << 20
"""Bytes of a pax header: a file may have 64 KiB of attributes."""
MAX_HEADER_BYTES = 1 << 27
"""Bytes of all pax headers and long names together."""
_ZEROS = memoryview(bytes(1 << 16))


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
        """The next block; b"" where the tar ends. Raises: MalformedFile when it ends within one."""
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
        """Raises: MalformedFile, for all that dpkg-deb would not unpack or should not."""
        pending = PendingHeaders({})
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
            size = read_checked_size(block)
            kind = chr(block[156])
            self._remaining, self._padding = size, -size % BLOCK
            if kind in "LKxXg":
                self._remember(kind, size, pending)
            elif kind != "V":
                yield self._build_header(block, kind, size, pending)
                pending = PendingHeaders({})
        raise MalformedFile(f"it has more than {MAX_MEMBER_COUNT} members, the limit")

    def _remember(self, kind: str, size: int, pending: PendingHeaders) -> None:
        """Take in what a header says of the next member, or of all that follow."""
        self._header_bytes += size
        if kind in "LK":
            if size > MAX_NAME + 1:
                raise MalformedFile(f"it has a name of {size} bytes")
            if kind in pending.long:
                raise MalformedFile("a member has two long names")
            pending.long[kind] = decode_name(self.read_content().partition(b"\0")[0])
            return
        if size > MAX_HEADER or self._header_bytes > MAX_HEADER_BYTES:
            raise MalformedFile(f"it has a pax header of {size} bytes")
        pax = parse_pax_records(self.read_content())
        if kind == "g":
            if any(key in NEVER_GLOBAL or key.startswith(b"GNU.sparse.") for key, _ in pax.rows):
                raise MalformedFile("a global pax header gives all members one name or size")
            self._global_pax |= pax.by_key
        elif pending.pax is not None:
            raise MalformedFile("a member has two pax headers")
        else:
            pending.pax = pax

    def _build_header(
        self, block: bytes, kind: str, size: int, pending: PendingHeaders
    ) -> TarHeader:
        pax = pending.pax or PaxRecords(())
        pax_fields = {**self._global_pax, **pax.by_key}
        size = read_pax_number(pax_fields, b"size", size)
        if kind == "1":
            size = 0  # as dpkg and GNU tar: nothing follows, whatever it says
        self._remaining, self._padding = size, -size % BLOCK
        name = read_name(block, pending, pax_fields)
        header = parse_header(block, kind, size, name, pending, pax_fields)
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
