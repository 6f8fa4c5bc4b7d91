"""How a compressed index is unpacked: every member of it, whole, and no more than may come."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from minbuild.errors import ArchiveError

LARGEST = 256 << 20
"""Bytes of an unpacked index, whatever its Release says: Debian's largest have 60 MB."""
MEMORY = 160 << 20
"""Bytes that a decompressor may use: twice what xz -9 takes."""
MEMBERS = 10_000
"""Streams one after the other in one index."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


_KINDS: dict[str, Callable[[], _Decompressor]] = {
    ".xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY),
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".bz2": bz2.BZ2Decompressor,
}
ENDINGS = (*_KINDS, "")
"""Compressions that are read, the best one first."""


def unpack(data: bytes, path: str, what: str, *, size: int = -1) -> bytes:
    """Unpack an index; `path` ends as its compression does, `size` is what its Release says.

    Source: xz(1), gzip(1), bzip2(1): several files that are compressed one after the other are
    one; zeros may follow.

    Raises: ArchiveError for one that is damaged, cut off, too large, or of another size.
    """
    ending = path.rpartition("/")[2].rpartition(".")[2]
    limit = min(size, LARGEST) if size >= 0 else LARGEST
    try:
        text = _members(data, _KINDS[f".{ending}"], limit) if f".{ending}" in _KINDS else data
    except (lzma.LZMAError, zlib.error, OSError, EOFError, MemoryError, ValueError) as error:
        raise _unfit(f"{what} cannot be unpacked: {error}", path) from error
    if len(text) > limit:
        raise _unfit(f"{what} unpacks to more than {limit} bytes", path)
    if 0 <= size != len(text):
        raise _unfit(f"{what} unpacks to {len(text)} bytes; its Release says {size}", path)
    return text


def _members(data: bytes, new: Callable[[], _Decompressor], limit: int) -> bytes:
    """Every member, up to one byte more than the limit. Raises: EOFError, ValueError."""
    found: list[bytes] = []
    left = limit + 1
    for _ in range(MEMBERS):
        member = new()
        piece = member.decompress(data, max(left, 1))
        found.append(piece)
        left -= len(piece)
        if left <= 0:
            return b"".join(found)
        if not member.eof:
            raise EOFError("it is cut off")
        data = member.unused_data
        if not data.strip(b"\0"):
            return b"".join(found)
        data = data.lstrip(b"\0")
    raise ValueError(f"it has more than {MEMBERS} members")


def _unfit(what: str, path: str) -> ArchiveError:
    return ArchiveError(what, where=path, fix="use another mirror (--mirror URL)")
