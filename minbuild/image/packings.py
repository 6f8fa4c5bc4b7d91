"""The packings of an initramfs that the kernel knows, unpacked as far as the kernel would go.

What the kernel refuses is refused here: it would stop there and start with what it has by then,
which is another tree than the one that a more lenient reader counts.

Source: Linux, lib/decompress.c and lib/decompress_*.c; RFC 1952; the xz file format, 1.2; lz4's
legacy frame format; lzop's conf.h.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from minbuild.errors import ToolError
from minbuild.image.cpio import damaged

MEMORY = 256 << 20
"""Bytes of the largest dictionary."""
CHUNK = 1 << 20
LZ4_CHUNK, LZO_BLOCK = 8 << 20, 256 << 10
"""Most bytes that one chunk of lz4, one block of lzo unpacks to."""
ZSTD_STEP = 1 << 10
"""Bytes that are fed at once: a block of 4 unpacks to 128 KiB, and nothing else bounds it."""
LZ4_MAGIC = b"\x02\x21\x4c\x18"
LZO_MAGIC = b"\x89LZO\0\r\n\x1a\n"
LZMA2 = 0x21
XZ_FILTERS = {0x8664: 0x04, 0xAA64: 0x0A, 0x5064: 0x0B}
"""The filter for machine code that a kernel undoes, by its machine as PE tells it: x86, arm64,
riscv. Held against Debian's kernel for amd64, which undoes x86's alone. Source: lib/xz/Kconfig."""

Content = bytes | bytearray
"""What was unpacked: not copied once more, it may be a gigabyte."""
Tool = Callable[[str, bytes], bytes]
"""Unpacks standard input with a program: lz4 or lzop. Raises: MinbuildError."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed segment, and where it is looked for."""

    data: memoryview
    """All from its first byte on; what follows it is not its own."""
    at: int
    where: str
    most: int
    """Bytes that it may unpack to."""
    tool: Tool | None
    machine: int
    """PE's number of the kernel's machine; 0 where nobody knows it: any one of those is read."""

    def refuse(self, what: str) -> ToolError:
        return damaged(what, self.at, self.where)


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


Unpack = Callable[[Packed], tuple[Content, int]]
"""Gives what comes out, and how many bytes it took."""


def packing(start: bytes) -> Unpack | None:
    """What the kernel unpacks data with that begins like this; None when with nothing."""
    return _METHODS.get(start[:2])


def _gzip(packed: Packed) -> tuple[Content, int]:
    head = bytes(packed.data[:4])
    if head[2:3] != b"\x08" or (len(head) == 4 and head[3] & ~0x09):
        raise packed.refuse("a gzip segment has a header that the kernel does not read")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    out, fed, piece = bytearray(), 0, b""
    try:
        while not decoder.eof and fed < len(packed.data) and len(out) <= packed.most:
            piece = bytes(packed.data[fed : fed + CHUNK])
            fed += len(piece)
            while piece and len(out) <= packed.most:
                out += decoder.decompress(piece, CHUNK)
                piece = decoder.unconsumed_tail
    except zlib.error as error:
        raise packed.refuse(f"a segment cannot be unpacked: {error}") from error
    return _whole(packed, out, fed - len(decoder.unused_data), eof=decoder.eof)


def _bzip2(packed: Packed) -> tuple[Content, int]:
    return _decoded(packed, bz2.BZ2Decompressor())


def _lzma(packed: Packed) -> tuple[Content, int]:
    return _decoded(packed, lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY))


def _xz(packed: Packed) -> tuple[Content, int]:
    if bytes(packed.data[:6]) != b"\xfd7zXZ\0" or bytes(packed.data[6:7]) != b"\0":
        raise packed.refuse("a segment begins like xz, and is not")
    if bytes(packed.data[7:8]) not in (b"\0", b"\x01"):
        raise packed.refuse(
            "the kernel reads no xz with such a checksum (xz --check=crc32 makes one that it reads)"
        )
    out, used = _decoded(packed, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY))
    try:
        blocks = _xz_blocks(packed.data[:used])
        filters = {one for block in blocks for one in _xz_filters(block)} - {LZMA2}
    except (IndexError, struct.error) as error:
        raise packed.refuse("an xz segment has no index that can be read") from error
    known = {XZ_FILTERS.get(packed.machine)} if packed.machine else {*XZ_FILTERS.values()}
    if not filters <= known or len(filters) > 1:
        raise packed.refuse("the kernel reads no xz with such a filter")
    return out, used


