"""A qcow2 disk as the raw bytes that a machine would see.

Source: QEMU, docs/interop/qcow2.txt.
"""

import mmap
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError

MAGIC = b"QFI\xfb"
LARGEST = 2 << 30
"""Bytes of the largest disk that is unpacked in memory."""
MOST = 64 << 30
"""Bytes of the largest disk that is unpacked as a file with holes."""
COMPRESSED = 1 << 62
OFFSET = 0x00FFFFFFFFFFFE00
DIRTY, ZSTD = 1, 8
DAMAGE = (struct.error, zlib.error, ValueError, IndexError)
Buffer = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class Stored:
    """What a qcow2 file keeps of a disk."""

    size: int
    """Bytes of the disk."""
    data: int
    """Bytes of the file that hold the disk's contents."""
    packed: bool
    """True: some of them are compressed."""


def raw(data: bytes, where: str) -> bytes:
    """Give the disk's bytes.

    Raises: UsageError for a damaged disk, a large one, or one with a backing file or encryption.
    """
    out = bytearray()

    def put(at: int, piece: bytes) -> None:
        out[at : at + len(piece)] = piece

    try:
        head = _head(data, where, LARGEST)
        out.extend(bytes(head.size))
        for at, piece, _ in _pieces(data, head):
            put(at, piece)
    except DAMAGE as error:
        raise _unfit(f"it is damaged: {error}", where) from error
    return bytes(out)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Path, Stored]]:
    """A disk as a raw file, which lasts as long as the `with`, and what its own file keeps.

    Raises: UsageError as `raw`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            yield path, Stored(size, size, packed=False)
            return
    with tempfile.TemporaryDirectory(prefix="minbuild-") as scratch:
        there = Path(scratch) / "disk.raw"
        yield there, _unpack(path, there)


def _unpack(path: Path, to: Path) -> Stored:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            head = _head(data, str(path), MOST)
            kept, packed = 0, False
            with to.open("wb") as out:
                out.truncate(head.size)
                for at, piece, stored in _pieces(data, head):
                    out.seek(at)
                    out.write(piece)
                    kept += stored
                    packed |= stored < len(piece)
        except DAMAGE as error:
            raise _unfit(f"it is damaged: {error}", str(path)) from error
    return Stored(head.size, kept, packed)


@dataclass(frozen=True, slots=True)
class _Head:
    bits: int
    size: int
    length: int
    """Entries of the first table."""
    table: int
    zstd: bool


def _head(data: Buffer, where: str, most: int) -> _Head:
    version, backing = struct.unpack_from(">IQ", data, 4)
    (bits, size, crypt, length, table) = struct.unpack_from(">IQIIQ", data, 20)
    features = struct.unpack_from(">Q", data, 72)[0] if version == 3 else 0
    zstd = bool(features & ZSTD) and data[104] == 1
    if backing or crypt or features & ~(DIRTY | ZSTD):
        raise _unfit("it has a backing file, is encrypted or packed in a newer way", where)
    if not 9 <= bits <= 21 or size > most:
        raise _unfit("it is larger than what is unpacked", where)
    return _Head(bits, size, length, table, zstd)


def _pieces(data: Buffer, head: _Head) -> Iterator[tuple[int, bytes, int]]:
    """Every cluster that is kept: its place on the disk, its bytes, and how many are stored."""
    cluster = 1 << head.bits
    per = cluster // 8
    for number, word in enumerate(struct.unpack_from(f">{head.length}Q", data, head.table)):
        second = word & OFFSET
        if not second:
            continue
        for index, entry in enumerate(struct.unpack_from(f">{per}Q", data, second)):
            at = (number * per + index) * cluster
            if entry and at < head.size:
                piece, stored = _cluster(data, entry, head)
                if piece:
                    yield at, piece[: head.size - at], stored


def _cluster(data: Buffer, entry: int, head: _Head) -> tuple[bytes, int]:
    size = 1 << head.bits
    if entry & COMPRESSED:
        split = 62 - (head.bits - 8)
        at = entry & ((1 << split) - 1)
        sectors = (entry >> split) & ((1 << (head.bits - 8)) - 1)
        end = (at & ~511) + (sectors + 1) * 512
        return _inflated(data[at:end], size, zstd=head.zstd), end - at
    if entry & 1:
        return b"", 0
    at = entry & OFFSET
    return (data[at : at + size], size) if at else (b"", 0)


def _inflated(data: bytes, size: int, *, zstd: bool) -> bytes:
    if not zstd:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
    from zstandard import ZstdDecompressor, ZstdError

    try:
        return ZstdDecompressor().decompressobj().decompress(data)[:size]
    except ZstdError as error:
        raise ValueError(str(error)) from error


def _unfit(why: str, where: str) -> UsageError:
    return UsageError(
        f"the qcow2 disk cannot be read: {why}", where=where,
        fix="write it as raw first: qemu-img convert -O raw",
    )  # fmt: skip
