"""The UKI that UEFI starts from a disk, and everything else on the disk.

Source: UEFI 2.10, 5.3 and 13.3; UAPI group, Discoverable Partitions Specification.
"""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.errors import MinbuildError, UsageError
from minbuild.formats import magic
from minbuild.formats.partition_table import DiskPartition, PartitionTable, read_partition_table
from minbuild.formats.pe import read_section_names, read_sections
from minbuild.formats.uki import read_uki
from minbuild.formats.vfat import FatError, FatFile, FatFileSystem, NotFat
from minbuild.formats.xen_image import is_xen_image
from minbuild.image import grub

DEFAULT_ARCHES = ("x64", "ia32", "aa64", "arm", "riscv64", "riscv32", "loongarch64")
"""BOOTX64.EFI and the like: one for each kind of machine. Source: UEFI 2.10, 3.5.1.1."""
STUB_DIRECTORIES = (("loader", "addons"), ("loader", "credentials"), ("loader", "extensions"))
STUB_EXTRA_SUFFIX = ".extra.d"
LOADER_DIRECTORIES = (("loader", "entries"), ("loader", "keys"))
MAX_HEADER = 1 << 18
"""Bytes of a program that hold the table of its sections."""
MAX_SECTION_TABLE = (1 << 16) + 8192
"""Most bytes of a PE header with all of its sections."""
MAX_UKI_SIZE = 2 << 30


class AmbiguousBoot(Exception):
    """What the machine starts is not one measured thing, with the reason."""


@dataclass(frozen=True, slots=True)
class StartedUki:
    """A UKI that a machine starts from an ESP."""

    path: str
    uki: bytes
    others: Mapping[str, int]
    """Bytes of every other file on the ESP, by its path."""
    configs: Mapping[str, bytes]
    """GRUB's settings, by their path in lower case."""


def find_started_uki(volume: FatFileSystem) -> StartedUki | None:
    """The UKI that a machine starts; None when there is none on the ESP.

    Raises: MalformedFile; Unclear when the ESP holds several things that a machine might run.
    """
    files = volume.list_files()
    programs = [one for one in files if volume.read(one, 2) == magic.PE]
    ukis = [one for one in programs if _is_uki(volume, one)]
    if not ukis:
        return None
    default = _find_default(programs)
    uki = default if default in ukis else ukis[0]
    loader = default if default is not None and default not in ukis else None
    _require_single_program(uki, loader, programs, volume)
    stub_inputs = _list_stub_inputs(files, by_loader=loader is not None)
    if stub_inputs:
        raise AmbiguousBoot(f"what {uki.path} starts also reads {', '.join(stub_inputs[:3])}")
    if uki.size > MAX_UKI_SIZE:
        raise AmbiguousBoot(f"{uki.path} is larger than what is read")
    return StartedUki(
        uki.path,
        volume.read(uki, MAX_UKI_SIZE),
        {one.path: one.size for one in files if one is not uki},
        {
            one.path.lower(): volume.read(one, MAX_HEADER)
            for one in files
            if one.path.lower().endswith("grub.cfg")
        },
    )


def _find_default(programs: Sequence[FatFile]) -> FatFile | None:
    """What firmware starts of itself. Raises: Unclear when that depends on the machine."""
    defaults = [
        one
        for one in programs
        for name in DEFAULT_ARCHES
        if one.is_at("efi", "boot", f"boot{name}.efi")
    ]
    if len(defaults) > 1:
        names = " and ".join(one.path for one in defaults)
        raise AmbiguousBoot(f"{names} are for two kinds of machine, and each may be another host")
    return defaults[0] if defaults else None


def _require_single_program(
    uki: FatFile, loader: FatFile | None, programs: Sequence[FatFile], volume: FatFileSystem
) -> None:
    """Nothing else may be started: not by the firmware's own entries, nor by a boot loader."""
    loader_data = volume.read(loader, MAX_UKI_SIZE) if loader is not None else b""
    others = [
        one.path
        for one in programs
        if one is not uki
        and one is not loader
        and not (
            loader is not None
            and one.size == loader.size
            and volume.read(one, MAX_UKI_SIZE) == loader_data
        )
    ]
    if others:
        raise AmbiguousBoot(
            f"beside {uki.path} there are other programs that a machine may start: "
            f"{', '.join(sorted(others)[:3])}"
        )


