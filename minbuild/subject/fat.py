"""A FAT file system as firmware reads it: every file with all the names that it answers to.

Source: Microsoft FAT specification, 3, 6 and 7; EDK II, FatPkg/EnhancedFatDxe.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LONG, VOLUME, DIRECTORY = 0x0F, 0x08, 0x10
DEEPEST = 16
MOST_FILES = 4096
"""Files and directories of one file system."""
MOST_LISTED = 16 << 20
"""Bytes of all its directories together."""
ROW = 32
JUMPS = (0xE9, 0xEB, 0x49)
"""First bytes of the file systems that firmware reads; EDK II looks for no other mark."""
LAST = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}
"""From this number on a chain ends."""


class Damage(Exception):
    """The file system cannot be read, with the reason."""


class NoFat(Damage):
    """No firmware takes it for a FAT file system."""


@dataclass(frozen=True, slots=True)
class File:
    """One file."""

    path: str
    """By its long names: EFI/BOOT/BOOTX64.EFI."""
    names: tuple[frozenset[str], ...]
    """For each part of the path, the long and the short name, in lower case."""
    cluster: int
    size: int

    def lies_at(self, *parts: str) -> bool:
        """Whether firmware finds it by this path, whatever the case."""
        return len(parts) == len(self.names) and self.lies_below(*parts)

    def lies_below(self, *parts: str) -> bool:
        """Whether its path begins so."""
        return len(parts) <= len(self.names) and all(
            part.lower() in names for part, names in zip(parts, self.names, strict=False)
        )


class Fat:
    """Reads a file system of 12, 16 or 32 bits."""

    def __init__(self, data: bytes | mmap.mmap, start: int, size: int) -> None:
        """Read the parameters of `size` bytes of `data` from `start` on. Raises: Damage."""
        self._data, self._start, self._size = data, start, min(size, len(data) - start)
        block = self._bytes(0, 512)
        if len(block) < 512 or block[0] not in JUMPS:
            raise NoFat("it has no FAT file system")
        (sector, per, reserved, tables, entries, small, _, size16) = struct.unpack_from(
            "<HBHBHHBH", block, 11
        )
        large, size32, _, _, root = struct.unpack_from("<IIHHI", block, 32)
        if sector not in (512, 1024, 2048, 4096) or per not in {1 << n for n in range(8)}:
            raise NoFat("its FAT file system has blocks of no size that there is")
        if not tables or not reserved:
            raise NoFat("its FAT file system has no table")
        self._table = reserved * sector
        self._cluster = sector * per
        self._root = self._table + tables * (size16 or size32) * sector
        self._entries = entries
        self._first = self._root + -(-entries * ROW // sector) * sector
        total = (small or large) * sector
        if total > self._size or self._first > total:
            raise Damage("its FAT file system is larger than its partition")
        self._clusters = (total - self._first) // self._cluster
        self._bits = 32 if not size16 else 12 if self._clusters < 4085 else 16
        if self._bits == 16 and self._clusters >= 65525:
            raise Damage("its FAT file system is of 16 bits and has more clusters than that")
        self._begin = root if self._bits == 32 else 0

    def files(self) -> list[File]:
        """Every file, in the order of the directories.

        Raises: Damage when it is damaged, has too many, or two of one name.
        """
        self._listed = self._count = 0
        return list(self._walk(self._begin, "", (), 0))

    def read(self, file: File, most: int) -> bytes:
        """At most the first `most` bytes of a file. Raises: Damage when it is cut short."""
        size = min(file.size, most)
        found = self._chain(file.cluster, size) if size else b""
        if len(found) < size:
            raise Damage(f"{file.path} is cut short")
        return found[:size]

    def _walk(
        self, cluster: int, above: str, names: tuple[frozenset[str], ...], depth: int
    ) -> Iterator[File]:
        if depth > DEEPEST:
            raise Damage("its directories are nested deeper than is looked at")
        taken: set[str] = set()
        for long, short, row in _rows(self._directory(cluster, depth)):
            self._count += 1
            if self._count > MOST_FILES:
                raise Damage(f"it has more than {MOST_FILES} files")
            both = frozenset({(long or short).lower(), short.lower()})
            if both & taken:
                raise Damage(f"two files answer to {above}{long or short}")
            taken |= both
            high, low, size = struct.unpack_from("<H4xHI", row, 20)
            begin = (high << 16 if self._bits == 32 else 0) | low
            here = (*names, both)
            if row[11] & DIRECTORY:
                yield from self._walk(begin, f"{above}{long or short}/", here, depth + 1)
            else:
                yield File(f"{above}{long or short}", here, begin, size)

    def _directory(self, cluster: int, depth: int) -> bytes:
        if not depth and self._bits != 32:
            found = self._bytes(self._root, self._entries * ROW)
        else:
            found = self._chain(cluster, MOST_LISTED - self._listed + 1)
        self._listed += len(found)
        if self._listed > MOST_LISTED:
            raise Damage("its directories are larger than is looked at")
        return found

    def _chain(self, cluster: int, most: int) -> bytes:
        """The bytes of a chain of clusters, until there are `most`. Raises: Damage for a circle."""
        parts = []
        left, taken = self._clusters, 0
        while taken < most and 2 <= cluster < LAST[self._bits]:
            if cluster >= self._clusters + 2 or left <= 0:
                raise Damage("a file of its FAT file system has no end")
            parts.append(self._bytes(self._first + (cluster - 2) * self._cluster, self._cluster))
            taken += self._cluster
            left -= 1
            cluster = self._next(cluster)
        return b"".join(parts)

    def _next(self, cluster: int) -> int:
        if self._bits == 32:
            return self._number("<I", self._table + 4 * cluster) & 0x0FFFFFFF
        if self._bits == 16:
            return self._number("<H", self._table + 2 * cluster)
        pair = self._number("<H", self._table + cluster * 3 // 2)
        return pair >> 4 if cluster & 1 else pair & 0xFFF

    def _number(self, kind: str, at: int) -> int:
        try:
            return int(struct.unpack(kind, self._bytes(at, struct.calcsize(kind)))[0])
        except struct.error as error:
            raise Damage("the table of its FAT file system is cut short") from error

    def _bytes(self, at: int, size: int) -> bytes:
        end = min(at + size, self._size)
        return bytes(self._data[self._start + at : self._start + end]) if at < end else b""


def _rows(directory: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Long name ("" without one), short name and row of what a directory lists."""
    parts: dict[int, bytes] = {}
    checksum = -1
    for at in range(0, len(directory) - ROW + 1, ROW):
        row = directory[at : at + ROW]
        if not row[0]:
            return
        if row[0] == 0xE5:
            parts = {}
        elif row[11] & 0x3F == LONG:
            if row[0] & 0x40:
                parts, checksum = {}, row[13]
            if row[13] == checksum:
                parts[row[0] & 0x1F] = row[1:11] + row[14:26] + row[28:32]
        else:
            whole = parts and set(parts) == set(range(1, len(parts) + 1))
            long = _text(parts) if whole and checksum == _sum(row[:11]) else ""
            parts = {}
            if not row[11] & VOLUME and row[:2] not in (b". ", b".."):
                yield long, _short(row[:11], row[12]), row


def _text(parts: dict[int, bytes]) -> str:
    text = b"".join(parts[number] for number in sorted(parts)).decode("utf-16-le", "replace")
    return text.partition("\0")[0]


def _short(name: bytes, case: int) -> str:
    """A short name; bits 3 and 4 of `case` say that a part is in lower case."""
    first = b"\xe5" + name[1:] if name[0] == 0x05 else name
    base, ending = (part.rstrip(b" ").decode("cp437") for part in (first[:8], first[8:]))
    base = base.lower() if case & 0x08 else base
    ending = ending.lower() if case & 0x10 else ending
    return f"{base}.{ending}" if ending else base


def _sum(name: bytes) -> int:
    """What a long name holds of its short one. Source: the FAT specification, 7.2."""
    total = 0
    for byte in name:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    return total
