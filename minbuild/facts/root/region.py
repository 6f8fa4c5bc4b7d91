"""A stretch of a file of the build machine, read at any place; packed ones are unpacked first."""

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.damage import Damage
from minbuild.facts.unpack import PIECE, unpacked

LARGEST_UNPACKED = 8 << 30
"""Bytes that one archive may unpack to before it counts as a bomb."""
_MAGIC = {
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\x5d\0\0": ".lzma",
}
_UNREAD = {
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"LZIP": "lzip",
    b"\x89LZO": "lzop",
    b"\x1f\x9d": "compress",
}
_numbers = count()


class Region:
    """Bytes `start` to `start + size` of a file that stays open as long as this does."""

    def __init__(self, descriptor: int, start: int, size: int, owner: object = None) -> None:
        """`owner` closes the descriptor; without one this does, when it is no longer used."""
        self._descriptor = descriptor
        self._start = start
        self.size = size
        self._owner = owner or self
        if owner is None:
            weakref.finalize(self, os.close, descriptor)

    @classmethod
    def of(cls, path: Path, *, follow: bool = True) -> "Region":
        """Open a whole file. Raises: OSError."""
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
        return cls(descriptor, 0, os.fstat(descriptor).st_size)

    def part(self, start: int, size: int) -> "Region":
        """A stretch of this one. Raises: Damage when it is not all there."""
        self._check(start, size)
        return Region(self._descriptor, self._start + start, size, self._owner)

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises: Damage when they are not there."""
        self._check(start, size)
        parts = []
        at, left = self._start + start, size
        while left:
            part = os.pread(self._descriptor, left, at)
            if not part:
                raise Damage("the file has become shorter")
            parts.append(part)
            at, left = at + len(part), left - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        """All of it, bit by bit."""
        for start in range(0, self.size, PIECE):
            yield self.read(start, min(PIECE, self.size - start))

    def digest(self, kind: str) -> str:
        """Hex digest of all of it: sha256, sha512."""
        digest = hashlib.new(kind)
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    def _check(self, start: int, size: int) -> None:
        if start < 0 or size < 0 or start + size > self.size:
            raise Damage("it is truncated")


def packing(head: bytes) -> str:
    """How what begins like this is packed: ".xz"; "" when it is not.

    Raises: Damage for a packing that is known and not read.
    """
    for magic, name in _UNREAD.items():
        if head.startswith(magic):
            raise Damage(f"it is packed by {name}, which is not read here: unpack it first")
    return next((ending for magic, ending in _MAGIC.items() if head.startswith(magic)), "")


def start_of(region: Region, size: int) -> bytes:
    """The first bytes, unpacked if need be; fewer when there are no more.

    Raises: Damage when it is packed and cannot be unpacked.
    """
    ending = packing(region.read(0, min(8, region.size)))
    if not ending:
        return region.read(0, min(size, region.size))
    found = b""
    for piece in unpacked(_reader(region), ending):
        found += piece
        if len(found) >= size:
            break
    return found[:size]


def plain(region: Region, work: Path, most: int = LARGEST_UNPACKED) -> Region:
    """All of it, unpacked to a file in `work` if need be.

    Raises: Damage when it is damaged, or unpacks to more than `most` bytes; ToolError when there is no
    room.
    """
    ending = packing(region.read(0, min(8, region.size)))
    if not ending:
        return region
    place = work / f"plain-{os.getpid()}-{next(_numbers)}"
    total = 0
    try:
        with place.open("wb") as out:
            for piece in unpacked(_reader(region), ending):
                total += len(piece)
                if total > most:
                    raise Damage(f"it unpacks to more than {most} bytes, the limit")
                if piece.count(0) == len(piece):
                    out.seek(len(piece), os.SEEK_CUR)
                else:
                    out.write(piece)
            out.truncate(total)
        found = Region.of(place)
    except OSError as error:
        raise ToolError(
            f"there is no room to unpack the archive: {error.strerror}",
            where=str(work),
            fix="make room there, or name another directory: TMPDIR",
        ) from error
    finally:
        place.unlink(missing_ok=True)  # it lasts as long as it is open
    return found


def _reader(region: Region) -> Callable[[int], bytes]:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        piece = region.read(at, min(size, region.size - at))
        at += len(piece)
        return piece

    return read