def _list_stub_inputs(files: Sequence[FatFile], *, by_loader: bool) -> list[str]:
    directories = (*STUB_DIRECTORIES, *(LOADER_DIRECTORIES if by_loader else ()))
    return sorted(
        one.path
        for one in files
        if any(one.is_below(*directory) for directory in directories)
        or any(name.endswith(STUB_EXTRA_SUFFIX) for names in one.names[:-1] for name in names)
    )


def _is_uki(volume: FatFileSystem, program: FatFile) -> bool:
    """Told by the table of sections, wherever in the file its header lies."""
    head = volume.read(program, MAX_HEADER)
    offset = int.from_bytes(head[0x3C:0x40], "little")
    if MAX_HEADER - MAX_SECTION_TABLE < offset < program.size:
        head = volume.read(program, offset + MAX_SECTION_TABLE)
    try:
        names = read_section_names(head, "")
        return ".linux" in names or is_xen_image(names)
    except MinbuildError:
        return False


BOOT_CODE_SIZE = 440
"""Bytes of the first sector that a BIOS runs."""
GPT_ENTRIES_SIZE = 128 * 128
"""Bytes of a GPT's entries."""
MAX_SEARCHED = 64 << 20
"""Bytes outside of partitions that are looked at; more are told as they are."""
CD_SECTOR, BOOTABLE_ENTRY = 2048, 0x88
Buffer = bytes | mmap.mmap


class NoUkiOnDisk(UsageError):
    """The disk is sound, and starts no UKI."""


@dataclass(frozen=True, slots=True)
class DiskBoot:
    """What a disk starts."""

    uki: bytes
    others: Mapping[str, int]
    """Bytes of what else is on the disk, by a name for it; empty where there is nothing."""


def find_boot_uki(data: Buffer, where: str) -> bytes:
    """The UKI that a machine starts from a disk. Raises: as `read_boot`."""
    return read_disk_boot(data, where).uki


def read_disk_boot(data: Buffer, where: str) -> DiskBoot:
    """The UKI that a machine starts from a disk, and what lies beside it.

    Raises: NoUki; UsageError for a damaged disk, and for one that may start several things.
    """
    table = read_partition_table(data, where)
    boots = [
        (partition, boot)
        for partition in _list_candidates(data, table)
        if (boot := _read_esp(data, partition, where)) is not None
    ]
    if not boots:
        raise _no_uki_error("it starts no UKI", where)
    if len(boots) > 1:
        raise _unmeasurable_error("it has several partitions that a machine may start", where)
    ((boot_partition, boot),) = boots
    _require_same_grub(table, boot, where)
    _require_same_catalog(data, boot_partition, where)
    others = {_to_ascii(name): size for name, size in boot.others.items()}
    for other_partition in table.partitions:
        if other_partition is not boot_partition:
            others[
                f"partition {other_partition.number} ({_to_ascii(other_partition.name or other_partition.kind)})"
            ] = other_partition.size
    others |= dict(_list_unpartitioned(data, table))
    return DiskBoot(boot.uki, others)


def _list_candidates(data: Buffer, table: PartitionTable) -> list[DiskPartition]:
    """Partitions that firmware looks into: all, whatever their type; a disk without any may be one.

    Source: EDK II, UefiBootManagerLib, BmExpandMediaDevicePath: every file system of a disk.
    """
    return [*table.partitions] or [DiskPartition(0, 0, len(data))]


