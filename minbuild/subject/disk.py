"""What a disk starts by UEFI, and everything on it that is no part of that.

Source: UEFI 2.10, 5.3 and 13.3; UAPI group, Discoverable Partitions Specification.
"""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minbuild.errors import UsageError
from minbuild.facts.root.partitions import Partition, Table, read_table
from minbuild.image import bios
from minbuild.lab.pe import read_sections
from minbuild.lab.uki import read_uki
from minbuild.subject.esp import Started, Unclear, started
from minbuild.subject.fat import Damage, Fat, NoFat

CODE = 440
"""Bytes of the first sector that a BIOS runs."""
TABLE = 128 * 128
"""Bytes of a GPT's entries."""
SEARCHED = 64 << 20
"""Bytes outside of partitions that are looked at; more are told as they are."""
CD_SECTOR, BOOTABLE = 2048, 0x88
Buffer = bytes | mmap.mmap


class NoUki(UsageError):
    """The disk is sound, and starts no UKI."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a disk starts."""

    uki: bytes
    others: Mapping[str, int]
    """Bytes of what else is on the disk, by a name for it; empty where there is nothing."""


def boot_file(data: Buffer, where: str) -> bytes:
    """The UKI that a machine starts from a disk. Raises: as `read_boot`."""
    return read_boot(data, where).uki


def read_boot(data: Buffer, where: str) -> Boot:
    """The UKI that a machine starts from a disk, and what lies beside it.

    Raises: NoUki; UsageError for a damaged disk, and for one that may start several things.
    """
    table = read_table(data, where)
    found = [
        (partition, boot)
        for partition in _systems(data, table)
        if (boot := _started(data, partition, where)) is not None
    ]
    if not found:
        raise _no_uki("it starts no UKI", where)
    if len(found) > 1:
        raise _unfit("it has several partitions that a machine may start", where)
    ((own, boot),) = found
    _require_grub(table, boot, where)
    _require_catalog(data, own, where)
    others = {_told(name): size for name, size in boot.others.items()}
    for one in table.partitions:
        if one is not own:
            others[f"partition {one.number} ({_told(one.name or one.kind)})"] = one.size
    others |= dict(_outside(data, table))
    return Boot(boot.uki, others)


def _systems(data: Buffer, table: Table) -> list[Partition]:
    """Partitions that firmware looks into: all, whatever their type; a disk without any may be one.

    Source: EDK II, UefiBootManagerLib, BmExpandMediaDevicePath: every file system of a disk.
    """
    return [*table.partitions] or [Partition(0, 0, len(data))]


def _started(data: Buffer, partition: Partition, where: str) -> Started | None:
    try:
        return started(Fat(data, partition.start, partition.size))
    except NoFat:
        return None
    except Damage as error:
        raise _unfit(str(error), where) from error
    except Unclear as error:
        raise UsageError(
            f"the disk cannot be measured: {_told(str(error))}", where=where,
            fix="name the UKI itself, or leave on the ESP only what the machine starts",
        ) from error  # fmt: skip


def _require_grub(table: Table, boot: Started, where: str) -> None:
    """A BIOS must start the same host. Raises: UsageError."""
    if not any(one.kind == bios.TYPE for one in table.partitions):
        return
    folder, _, name = boot.path.rpartition("/")
    config = boot.configs.get(f"{folder}/{bios.SETTINGS}".lower(), b"").decode("utf-8", "replace")
    spans: dict[str, tuple[int, int]] = {}
    for one in read_sections(boot.uki, where):
        spans.setdefault(one.name, (one.start, len(one.data)))
    cmdline = read_uki(boot.uki, where).cmdlines[0]
    if len(boot.configs) != 1 or not bios.is_of(config, name, spans, cmdline):
        raise _unfit(
            "a BIOS would start another thing than UEFI does, or none that is known", where
        )


def _require_catalog(data: Buffer, own: Partition, where: str) -> None:
    """What a CD starts must be the same. Raises: UsageError. Source: UEFI 2.10, 13.3.2.1; El Torito."""
    mark = CD_SECTOR * 17
    if data[mark : mark + 30] != b"\0CD001\x01EL TORITO SPECIFICATION":
        return
    (block,) = struct.unpack_from("<I", data, mark + 0x47)
    catalog = bytes(data[block * CD_SECTOR : (block + 1) * CD_SECTOR]).ljust(CD_SECTOR, b"\0")
    platform, starts = catalog[1], []
    for at in range(32, CD_SECTOR, 32):
        entry = catalog[at : at + 32]
        if entry[0] in (0x90, 0x91):
            platform = entry[1]
        elif entry[0] == BOOTABLE:
            (first,) = struct.unpack_from("<I", entry, 8)
            starts.append((platform, first * CD_SECTOR))
    if any(start != (0xEF, own.start) for start in starts):
        raise _unfit("a CD of it would start another thing than a disk does", where)


def _outside(data: Buffer, table: Table) -> Iterator[tuple[str, int]]:
    """What lies outside of partitions, the tables apart."""
    if not table.partitions:
        return
    if any(data[:CODE]):
        yield "boot code", CODE
    head = 2 * table.sector + TABLE if table.label == "gpt" else table.sector
    tail = len(data) - (table.sector + TABLE if table.label == "gpt" else 0)
    held = sorted((one.start, one.start + one.size) for one in table.partitions)
    end, found, left = head, 0, SEARCHED
    for start, stop in (*held, (tail, tail)):
        gap = max(0, start - end)
        looked = min(gap, left)
        left -= looked
        if gap > looked or data[end : end + looked].strip(b"\0"):
            found += gap
        end = max(end, stop)
    if found:
        yield "space outside of partitions", found


def _told(name: str) -> str:
    """A name that a stranger gave, as text for a terminal."""
    return re.sub(r"[^\x20-\x7e]", "?", name)


def _no_uki(why: str, where: str) -> UsageError:
    error = _unfit(why, where)
    return NoUki(error.what, where=error.where, fix=error.fix)


def _unfit(why: str, where: str) -> UsageError:
    return UsageError(
        f"the disk cannot be measured: {why}", where=where,
        fix="name a disk that starts a UKI, or mount it and name its root directory",
    )  # fmt: skip
