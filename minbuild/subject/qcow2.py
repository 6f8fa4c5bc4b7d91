"""A qcow2 disk as the raw bytes that a machine would see.

Source: QEMU, docs/interop/qcow2.txt.
"""

import struct
import zlib

from minbuild.errors import UsageError

MAGIC = b"QFI\xfb"
LARGEST = 2 << 30
"""Bytes of the largest disk that is unpacked in memory."""
COMPRESSED = 1 << 62
OFFSET = 0x00FFFFFFFFFFFE00
DIRTY, DATA_FILE, ZSTD = 1, 4, 8


def raw(data: bytes, where: str) -> bytes:
    """Give the disk's bytes.

    Raises: UsageError for a damaged disk, or one with a backing file or encryption.
    """
    try:
        return _raw(data, where)
    except (struct.error, zlib.error, ValueError) as error:
        raise _unfit(f"it is damaged: {error}", where) from error


def _raw(data: bytes, where: str) -> bytes:
    version, backing = struct.unpack_from(">IQ", data, 4)
    (bits, size, crypt, length, table) = struct.unpack_from(">IQIIQ", data, 20)
    features = struct.unpack_from(">Q", data, 72)[0] if version == 3 else 0
    if backing or crypt or features & ~DIRTY:
        raise _unfit("it has a backing file, is encrypted or packed in a newer way", where)
    if not 9 <= bits <= 21 or size > LARGEST:
        raise _unfit("it is larger than what is unpacked", where)
    cluster = 1 << bits
    out = bytearray(size)
    per = cluster // 8
    for number, word in enumerate(struct.unpack_from(f">{length}Q", data, table)):
        second = word & OFFSET
        if not second:
            continue
        for index, entry in enumerate(struct.unpack_from(f">{per}Q", data, second)):
            at = (number * per + index) * cluster
            if entry and at < size:
                piece = _cluster(data, entry, bits)[: size - at]
                out[at : at + len(piece)] = piece
    return bytes(out)


def _cluster(data: bytes, entry: int, bits: int) -> bytes:
    size = 1 << bits
    if entry & COMPRESSED:
        split = 62 - (bits - 8)
        at = entry & ((1 << split) - 1)
        sectors = (entry >> split) & ((1 << (bits - 8)) - 1)
        end = (at & ~511) + (sectors + 1) * 512
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:end], size)
    if entry & 1:
        return b""
    at = entry & OFFSET
    return data[at : at + size] if at else b""


def _unfit(why: str, where: str) -> UsageError:
    return UsageError(
        f"the qcow2 disk cannot be read: {why}", where=where,
        fix="write it as raw first: qemu-img convert -O raw",
    )  # fmt: skip
