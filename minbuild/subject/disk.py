"""The file that a disk starts from: a GPT, its EFI System Partition, and the FAT in it.

Source: UEFI 2.10, 5.3; Microsoft FAT specification, 3 and 6.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.root.partitions import read_table
from minbuild.lab.uki import sections

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
"""Type of an EFI System Partition. Source: UEFI 2.10, 5.3.3."""
DIRECTORY, VOLUME, LONG = 0x10, 0x08, 0x0F
DEEPEST = 8
MOST = 4096
"""Files and directories of an ESP that are looked at."""


class NoUki(UsageError):
    """The disk is sound, and starts no UKI."""


def boot_file(data: bytes | mmap.mmap, where: str) -> bytes:
    """The largest UKI on the disk's EFI System Partition.

    Raises: UsageError when there is none or the disk is damaged.
    """
    try:
        found = [one for one in _files(_esp(data, where)) if _is_uki(one, where)]
    except (struct.error, IndexError, ValueError, ZeroDivisionError) as error:
        raise _unfit("its partition table or file system is damaged", where) from error
    if not found:
        raise _no_uki("it starts no UKI", where)
    return max(found, key=len)


def _is_uki(data: bytes, where: str) -> bool:
    try:
        return ".linux" in sections(data, where)
    except MinbuildError:
        return False


def _esp(data: bytes | mmap.mmap, where: str) -> bytes:
    table = read_table(data, where)
    if table.label != "gpt":
        raise _no_uki("it has no GPT", where)
    for one in table.partitions:
        if one.kind == ESP:
            found = data[one.start : one.start + one.size]
            if found[510:512] != b"\x55\xaa":
                raise _no_uki("its EFI System Partition has no FAT file system", where)
            return found
    raise _no_uki("it has no EFI System Partition", where)


@dataclass(frozen=True, slots=True)
class _Fat:
    data: bytes
    bits: int
    table: int
    cluster: int
    first: int
    """Byte where cluster 2 begins."""

    def chain(self, cluster: int) -> bytes:
        """All bytes of a chain of clusters. Raises: ValueError for a circle."""
        parts = []
        last = {12: 0xFF7, 16: 0xFFF7, 32: 0x0FFFFFF7}[self.bits]
        left = len(self.data) // self.cluster + 1
        while 2 <= cluster < last:
            at = self.first + (cluster - 2) * self.cluster
            parts.append(self.data[at : at + self.cluster])
            cluster = self._next(cluster)
            left -= 1
            if left < 0:
                raise ValueError("a circle of clusters")
        return b"".join(parts)

    def _next(self, cluster: int) -> int:
        if self.bits == 32:
            (found,) = struct.unpack_from("<I", self.data, self.table + 4 * cluster)
            return int(found) & 0x0FFFFFFF
        if self.bits == 16:
            (found,) = struct.unpack_from("<H", self.data, self.table + 2 * cluster)
            return int(found)
        (pair,) = struct.unpack_from("<H", self.data, self.table + cluster * 3 // 2)
        return int(pair >> 4 if cluster & 1 else pair & 0xFFF)


def _files(data: bytes) -> Iterator[bytes]:
    """The content of every .EFI file of a FAT file system."""
    (sector, per, reserved, tables, entries, small, _, size16) = struct.unpack_from(
        "<HBHBHHBH", data, 11
    )
    large, size32 = struct.unpack_from("<II", data, 32)
    size = size16 or size32
    root_at = (reserved + tables * size) * sector
    first = root_at + -(-entries * 32 // sector) * sector
    clusters = ((small or large) * sector - first) // (sector * per)
    bits = 12 if clusters < 4085 else 16 if clusters < 65525 else 32
    fat = _Fat(data, bits, reserved * sector, sector * per, first)
    root = data[root_at : root_at + entries * 32]
    if bits == 32:
        root = fat.chain(struct.unpack_from("<I", data, 44)[0])
    left = [MOST]
    yield from _walk(fat, root, DEEPEST, left)


def _walk(fat: _Fat, directory: bytes, depth: int, left: list[int]) -> Iterator[bytes]:
    for at in range(0, len(directory) - 31, 32):
        name, kind = directory[at : at + 11], directory[at + 11]
        if not name[0] or not depth or left[0] <= 0:
            return
        if name[0] == 0xE5 or kind & LONG == LONG or kind & VOLUME or name.startswith(b"."):
            continue
        left[0] -= 1
        high, low, size = struct.unpack_from("<H4xHI", directory, at + 20)
        chain = fat.chain((high << 16 if fat.bits == 32 else 0) | low)
        if kind & DIRECTORY:
            yield from _walk(fat, chain, depth - 1, left)
        elif name[8:] == b"EFI":
            yield chain[:size]


def _no_uki(why: str, where: str) -> UsageError:
    error = _unfit(why, where)
    return NoUki(error.what, where=error.where, fix=error.fix)


def _unfit(why: str, where: str) -> UsageError:
    return UsageError(
        f"the disk cannot be measured: {why}", where=where,
        fix="name a disk that starts a UKI, or mount it and name its root directory",
    )  # fmt: skip
