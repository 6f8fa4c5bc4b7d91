"""Compressions of an initramfs that the kernel knows, unpacked as far as the kernel would.

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

import zstandard

from minbuild.errors import ToolError
from minbuild.formats import magic
from minbuild.formats.cpio import make_initramfs_error

MAX_DICTIONARY = 256 << 20
"""Bytes of the largest dictionary."""
CHUNK = 1 << 20
LZ4_CHUNK, LZO_BLOCK = 8 << 20, 256 << 10
"""Most bytes that one chunk of lz4, one block of lzo unpacks to."""
ZSTD_STEP = 1 << 10
"""Bytes that are fed at once: a block of 4 unpacks to 128 KiB, and nothing else bounds it."""
LZO_MAGIC = magic.LZOP + b"\0\r\n\x1a\n"
LZMA2 = 0x21
XZ_FILTERS = {0x8664: 0x04, 0xAA64: 0x0A, 0x5064: 0x0B}
"""The filter for machine code that a kernel undoes, by its machine as PE tells it: x86, arm64,
riscv. Held against Debian's kernel for amd64, which undoes x86's alone. Source: lib/xz/Kconfig."""

UnpackedBytes = bytes | bytearray
"""What was unpacked: not copied once more, it may be a gigabyte."""
UnpackTool = Callable[[str, bytes], bytes]
"""Unpacks standard input with a program: lz4 or lzop. Raises: MinbuildError."""


@dataclass(frozen=True, slots=True)
class CompressedSegment:
    """A packed segment, and where it is looked for."""

    data: memoryview
    """All from its first byte on; what follows it is not its own."""
    offset: int
    where: str
    limit: int
    """Bytes that it may unpack to."""
    unpack_tool: UnpackTool | None
    machine: int
    """PE's number of the kernel's machine; 0 where nobody knows it: any one of those is read."""

    def make_error(self, problem: str) -> ToolError:
        return make_initramfs_error(problem, self.offset, self.where)


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


Decompress = Callable[[CompressedSegment], tuple[UnpackedBytes, int]]
"""Gives what comes out, and how many bytes it took."""


def find_decompressor(head: bytes) -> Decompress | None:
    """What the kernel unpacks data with that begins like this; None when with nothing."""
    return _DECOMPRESSORS.get(head[:2])


def _unpack_gzip(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:
    head = bytes(packed.data[:4])
    if head[2:3] != b"\x08" or (len(head) == 4 and head[3] & ~0x09):
        raise packed.make_error("a gzip segment has a header that the kernel does not read")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    out, fed, piece = bytearray(), 0, b""
    try:
        while not decoder.eof and fed < len(packed.data) and len(out) <= packed.limit:
            piece = bytes(packed.data[fed : fed + CHUNK])
            fed += len(piece)
            while piece and len(out) <= packed.limit:
                out += decoder.decompress(piece, CHUNK)
                piece = decoder.unconsumed_tail
    except zlib.error as error:
        raise packed.make_error(f"a segment cannot be unpacked: {error}") from error
    return _require_complete(packed, out, fed - len(decoder.unused_data), eof=decoder.eof)


def _unpack_bzip2(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:
    return _run_decoder(packed, bz2.BZ2Decompressor())


def _unpack_lzma(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:
    return _run_decoder(packed, lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_DICTIONARY))


def _unpack_xz(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:
    if bytes(packed.data[:6]) != magic.XZ or bytes(packed.data[6:7]) != b"\0":
        raise packed.make_error("a segment begins like xz, and is not")
    if bytes(packed.data[7:8]) not in (b"\0", b"\x01"):
        raise packed.make_error(
            "the kernel reads no xz with such a checksum (xz --check=crc32 makes one that it reads)"
        )
    out, consumed = _run_decoder(
        packed, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY)
    )
    try:
        blocks = _find_xz_blocks(packed.data[:consumed])
        filters = {one for block in blocks for one in _read_xz_filters(block)} - {LZMA2}
    except (IndexError, struct.error) as error:
        raise packed.make_error("an xz segment has no index that can be read") from error
    allowed = {XZ_FILTERS.get(packed.machine)} if packed.machine else {*XZ_FILTERS.values()}
    if not filters <= allowed or len(filters) > 1:
        raise packed.make_error("the kernel reads no xz with such a filter")
    return out, consumed


def _find_xz_blocks(stream: memoryview) -> list[memoryview]:
    """The blocks of a sound stream, by its index. Source: the xz file format, 2.1.2, 4."""
    (backward_size,) = struct.unpack_from("<I", stream, len(stream) - 8)
    at = len(stream) - 12 - 4 * (backward_size + 1) + 1
    count, at = _read_varint(stream, at)
    blocks, start = [], 12
    for _ in range(count):
        size, at = _read_varint(stream, at)
        _, at = _read_varint(stream, at)
        blocks.append(stream[start : start + size])
        start += -(-size // 4) * 4
    return blocks


def _read_xz_filters(block: memoryview) -> list[int]:
    """Source: the xz file format, 3.1, 5."""
    flags, at = block[1], 2
    for bit in (0x40, 0x80):
        if flags & bit:
            _, at = _read_varint(block, at)
    filter_ids = []
    for _ in range((flags & 3) + 1):
        name, at = _read_varint(block, at)
        size, at = _read_varint(block, at)
        at += size
        filter_ids.append(name)
    return filter_ids


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return number, at


def _unpack_zstd(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:

    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    out, fed = bytearray(), 0
    try:
        while not decoder.eof and fed < len(packed.data) and len(out) <= packed.limit:
            piece = bytes(packed.data[fed : fed + ZSTD_STEP])
            out += decoder.decompress(piece)
            fed += len(piece)
    except zstandard.ZstdError as error:
        raise packed.make_error(f"a segment cannot be unpacked: {error}") from error
    return _require_complete(packed, out, fed - len(decoder.unused_data), eof=decoder.eof)


def _unpack_lz4(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:
    """Legacy frames: chunks, each behind its length, up to a length of 0 or the end of all."""
    if bytes(packed.data[:4]) != magic.LZ4_LEGACY:
        raise packed.make_error(
            "a segment begins like lz4, and is not of its legacy format (lz4 -l)"
        )
    at, chunks, size = 4, 0, len(packed.data)
    while size - at >= 4:
        (length,) = struct.unpack_from("<I", packed.data, at)
        if packed.data[at : at + 4] == magic.LZ4_LEGACY:
            at += 4
            continue
        if length == 0:
            break
        at, chunks = at + 4 + length, chunks + 1
        if at > size:
            raise packed.make_error("a segment is cut short")
    bound = min(chunks * LZ4_CHUNK, 255 * at)
    return _unpack_by_tool(packed, "lz4", at, bound) if chunks else (b"", at)


def _unpack_lzo(packed: CompressedSegment) -> tuple[UnpackedBytes, int]:
    try:
        consumed, bound = _measure_lzo(packed)
    except (struct.error, IndexError) as error:
        raise packed.make_error("a segment is cut short") from error
    return _unpack_by_tool(packed, "lzop", consumed, bound)


def _measure_lzo(packed: CompressedSegment) -> tuple[int, int]:
    """Bytes of a segment, and of what comes out. The kernel takes one checksum for each block."""
    data = packed.data
    (version,) = struct.unpack_from(">H", data, 9)
    (flags,) = struct.unpack_from(">I", data, 17)
    if bytes(data[:9]) != LZO_MAGIC or version < 0x0940:
        raise packed.make_error(
            "a segment begins like lzo, and is not of a format that the kernel reads"
        )
    if flags & 0xC42 or flags & 0x200 or (flags & 0x101) not in (0x001, 0x100):
        raise packed.make_error("the kernel reads no lzo with such checksums, filters or parts")
    at = 34 + data[33] + 4
    total = 0
    while True:
        (out,) = struct.unpack_from(">I", data, at)
        if out == 0:
            return at + 4, total
        (stored,) = struct.unpack_from(">I", data, at + 4)
        if out > LZO_BLOCK or not 0 < stored <= out:
            raise packed.make_error("a block of an lzo segment has an impossible size")
        at, total = at + 12 + stored, total + out


def _unpack_by_tool(
    packed: CompressedSegment, name: str, consumed: int, bound: int
) -> tuple[UnpackedBytes, int]:
    if bound > packed.limit and bound > 255 * LZ4_CHUNK:
        raise packed.make_error("the initramfs unpacks to more than can be believed")
    if packed.unpack_tool is None:
        raise packed.make_error(f"a segment is packed with {name}, which is not read here")
    out = packed.unpack_tool(name, bytes(packed.data[:consumed]))
    return _require_complete(packed, out, consumed, eof=True)


def _run_decoder(packed: CompressedSegment, decoder: _Decoder) -> tuple[UnpackedBytes, int]:
    out, fed = bytearray(), 0
    try:
        while not decoder.eof and len(out) <= packed.limit:
            piece = b""
            if decoder.needs_input:
                piece = bytes(packed.data[fed : fed + CHUNK])
                fed += len(piece)
                if not piece:
                    break
            out += decoder.decompress(piece, CHUNK)
    except (lzma.LZMAError, OSError, EOFError, MemoryError) as error:
        raise packed.make_error(f"a segment cannot be unpacked: {error}") from error
    return _require_complete(packed, out, fed - len(decoder.unused_data), eof=decoder.eof)


def _require_complete(
    packed: CompressedSegment, out: UnpackedBytes, consumed: int, *, eof: bool
) -> tuple[UnpackedBytes, int]:
    if len(out) > packed.limit:
        raise packed.make_error("the initramfs unpacks to more than can be believed")
    if not eof:
        raise packed.make_error("a segment is cut short")
    return out, consumed


_DECOMPRESSORS: dict[bytes, Decompress] = {
    magic.GZIP: _unpack_gzip,
    b"\x1f\x9e": _unpack_gzip,
    magic.BZIP2[:2]: _unpack_bzip2,
    magic.LZMA[:2]: _unpack_lzma,
    magic.XZ[:2]: _unpack_xz,
    magic.LZOP[:2]: _unpack_lzo,
    magic.LZ4_LEGACY[:2]: _unpack_lz4,
    magic.ZSTD[:2]: _unpack_zstd,
}
"""By the two bytes that the kernel looks at. Source: Linux, lib/decompress.c, compressed_formats."""