def _xz_blocks(stream: memoryview) -> list[memoryview]:
    """The blocks of a sound stream, by its index. Source: the xz file format, 2.1.2, 4."""
    (words,) = struct.unpack_from("<I", stream, len(stream) - 8)
    at = len(stream) - 12 - 4 * (words + 1) + 1
    count, at = _varint(stream, at)
    found, start = [], 12
    for _ in range(count):
        size, at = _varint(stream, at)
        _, at = _varint(stream, at)
        found.append(stream[start : start + size])
        start += -(-size // 4) * 4
    return found


def _xz_filters(block: memoryview) -> list[int]:
    """Source: the xz file format, 3.1, 5."""
    flags, at = block[1], 2
    for bit in (0x40, 0x80):
        if flags & bit:
            _, at = _varint(block, at)
    found = []
    for _ in range((flags & 3) + 1):
        name, at = _varint(block, at)
        size, at = _varint(block, at)
        at += size
        found.append(name)
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return number, at


def _zstd(packed: Packed) -> tuple[Content, int]:
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    out, fed = bytearray(), 0
    try:
        while not decoder.eof and fed < len(packed.data) and len(out) <= packed.most:
            piece = bytes(packed.data[fed : fed + ZSTD_STEP])
            out += decoder.decompress(piece)
            fed += len(piece)
    except zstandard.ZstdError as error:
        raise packed.refuse(f"a segment cannot be unpacked: {error}") from error
    return _whole(packed, out, fed - len(decoder.unused_data), eof=decoder.eof)


def _lz4(packed: Packed) -> tuple[Content, int]:
    """Legacy frames: chunks, each behind its length, up to a length of 0 or the end of all."""
    if bytes(packed.data[:4]) != LZ4_MAGIC:
        raise packed.refuse("a segment begins like lz4, and is not of its legacy format (lz4 -l)")
    at, chunks, size = 4, 0, len(packed.data)
    while size - at >= 4:
        (length,) = struct.unpack_from("<I", packed.data, at)
        if packed.data[at : at + 4] == LZ4_MAGIC:
            at += 4
            continue
        if length == 0:
            break
        at, chunks = at + 4 + length, chunks + 1
        if at > size:
            raise packed.refuse("a segment is cut short")
    bound = min(chunks * LZ4_CHUNK, 255 * at)
    return _by_tool(packed, "lz4", at, bound) if chunks else (b"", at)


def _lzo(packed: Packed) -> tuple[Content, int]:
    try:
        used, bound = _lzo_extent(packed)
    except (struct.error, IndexError) as error:
        raise packed.refuse("a segment is cut short") from error
    return _by_tool(packed, "lzop", used, bound)


def _lzo_extent(packed: Packed) -> tuple[int, int]:
    """Bytes of a segment, and of what comes out. The kernel takes one checksum for each block."""
    data = packed.data
    (version,) = struct.unpack_from(">H", data, 9)
    (flags,) = struct.unpack_from(">I", data, 17)
    if bytes(data[:9]) != LZO_MAGIC or version < 0x0940:
        raise packed.refuse(
            "a segment begins like lzo, and is not of a format that the kernel reads"
        )
    if flags & 0xC42 or flags & 0x200 or (flags & 0x101) not in (0x001, 0x100):
        raise packed.refuse("the kernel reads no lzo with such checksums, filters or parts")
    at = 34 + data[33] + 4
    total = 0
    while True:
        (out,) = struct.unpack_from(">I", data, at)
        if out == 0:
            return at + 4, total
        (stored,) = struct.unpack_from(">I", data, at + 4)
        if out > LZO_BLOCK or not 0 < stored <= out:
            raise packed.refuse("a block of an lzo segment has an impossible size")
        at, total = at + 12 + stored, total + out


def _by_tool(packed: Packed, name: str, used: int, bound: int) -> tuple[Content, int]:
    if bound > packed.most and bound > 255 * LZ4_CHUNK:
        raise packed.refuse("the initramfs unpacks to more than can be believed")
    if packed.tool is None:
        raise packed.refuse(f"a segment is packed with {name}, which is not read here")
    out = packed.tool(name, bytes(packed.data[:used]))
    return _whole(packed, out, used, eof=True)


def _decoded(packed: Packed, decoder: _Decoder) -> tuple[Content, int]:
    out, fed = bytearray(), 0
    try:
        while not decoder.eof and len(out) <= packed.most:
            piece = b""
            if decoder.needs_input:
                piece = bytes(packed.data[fed : fed + CHUNK])
                fed += len(piece)
                if not piece:
                    break
            out += decoder.decompress(piece, CHUNK)
    except (lzma.LZMAError, OSError, EOFError, MemoryError) as error:
        raise packed.refuse(f"a segment cannot be unpacked: {error}") from error
    return _whole(packed, out, fed - len(decoder.unused_data), eof=decoder.eof)


def _whole(packed: Packed, out: Content, used: int, *, eof: bool) -> tuple[Content, int]:
    if len(out) > packed.most:
        raise packed.refuse("the initramfs unpacks to more than can be believed")
    if not eof:
        raise packed.refuse("a segment is cut short")
    return out, used


_METHODS: dict[bytes, Unpack] = {
    b"\x1f\x8b": _gzip,
    b"\x1f\x9e": _gzip,
    b"BZ": _bzip2,
    b"\x5d\x00": _lzma,
    b"\xfd7": _xz,
    b"\x89L": _lzo,
    b"\x02\x21": _lz4,
    b"\x28\xb5": _zstd,
}
"""By the two bytes that the kernel looks at. Source: Linux, lib/decompress.c, compressed_formats."""
