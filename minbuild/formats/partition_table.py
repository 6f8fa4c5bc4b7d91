"""The partitions of a disk image, as the kernel, the firmware and sfdisk find them.

Source: UEFI 2.10, 5.2 and 5.3; the kernel's block/partitions/{efi,msdos}.c; systemd's
probe_sector_size.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.errors import UsageError
from minbuild.formats import magic
from minbuild.formats.magic import BOOT_SIGNATURE, Format, has_magic

SECTOR_SIZE = 512
SECTOR_SIZES = (512, 1024, 2048, 4096)
"""Sizes of a sector that a table may count in."""
_ENTRY_SIZE = 128
_MAX_ENTRIES = 1 << 16
_PROTECTIVE_TYPE = 0xEE
_EXTENDED_TYPES = (0x05, 0x0F, 0x85)
_MAX_LOGICAL = 252
"""Logical partitions that are followed; the kernel knows 256 partitions of a disk."""


@dataclass(frozen=True, slots=True)
class DiskPartition:
    """One partition, or as number 0 a disk without any."""

    number: int
    """As in sda2; from 1."""
    start: int
    """Byte of the disk."""
    size: int
    """Bytes."""
    kind: str = ""
    """The GUID of its type, lower case, or 0x83 in a DOS table."""
    uuid: str = ""
    """PARTUUID, lower case."""
    name: str = ""
    """Of a GPT."""
    attributes: int = 0
    """Bits of a GPT."""


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """How a disk is divided."""

    label: str
    """gpt, dos, or "" for none."""
    partitions: tuple[DiskPartition, ...]
    """In the table's order, numbers ascending."""
    sector_size: int = SECTOR_SIZE
    """Bytes that the table counts in."""
    warning: str = ""
    """What is not as it should be and was done without, as a sentence."""


def read_partition_table(data: mmap | bytes, where: str) -> PartitionTable:
    """Read the partition table of a disk.

    Raises: UsageError for a table that there is and that nobody could use.
    """
    protective = has_dos_table(data) and any(
        data[446 + 16 * n + 4] == _PROTECTIVE_TYPE for n in range(4)
    )
    tables = [(size, gpt) for size in SECTOR_SIZES if (gpt := _read_gpt(data, size)) is not None]
    if protective and tables:
        sector_size, (partitions, warning) = tables[0]
        if len(tables) > 1:
            warning = f"it has several GPTs, and the one for sectors of {sector_size} bytes is read"
        return PartitionTable("gpt", partitions, sector_size, warning)
    if has_magic(data, Format.GPT):
        reason = "both copies of the disk's GPT are damaged"
        if tables:
            reason = "the disk has a GPT and no protective MBR, so nothing would take it for one"
        raise UsageError(
            reason, where=where,
            fix="restore the partition table (sgdisk, gdisk: recovery), or name one file system",
        )  # fmt: skip
    partitions = tuple(_read_dos_table(data)) if has_dos_table(data) else ()
    return PartitionTable("dos" if partitions else "", partitions)


def has_dos_table(data: mmap | bytes) -> bool:
    """Tell a DOS table from the first sector of a file system. Source: msdos_partition."""
    return data[510:512] == BOOT_SIGNATURE and all(
        data[446 + 16 * number] in (0, 0x80) for number in range(4)
    )


def _read_gpt(data: mmap | bytes, sector_size: int) -> tuple[tuple[DiskPartition, ...], str] | None:
    """The partitions by the first sound copy, and what is wrong with the other one."""
    last = len(data) // sector_size - 1
    primary = _read_gpt_copy(data, sector_size, 1)
    if primary is not None:
        return primary, ""
    backup = _read_gpt_copy(data, sector_size, last)
    if backup is None:
        return None
    return backup, "the first copy of its GPT is damaged, and the one at its end is read"


