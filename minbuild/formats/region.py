"""Stretches of files, read at any offset; compressed files are decompressed first."""

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from minbuild.errors import MalformedFile, ToolError
from minbuild.formats.compression import CHUNK_SIZE, decompress_stream
from minbuild.formats.magic import Format, detect_format

MAX_UNPACKED = 8 << 30
"""Bytes that one archive may unpack to before it counts as a bomb."""
_SUFFIXES = {
    Format.XZ: ".xz",
    Format.ZSTD: ".zst",
    Format.GZIP: ".gz",
    Format.BZIP2: ".bz2",
    Format.LZMA: ".lzma",
}
_UNSUPPORTED = (Format.LZ4, Format.LZIP, Format.LZOP, Format.COMPRESS)
_file_numbers = count()


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
    def from_path(cls, path: Path, *, follow: bool = True) -> "Region":
        """Open a whole file. Raises: OSError."""
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
        return cls(descriptor, 0, os.fstat(descriptor).st_size)

    def subregion(self, start: int, size: int) -> "Region":
        """A stretch of this one. Raises: MalformedFile when it is not all there."""
        self._require_within(start, size)
        return Region(self._descriptor, self._start + start, size, self._owner)

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises: MalformedFile when they are not there."""
        self._require_within(start, size)
        parts = []
        position, remaining = self._start + start, size
        while remaining:
            part = os.pread(self._descriptor, remaining, position)
            if not part:
                raise MalformedFile("the file has become shorter")
            parts.append(part)
            position, remaining = position + len(part), remaining - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_pieces(self) -> Iterator[bytes]:
        """All of it, bit by bit."""
        for start in range(0, self.size, CHUNK_SIZE):
            yield self.read(start, min(CHUNK_SIZE, self.size - start))

    def compute_digest(self, algorithm: str) -> str:
        """Hex digest of all of it: sha256, sha512."""
        digest = hashlib.new(algorithm)
        for piece in self.read_pieces():
            digest.update(piece)
        return digest.hexdigest()

    def _require_within(self, start: int, size: int) -> None:
        if start < 0 or size < 0 or start + size > self.size:
            raise MalformedFile("it is truncated")


def detect_compression(head: bytes) -> str:
    """Return the suffix for the compression of a file, ".xz"; "" for none.

    Raises: MalformedFile for a compression that is known and not supported.
    """
    kind = detect_format(head, (*_SUFFIXES, *_UNSUPPORTED))
    if kind in _UNSUPPORTED:
        raise MalformedFile(f"it is packed by {kind}, which is not read here: unpack it first")
    return _SUFFIXES[kind] if kind is not None else ""


def read_start(region: Region, size: int) -> bytes:
    """The first bytes, unpacked if need be; fewer when there are no more.

    Raises: MalformedFile when it is packed and cannot be unpacked.
    """
    ending = detect_compression(region.read(0, min(8, region.size)))
    if not ending:
        return region.read(0, min(size, region.size))
    data = b""
    for piece in decompress_stream(_make_reader(region), ending):
        data += piece
        if len(data) >= size:
            break
    return data[:size]


def decompress_to_file(region: Region, work: Path, limit: int = MAX_UNPACKED) -> Region:
    """All of it, unpacked to a file in `work` if need be.

    Raises: MalformedFile when it is damaged, or unpacks to more than `limit` bytes; ToolError when there is no
    room.
    """
    ending = detect_compression(region.read(0, min(8, region.size)))
    if not ending:
        return region
    path = work / f"plain-{os.getpid()}-{next(_file_numbers)}"
    total = 0
    try:
        with path.open("wb") as out:
            for piece in decompress_stream(_make_reader(region), ending):
                total += len(piece)
                if total > limit:
                    raise MalformedFile(f"it unpacks to more than {limit} bytes, the limit")
                if piece.count(0) == len(piece):
                    out.seek(len(piece), os.SEEK_CUR)
                else:
                    out.write(piece)
            out.truncate(total)
        plain_region = Region.from_path(path)
    except OSError as error:
        raise ToolError(
            f"there is no room to unpack the archive: {error.strerror}",
            where=str(work),
            fix="make room there, or name another directory: TMPDIR",
        ) from error
    finally:
        path.unlink(missing_ok=True)  # it lasts as long as it is open
    return plain_region


def _make_reader(region: Region) -> Callable[[int], bytes]:
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        piece = region.read(position, min(size, region.size - position))
        position += len(piece)
        return piece

    return read
