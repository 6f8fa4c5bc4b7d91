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

SECTOR = 512
SECTORS = (512, 1024, 2048, 4096)
"""Sizes of a sector that a table may count in."""
_SIGNATURE = b"EFI PART"
_ENTRY = 128
_MOST_ENTRIES = 1 << 16
_PROTECTIVE = 0xEE
_EXTENDED = (0x05, 0x0F, 0x85)
_MOST_LOGICAL = 252
"""Logical partitions that are followed; the kernel knows 256 partitions of a disk."""


@dataclass(frozen=True, slots=True)
class Partition:
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
class Table:
    """How a disk is divided."""

    label: str
    """gpt, dos, or "" for none."""
    partitions: tuple[Partition, ...]
    """In the table's order, numbers ascending."""
    sector: int = SECTOR
    """Bytes that the table counts in."""
    doubt: str = ""
    """What is not as it should be and was done without, as a sentence."""


def read_table(data: mmap | bytes, where: str) -> Table:
    """Read the partition table of a disk.

    Raises: UsageError for a table that there is and that nobody could use.
    """
    protective = is_dos(data) and any(data[446 + 16 * n + 4] == _PROTECTIVE for n in range(4))
    sound = [(size, found) for size in SECTORS if (found := _gpt(data, size)) is not None]
    if protective and sound:
        sector, (partitions, doubt) = sound[0]
        if len(sound) > 1:
            doubt = f"it has several GPTs, and the one for sectors of {sector} bytes is read"
        return Table("gpt", partitions, sector, doubt)
    if has_signature(data):
        why = "both copies of the disk's GPT are damaged"
        if sound:
            why = "the disk has a GPT and no protective MBR, so nothing would take it for one"
        raise UsageError(
            why, where=where,
            fix="restore the partition table (sgdisk, gdisk: recovery), or name one file system",
        )  # fmt: skip
    partitions = tuple(_dos(data)) if is_dos(data) else ()
    return Table("dos" if partitions else "", partitions)


def has_signature(data: mmap | bytes) -> bool:
    """Tell a GPT, sound or not, by what its first copy begins with."""
    return any(data[size : size + 8] == _SIGNATURE for size in SECTORS)


def is_dos(data: mmap | bytes) -> bool:
    """Tell a DOS table from the first sector of a file system. Source: msdos_partition."""
    return data[510:512] == b"\x55\xaa" and all(
        data[446 + 16 * number] in (0, 0x80) for number in range(4)
    )


def _gpt(data: mmap | bytes, sector: int) -> tuple[tuple[Partition, ...], str] | None:
    """The partitions by the first sound copy, and what is wrong with the other one."""
    last = len(data) // sector - 1
    first = _copy(data, sector, 1)
    if first is not None:
        return first, ""
    copy = _copy(data, sector, last)
    if copy is None:
        return None
    return copy, "the first copy of its GPT is damaged, and the one at its end is read"


def _copy(data: mmap | bytes, sector: int, place: int) -> tuple[Partition, ...] | None:
    """The partitions of one copy; None where the kernel would not take it. Source: is_gpt_valid."""
    if place < 1:
        return None
    raw = data[place * sector : (place + 1) * sector]
    if len(raw) < sector or raw[:8] != _SIGNATURE:
        return None
    length, checksum = struct.unpack_from("<II", raw, 12)
    (mine, _, first, last) = struct.unpack_from("<4Q", raw, 24)
    start, count, size, entries_checksum = struct.unpack_from("<QIII", raw, 72)
    if not 92 <= length <= sector or mine != place or size != _ENTRY or count > _MOST_ENTRIES:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:length]) != checksum or first > last:
        return None
    entries = data[start * sector : start * sector + count * size]
    if len(entries) < count * size or zlib.crc32(entries) != entries_checksum:
        return None
    return tuple(_entries(entries, sector))


def _entries(entries: bytes, sector: int) -> Iterator[Partition]:
    for number in range(len(entries) // _ENTRY):
        raw = entries[number * _ENTRY : (number + 1) * _ENTRY]
        first, last, attributes = struct.unpack_from("<3Q", raw, 32)
        if not any(raw[:16]) or last < first:
            continue
        yield Partition(
            number + 1, first * sector, (last - first + 1) * sector, guid(raw[:16]),
            guid(raw[16:32]), raw[56:].decode("utf-16-le", "replace").partition("\0")[0], attributes,
        )  # fmt: skip


def guid(raw: bytes) -> str:
    """A GUID as it is written, lower case."""
    first, second, third = struct.unpack_from("<IHH", raw)
    return f"{first:08x}-{second:04x}-{third:04x}-{raw[8:10].hex()}-{raw[10:16].hex()}"


def _dos(data: mmap | bytes) -> Iterator[Partition]:
    """Primary partitions, then the logical ones of each extended one."""
    (disk,) = struct.unpack_from("<I", data, 440)
    extended = []
    for number, (kind, start, count) in enumerate(_rows(data, 0), 1):
        if kind and count:
            yield _partition(number, kind, start, count, disk)
            extended += [start] if kind in _EXTENDED else []
    number = 5
    for base in extended[:1]:
        for kind, start, count in _logical(data, base):
            yield _partition(number, kind, start, count, disk)
            number += 1


def _rows(data: mmap | bytes, sector: int) -> list[tuple[int, int, int]]:
    """Type, start and length in sectors of the four entries of a table."""
    raw = data[sector * SECTOR : (sector + 1) * SECTOR]
    if raw[510:512] != b"\x55\xaa":
        return []
    return [struct.unpack_from("<4xB3xII", raw, 446 + 16 * number) for number in range(4)]


def _logical(data: mmap | bytes, base: int) -> Iterator[tuple[int, int, int]]:
    """The chain of tables in an extended partition. Source: parse_extended."""
    at, seen = base, set[int]()
    while at not in seen and len(seen) < _MOST_LOGICAL:
        seen.add(at)
        rows = _rows(data, at)
        for kind, start, count in rows:
            if kind and count and kind not in _EXTENDED:
                yield kind, at + start, count
        onward = [start for kind, start, count in rows if kind in _EXTENDED and count]
        if not onward:
            return
        at = base + onward[0]


def _partition(number: int, kind: int, start: int, count: int, disk: int) -> Partition:
    return Partition(
        number, start * SECTOR, count * SECTOR, f"{kind:#04x}", f"{disk:08x}-{number:02x}"
    )
