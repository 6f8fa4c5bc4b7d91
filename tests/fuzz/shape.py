"""Changes that keep a format's shape: single fields of PE, cpio, FAT and GPT take odd values.

Bytes changed anywhere rarely get past the first check; these are wrong in one place only.
"""

import random
import re
import struct
import zlib

from minbuild.formats.cpio import HEADER_SIZE
from minbuild.formats.magic import CPIO_NEWC
from tests.fuzz.sparse import blocks_start
from tests.support import tars

ODD = (0, 1, 2, 3, 4, 7, 109, 511, 512, 4095, 4096, 4097, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NAMES = (
    b"TRAILER!!!", b"..", b".", b"/", b"", b"a/../..", b"init/", b"usr/a", b"usr", b"x" * 256,
    b"y/" * 2047, b"\0su", b"usr/b/c",
)  # fmt: skip
_USED = re.compile(rb"[^\0]")
MODES = (
    0o100644,
    0o104755,
    0o040755,
    0o120777,
    0o020666,
    0o010600,
    0o140777,
    0,
    0o170000,
    0xFFFFFFFF,
)


def shaped(target: str, seed: bytes, source: random.Random) -> bytes:
    """A seed of a target with some of its fields changed."""
    data = bytearray(seed)
    for _ in range(1 + min(int(source.expovariate(0.7)), 6)):
        match target:
            case "cpio":
                _cpio(data, source)
            case "image":
                _pe(data, 0, source)
                _cpio(data, source)
            case "disk":
                source.choice((_fat, _gpt, _inner))(data, source)
            case "ext4" | "erofs" | "xfs" | "btrfs":
                _volume(data, source)
            case "archive":
                _tar(data, source)
            case _:
                pass
    return bytes(data)


SHAPED = ("cpio", "image", "disk", "ext4", "erofs", "xfs", "btrfs", "archive")


TAR_FIELDS = ((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (148, 8), (156, 1), (157, 100),
              (257, 8), (329, 8), (345, 12), (386, 12), (398, 12), (482, 1), (483, 12))  # fmt: skip
TAR_VALUES = (b"", b"\0", b"0000644\0", b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b" 17 ",
              b"8", b"../x", b"/", b"./", b"d/a", b"l/x", b"0", b"1", b"2", b"3", b"5", b"7", b"S", b"D", b"V", b"M",
              b"x", b"g", b"L", b"K", b"ustar\x0000", b"ustar  \0", b".wh.d", b"d/.wh..wh..opq")  # fmt: skip
TAR_KEYS = (b"path", b"size", b"linkpath", b"uid", b"GNU.sparse.size", b"GNU.sparse.map", b"GNU.sparse.major",
            b"GNU.sparse.realsize", b"GNU.sparse.numblocks", b"SCHILY.xattr.security.capability")  # fmt: skip


def _tar(data: bytearray, source: random.Random) -> None:
    """One field of one header, whose checksum is made right again; or one more extended header."""
    places = [
        at for at in range(0, len(data) - 511, 512)
        if tars.with_checksum(bytes(data[at : at + 512]))[148:154] == data[at + 148 : at + 154]
    ]  # fmt: skip
    if not places:
        return
    at = source.choice(places)
    if source.random() < 0.3:
        record = (source.choice(TAR_KEYS), source.choice(TAR_VALUES) or b"%d" % _number(source))
        data[at:at] = tars.pax_header(source.choice("xxg"), [record])
        return
    start, size = source.choice(TAR_FIELDS)
    data[at + start : at + start + size] = source.choice(TAR_VALUES)[:size].ljust(size, b"\0")
    if source.random() < 0.9:
        data[at : at + 512] = tars.with_checksum(bytes(data[at : at + 512]))


def _number(source: random.Random) -> int:
    return source.choice(ODD) if source.random() < 0.7 else source.getrandbits(32)


def _cpio(data: bytearray, source: random.Random) -> None:
    """One number or the name of one member."""
    places = [at for at in range(0, len(data) - HEADER_SIZE, 4) if data.startswith(CPIO_NEWC, at)]
    if not places:
        return
    at = source.choice(places)
    field = source.randrange(13)
    if source.random() < 0.3:
        text = source.choice(NAMES)
        data[at + HEADER_SIZE : at + HEADER_SIZE + len(text)] = text
        field = 11
    value = source.choice(MODES) if field == 1 else _number(source)
    data[at + 6 + 8 * field : at + 14 + 8 * field] = b"%08x" % value


def _pe(data: bytearray, start: int, source: random.Random) -> None:
    """One number of one row of the table of sections, or of the header."""
    (offset,) = struct.unpack_from("<I", data, start + 0x3C)
    head = start + offset
    if head + 24 > len(data):
        return
    count, optional = struct.unpack_from("<H12xH", data, head + 6)
    table = head + 24 + optional
    if source.random() < 0.2 or not count:
        at = source.choice((start + 0x3C, head + 6, head + 20, head + 24 + 56, head + 24 + 144))
    else:
        at = table + 40 * source.randrange(min(count, 96)) + source.choice((0, 4, 8, 12, 16, 20))
    if at + 4 <= len(data):
        struct.pack_into("<I", data, at, _number(source))


def _fat_starts(data: bytearray) -> int:
    return max(data.find(b"\xeb\x3c\x90TEST"), 0)


def _fat(data: bytearray, source: random.Random) -> None:
    """A parameter, a cell of the table, or a field of a directory's row."""
    start = _fat_starts(data)
    rows = [at for name in (b"EFI     ", b"BOOT    ", b"BOOTX64 ", b"NOTE    ")
            if (at := data.find(name, start)) >= 0]  # fmt: skip
    at = source.choice(
        [start + 11 + source.randrange(26), start + 512 + source.randrange(64),
         *(row + source.choice((0, 8, 11, 20, 26, 28)) for row in rows)]
    )  # fmt: skip
    if at + 2 <= len(data):
        struct.pack_into("<H", data, at, _number(source) & 0xFFFF)


def _gpt(data: bytearray, source: random.Random) -> None:
    """A field of the table, whose sums are made right again."""
    for head in (512, len(data) - 512):
        if data[head : head + 8] != b"EFI PART":
            return
        struct.pack_into(
            "<I", data, head + source.choice((12, 24, 32, 40, 72, 80, 84)), _number(source)
        )
        entries = struct.unpack_from("<Q", data, head + 72)[0] * 512
        if entries + 128 * 128 <= len(data) and source.random() < 0.7:
            struct.pack_into("<Q", data, entries + source.choice((0, 32, 40, 48)), _number(source))
            part = zlib.crc32(data[entries : entries + 128 * 128])
            struct.pack_into("<I", data, head + 88, part)
        struct.pack_into("<I", data, head + 16, 0)
        struct.pack_into("<I", data, head + 16, zlib.crc32(data[head : head + 92]))


def _volume(data: bytearray, source: random.Random) -> None:
    """A field of the superblock, or a number anywhere that is not zero: inodes, names, trees."""
    if len(data) < 4096:
        return
    content = blocks_start(data)
    if source.random() < 0.2:
        at = (content or 1024) + 4 * source.randrange(100)
    else:
        at = content + 4 * source.randrange((len(data) - content) // 4)
        found = _USED.search(data, at)
        at = (found.start() if found else len(data) - 4) & ~3
    at += source.randrange(4) if source.random() < 0.2 else 0
    width = source.choice(("<B", "<H", "<I", ">H", ">I"))
    value = _number(source) if source.random() < 0.6 else source.randrange(400)
    if at + 4 <= len(data):
        struct.pack_into(width, data, at, value & (1 << 8 * struct.calcsize(width)) - 1)


def _inner(data: bytearray, source: random.Random) -> None:
    """The UKI on the disk."""
    at = data.find(b"MZ", _fat_starts(data))
    if at >= 0 and at + 64 < len(data):
        _pe(data, at, source)