def _read_esp(data: Buffer, partition: DiskPartition, where: str) -> StartedUki | None:
    try:
        return find_started_uki(FatFileSystem(data, partition.start, partition.size))
    except NotFat:
        return None
    except FatError as error:
        raise _unmeasurable_error(str(error), where) from error
    except AmbiguousBoot as error:
        raise UsageError(
            f"the disk cannot be measured: {_to_ascii(str(error))}", where=where,
            fix="name the UKI itself, or leave on the ESP only what the machine starts",
        ) from error  # fmt: skip


def _require_same_grub(table: PartitionTable, boot: StartedUki, where: str) -> None:
    """A BIOS must start the same host. Raises: UsageError."""
    if not any(one.kind == grub.BIOS_PARTITION_TYPE for one in table.partitions):
        return
    folder, _, name = boot.path.rpartition("/")
    config = boot.configs.get(f"{folder}/{grub.GRUB_CFG}".lower(), b"").decode("utf-8", "replace")
    spans: dict[str, tuple[int, int]] = {}
    for section in read_sections(boot.uki, where):
        spans.setdefault(section.name, (section.start, len(section.data)))
    cmdline = read_uki(boot.uki, where).cmdlines[0]
    if len(boot.configs) != 1 or not grub.is_grub_config_of(config, name, spans, cmdline):
        raise _unmeasurable_error(
            "a BIOS would start another thing than UEFI does, or none that is known", where
        )


def _require_same_catalog(data: Buffer, boot_partition: DiskPartition, where: str) -> None:
    """What a CD starts must be the same. Raises: UsageError. Source: UEFI 2.10, 13.3.2.1; El Torito."""
    record_offset = CD_SECTOR * 17
    if data[record_offset : record_offset + 30] != b"\0CD001\x01EL TORITO SPECIFICATION":
        return
    (block,) = struct.unpack_from("<I", data, record_offset + 0x47)
    catalog = bytes(data[block * CD_SECTOR : (block + 1) * CD_SECTOR]).ljust(CD_SECTOR, b"\0")
    platform, starts = catalog[1], []
    for offset in range(32, CD_SECTOR, 32):
        entry = catalog[offset : offset + 32]
        if entry[0] in (0x90, 0x91):
            platform = entry[1]
        elif entry[0] == BOOTABLE_ENTRY:
            (first,) = struct.unpack_from("<I", entry, 8)
            starts.append((platform, first * CD_SECTOR))
    if any(start != (0xEF, boot_partition.start) for start in starts):
        raise _unmeasurable_error("a CD of it would start another thing than a disk does", where)


def _list_unpartitioned(data: Buffer, table: PartitionTable) -> Iterator[tuple[str, int]]:
    """What lies outside of partitions, the tables apart."""
    if not table.partitions:
        return
    if any(data[:BOOT_CODE_SIZE]):
        yield "boot code", BOOT_CODE_SIZE
    head = 2 * table.sector_size + GPT_ENTRIES_SIZE if table.label == "gpt" else table.sector_size
    tail = len(data) - (table.sector_size + GPT_ENTRIES_SIZE if table.label == "gpt" else 0)
    spans = sorted((one.start, one.start + one.size) for one in table.partitions)
    end, used, remaining = head, 0, MAX_SEARCHED
    for start, stop in (*spans, (tail, tail)):
        gap = max(0, start - end)
        checked_size = min(gap, remaining)
        remaining -= checked_size
        if gap > checked_size or data[end : end + checked_size] != bytes(checked_size):
            used += gap
        end = max(end, stop)
    if used:
        yield "space outside of partitions", used


def _to_ascii(name: str) -> str:
    """A name that a stranger gave, as text for a terminal."""
    return re.sub(r"[^\x20-\x7e]", "?", name)


def _no_uki_error(reason: str, where: str) -> UsageError:
    error = _unmeasurable_error(reason, where)
    return NoUkiOnDisk(error.what, where=error.where, fix=error.fix)


def _unmeasurable_error(reason: str, where: str) -> UsageError:
    return UsageError(
        f"the disk cannot be measured: {reason}", where=where,
        fix="name a disk that starts a UKI, or mount it and name its root directory",
    )  # fmt: skip
