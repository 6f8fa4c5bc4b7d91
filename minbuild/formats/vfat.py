"""A FAT file system as firmware reads it: every file with all its names.

Source: Microsoft FAT specification, 3, 6 and 7; EDK II, FatPkg/EnhancedFatDxe.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LONG_NAME, VOLUME_LABEL, DIRECTORY = 0x0F, 0x08, 0x10
MAX_DEPTH = 16
MAX_FILES = 4096
"""Files and directories of one file system."""
MAX_DIRECTORY_SIZE = 16 << 20
"""Bytes of all its directories together."""
ENTRY_SIZE = 32
BOOT_JUMPS = (0xE9, 0xEB, 0x49)
"""First bytes of the file systems that firmware reads; EDK II looks for no other mark."""
CHAIN_END = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}
"""From this number on a chain ends."""


class FatError(Exception):
    """The file system cannot be read, with the reason."""


class NotFat(FatError):
    """No firmware takes it for a FAT file system."""


@dataclass(frozen=True, slots=True)
class FatFile:
    """One file."""

    path: str
    """By its long names: EFI/BOOT/BOOTX64.EFI."""
    names: tuple[frozenset[str], ...]
    """For each part of the path, the long and the short name, in lower case."""
    cluster: int
    size: int

    def is_at(self, *parts: str) -> bool:
        """Whether firmware finds it by this path, whatever the case."""
        return len(parts) == len(self.names) and self.is_below(*parts)

    def is_below(self, *parts: str) -> bool:
        """Whether its path begins so."""
        return len(parts) <= len(self.names) and all(
            part.lower() in names for part, names in zip(parts, self.names, strict=False)
        )


class FatFileSystem:
    """Reads a file system of 12, 16 or 32 bits."""

    def __init__(self, data: bytes | mmap.mmap, start: int, size: int) -> None:
        """Read the parameters of `size` bytes of `data` from `start` on. Raises: MalformedFile."""
        self._data, self._start, self._size = data, start, min(size, len(data) - start)
        block = self._read_bytes(0, 512)
        if len(block) < 512 or block[0] not in BOOT_JUMPS:
            raise NotFat("it has no FAT file system")
        (sector_size, sectors_per_cluster, reserved, tables, entries, small, _, size16) = (
            struct.unpack_from("<HBHBHHBH", block, 11)
        )
        large, size32, _, _, root = struct.unpack_from("<IIHHI", block, 32)
        if sector_size not in (512, 1024, 2048, 4096) or sectors_per_cluster not in {
            1 << n for n in range(8)
        }:
            raise NotFat("its FAT file system has blocks of no size that there is")
        if not tables or not reserved:
            raise NotFat("its FAT file system has no table")
        self._table_offset = reserved * sector_size
        self._cluster_size = sector_size * sectors_per_cluster
        self._root_offset = self._table_offset + tables * (size16 or size32) * sector_size
        self._root_entry_count = entries
        self._data_offset = (
            self._root_offset + -(-entries * ENTRY_SIZE // sector_size) * sector_size
        )
        total = (small or large) * sector_size
        if total > self._size or self._data_offset > total:
            raise FatError("its FAT file system is larger than its partition")
        self._cluster_count = (total - self._data_offset) // self._cluster_size
        self._bits = 32 if not size16 else 12 if self._cluster_count < 4085 else 16
        if self._bits == 16 and self._cluster_count >= 65525:
            raise FatError("its FAT file system is of 16 bits and has more clusters than that")
        self._root_cluster = root if self._bits == 32 else 0

    def list_files(self) -> list[FatFile]:
        """Every file, in the order of the directories.

        Raises: MalformedFile when it is damaged, has too many, or two of one name.
        """
        self._directories_size = self._file_count = 0
        return list(self._walk(self._root_cluster, "", (), 0))

    def read(self, file: FatFile, limit: int) -> bytes:
        """At most the first `most` bytes of a file. Raises: MalformedFile when it is cut short."""
        size = min(file.size, limit)
        data = self._read_chain(file.cluster, size) if size else b""
        if len(data) < size:
            raise FatError(f"{file.path} is cut short")
        return data[:size]

    def _walk(
        self, cluster: int, parent_path: str, names: tuple[frozenset[str], ...], depth: int
    ) -> Iterator[FatFile]:
        if depth > MAX_DEPTH:
            raise FatError("its directories are nested deeper than is looked at")
        names_in_directory: set[str] = set()
        for long, short, row in _parse_entries(self._read_directory(cluster, depth)):
            self._file_count += 1
            if self._file_count > MAX_FILES:
                raise FatError(f"it has more than {MAX_FILES} files")
            file_names = frozenset({(long or short).lower(), short.lower()})
            if file_names & names_in_directory:
                raise FatError(f"two files answer to {parent_path}{long or short}")
            names_in_directory |= file_names
            high, low, size = struct.unpack_from("<H4xHI", row, 20)
            first_cluster = (high << 16 if self._bits == 32 else 0) | low
            path_names = (*names, file_names)
            if row[11] & DIRECTORY:
                yield from self._walk(
                    first_cluster, f"{parent_path}{long or short}/", path_names, depth + 1
                )
            else:
                yield FatFile(f"{parent_path}{long or short}", path_names, first_cluster, size)

    def _read_directory(self, cluster: int, depth: int) -> bytes:
        if not depth and self._bits != 32:
            data = self._read_bytes(self._root_offset, self._root_entry_count * ENTRY_SIZE)
        else:
            data = self._read_chain(cluster, MAX_DIRECTORY_SIZE - self._directories_size + 1)
        self._directories_size += len(data)
        if self._directories_size > MAX_DIRECTORY_SIZE:
            raise FatError("its directories are larger than is looked at")
        return data

    def _read_chain(self, cluster: int, limit: int) -> bytes:
        """The bytes of a chain of clusters, until there are `most`. Raises: MalformedFile for a circle."""
        parts = []
        remaining, total = self._cluster_count, 0
        while total < limit and 2 <= cluster < CHAIN_END[self._bits]:
            if cluster >= self._cluster_count + 2 or remaining <= 0:
                raise FatError("a file of its FAT file system has no end")
            parts.append(
                self._read_bytes(
                    self._data_offset + (cluster - 2) * self._cluster_size, self._cluster_size
                )
            )
            total += self._cluster_size
            remaining -= 1
            cluster = self._read_next_cluster(cluster)
        return b"".join(parts)

    def _read_next_cluster(self, cluster: int) -> int:
        if self._bits == 32:
            return self._read_number("<I", self._table_offset + 4 * cluster) & 0x0FFFFFFF
        if self._bits == 16:
            return self._read_number("<H", self._table_offset + 2 * cluster)
        pair = self._read_number("<H", self._table_offset + cluster * 3 // 2)
        return pair >> 4 if cluster & 1 else pair & 0xFFF

    def _read_number(self, kind: str, offset: int) -> int:
        try:
            return int(struct.unpack(kind, self._read_bytes(offset, struct.calcsize(kind)))[0])
        except struct.error as error:
            raise FatError("the table of its FAT file system is cut short") from error

    def _read_bytes(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self._size)
        return bytes(self._data[self._start + offset : self._start + end]) if offset < end else b""


def _parse_entries(directory: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Long name ("" without one), short name and row of what a directory lists."""
    parts: dict[int, bytes] = {}
    checksum = -1
    for offset in range(0, len(directory) - ENTRY_SIZE + 1, ENTRY_SIZE):
        row = directory[offset : offset + ENTRY_SIZE]
        if not row[0]:
            return
        if row[0] == 0xE5:
            parts = {}
        elif row[11] & 0x3F == LONG_NAME:
            if row[0] & 0x40:
                parts, checksum = {}, row[13]
            if row[13] == checksum:
                parts[row[0] & 0x1F] = row[1:11] + row[14:26] + row[28:32]
        else:
            is_complete = parts and set(parts) == set(range(1, len(parts) + 1))
            long = (
                _join_long_name(parts)
                if is_complete and checksum == _compute_checksum(row[:11])
                else ""
            )
            parts = {}
            if not row[11] & VOLUME_LABEL and row[:2] not in (b". ", b".."):
                yield long, _decode_short_name(row[:11], row[12]), row


def _join_long_name(parts: dict[int, bytes]) -> str:
    text = b"".join(parts[number] for number in sorted(parts)).decode("utf-16-le", "replace")
    return text.partition("\0")[0]


def _decode_short_name(name: bytes, case: int) -> str:
    """A short name; bits 3 and 4 of `case` say that a part is in lower case."""
    first = b"\xe5" + name[1:] if name[0] == 0x05 else name
    base, ending = (part.rstrip(b" ").decode("cp437") for part in (first[:8], first[8:]))
    base = base.lower() if case & 0x08 else base
    ending = ending.lower() if case & 0x10 else ending
    return f"{base}.{ending}" if ending else base


def _compute_checksum(name: bytes) -> int:
    """What a long name holds of its short one. Source: the FAT specification, 7.2."""
    total = 0
    for byte in name:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    return total