def _read_gpt_copy(
    data: mmap | bytes, sector_size: int, lba: int
) -> tuple[DiskPartition, ...] | None:
    """The partitions of one copy; None where the kernel would not take it. Source: is_gpt_valid."""
    if lba < 1:
        return None
    raw = data[lba * sector_size : (lba + 1) * sector_size]
    if len(raw) < sector_size or raw[:8] != magic.GPT:
        return None
    length, checksum = struct.unpack_from("<II", raw, 12)
    (own_lba, _, first, last) = struct.unpack_from("<4Q", raw, 24)
    start, count, size, entries_checksum = struct.unpack_from("<QIII", raw, 72)
    if (
        not 92 <= length <= sector_size
        or own_lba != lba
        or size != _ENTRY_SIZE
        or count > _MAX_ENTRIES
    ):
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:length]) != checksum or first > last:
        return None
    entries = data[start * sector_size : start * sector_size + count * size]
    if len(entries) < count * size or zlib.crc32(entries) != entries_checksum:
        return None
    return tuple(_parse_gpt_entries(entries, sector_size))


def _parse_gpt_entries(entries: bytes, sector_size: int) -> Iterator[DiskPartition]:
    for number in range(len(entries) // _ENTRY_SIZE):
        raw = entries[number * _ENTRY_SIZE : (number + 1) * _ENTRY_SIZE]
        first, last, attributes = struct.unpack_from("<3Q", raw, 32)
        if not any(raw[:16]) or last < first:
            continue
        yield DiskPartition(
            number + 1, first * sector_size, (last - first + 1) * sector_size, format_guid(raw[:16]),
            format_guid(raw[16:32]), raw[56:].decode("utf-16-le", "replace").partition("\0")[0], attributes,
        )  # fmt: skip


def format_guid(raw: bytes) -> str:
    """A GUID as it is written, lower case."""
    first, second, third = struct.unpack_from("<IHH", raw)
    return f"{first:08x}-{second:04x}-{third:04x}-{raw[8:10].hex()}-{raw[10:16].hex()}"


def _read_dos_table(data: mmap | bytes) -> Iterator[DiskPartition]:
    """Primary partitions, then the logical ones of each extended one."""
    (disk_id,) = struct.unpack_from("<I", data, 440)
    extended = []
    for number, (kind, start, count) in enumerate(_read_dos_entries(data, 0), 1):
        if kind and count:
            yield _make_dos_partition(number, kind, start, count, disk_id)
            extended += [start] if kind in _EXTENDED_TYPES else []
    number = 5
    for base in extended[:1]:
        for kind, start, count in _read_logical(data, base):
            yield _make_dos_partition(number, kind, start, count, disk_id)
            number += 1


def _read_dos_entries(data: mmap | bytes, sector: int) -> list[tuple[int, int, int]]:
    """Type, start and length in sectors of the four entries of a table."""
    raw = data[sector * SECTOR_SIZE : (sector + 1) * SECTOR_SIZE]
    if raw[510:512] != BOOT_SIGNATURE:
        return []
    return [struct.unpack_from("<4xB3xII", raw, 446 + 16 * number) for number in range(4)]


def _read_logical(data: mmap | bytes, base: int) -> Iterator[tuple[int, int, int]]:
    """The chain of tables in an extended partition. Source: parse_extended."""
    sector, visited = base, set[int]()
    while sector not in visited and len(visited) < _MAX_LOGICAL:
        visited.add(sector)
        rows = _read_dos_entries(data, sector)
        for kind, start, count in rows:
            if kind and count and kind not in _EXTENDED_TYPES:
                yield kind, sector + start, count
        next_tables = [start for kind, start, count in rows if kind in _EXTENDED_TYPES and count]
        if not next_tables:
            return
        sector = base + next_tables[0]


def _make_dos_partition(
    number: int, kind: int, start: int, count: int, disk_id: int
) -> DiskPartition:
    return DiskPartition(
        number,
        start * SECTOR_SIZE,
        count * SECTOR_SIZE,
        f"{kind:#04x}",
        f"{disk_id:08x}-{number:02x}",
    )
