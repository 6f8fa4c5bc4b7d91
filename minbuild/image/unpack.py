"""An initramfs read as the kernel reads it: archives one after the other, packed or not."""

import lzma
import zlib
from collections.abc import Callable

from minbuild.image.cpio import Member, aligned, damaged, read_member
from minbuild.paths import RootPath

MOST = 1 << 30
"""Bytes that an initramfs may unpack to before it counts as a bomb."""
CHUNK = 1 << 20


def members(data: bytes, *, where: str = "", most: int = MOST) -> dict[RootPath, Member]:
    """Every path of an initramfs; a later archive's member replaces an earlier one's.

    Raises: ToolError when it is damaged or unpacks to more than `most` bytes.
    """
    found: dict[RootPath, Member] = {}
    at, left = 0, most
    while at < len(data):
        unpack = _packed(data[at : at + 6])
        if not data[at]:
            at += 1
        elif unpack is not None:
            inside, used = unpack(data[at:], left, at, where)
            left -= len(inside)
            _archives(inside, found, f"{where} (unpacked, from byte {at})".lstrip())
            at += used
        else:
            at = _archive(data, at, found, where)
    return found


def _archives(data: bytes, found: dict[RootPath, Member], where: str) -> None:
    at = 0
    while at < len(data):
        at = at + 1 if not data[at] else _archive(data, at, found, where)


def _archive(data: bytes, at: int, found: dict[RootPath, Member], where: str) -> int:
    if at != aligned(at):
        raise damaged("an archive begins at an odd place", at, where)
    while True:
        member, at = read_member(data, at, where)
        if member is None:
            return at
        found[member.path] = member


Unpack = Callable[[bytes, int, int, str], tuple[bytes, int]]


def _packed(start: bytes) -> Unpack | None:
    """How what starts like this is unpacked; None when it is not packed."""
    if start.startswith(b"\xfd7zXZ\0"):
        return _xz
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd
    if start.startswith(b"\x1f\x8b"):
        return _gzip
    return None


def _xz(data: bytes, most: int, at: int, where: str) -> tuple[bytes, int]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST)
    try:
        out = bytearray(decoder.decompress(data, CHUNK))
        while not decoder.eof and not decoder.needs_input and len(out) <= most:
            out += decoder.decompress(b"", CHUNK)
    except lzma.LZMAError as error:
        raise damaged(f"a segment cannot be unpacked: {error}", at, where) from error
    return _whole(out, len(data) - len(decoder.unused_data), decoder.eof, most, at, where)


def _gzip(data: bytes, most: int, at: int, where: str) -> tuple[bytes, int]:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        out = decoder.decompress(data, most + 1)
    except zlib.error as error:
        raise damaged(f"a segment cannot be unpacked: {error}", at, where) from error
    return _whole(out, len(data) - len(decoder.unused_data), decoder.eof, most, at, where)


def _zstd(data: bytes, most: int, at: int, where: str) -> tuple[bytes, int]:
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    out, fed = bytearray(), 0
    try:
        while not decoder.eof and fed < len(data) and len(out) <= most:
            out += decoder.decompress(data[fed : fed + CHUNK // 64])
            fed += CHUNK // 64
    except zstandard.ZstdError as error:
        raise damaged(f"a segment cannot be unpacked: {error}", at, where) from error
    used = min(fed, len(data)) - len(decoder.unused_data)
    return _whole(out, used, decoder.eof, most, at, where)


def _whole(
    out: bytes | bytearray, used: int, eof: bool, most: int, at: int, where: str
) -> tuple[bytes, int]:
    if len(out) > most:
        raise damaged("the initramfs unpacks to more than can be believed", at, where)
    if not eof:
        raise damaged("a segment is cut short", at, where)
    return bytes(out), used
