"""Contents of partitions, and the choice of the one with the root.

Source: UAPI group, Discoverable Partitions Specification; the kernel's init/main.c (the programs
that it tries); libblkid's superblocks (magic numbers).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap

from minbuild.errors import MinbuildError, ToolError, UsageError
from minbuild.formats.ext4 import Ext4
from minbuild.formats.filesystem import find_inode
from minbuild.formats.magic import PARTITION_CONTENTS, ROOT_FILE_SYSTEMS, Format, detect_format
from minbuild.formats.partition_table import (
    DiskPartition,
    PartitionTable,
    format_guid,
    read_partition_table,
)
from minbuild.formats.uki import read_uki
from minbuild.formats.vfat import FatError, FatFile, FatFileSystem

ROOT_TYPES = {
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "amd64",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "arm64",
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224": "riscv64",
    "44479540-f297-41b2-9af7-d131d5f0458a": "i386",
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3": "armhf",
    "5eead9a9-fe09-4a1e-a1d7-520d00531306": "s390x",
    "c31c45e6-3f39-412e-80fb-4809c4980599": "ppc64el",
    "77055800-792c-4f94-b39a-98c91b762bb6": "loong64",
}
"""Types of a root partition, by the architecture of Debian's that it is for."""
USR_TYPES = {
    "8484680c-9521-48c6-9c11-b0720656f69e": "amd64",
    "b0e01050-ee5f-4390-949a-9101b17104e9": "arm64",
    "beaec34b-8442-439b-a40b-984381ed097d": "riscv64",
}
"""Types of a partition that holds /usr alone."""
NO_AUTO_MOUNT = 1 << 63
"""Attribute of a partition that nobody mounts by itself."""
INIT_PATHS = ("sbin/init", "etc/init", "bin/init", "bin/sh", "usr/sbin/init", "usr/bin/init",
         "usr/lib/systemd/systemd", "usr/bin/sh", "init")  # fmt: skip
OS_RELEASE_PATHS = ("etc/os-release", "usr/lib/os-release")


@dataclass(frozen=True, slots=True)
class RootCandidate:
    """A partition and what it holds."""

    partition: DiskPartition
    content: Format | None
    """None: no magic number is known there."""

    def __str__(self) -> str:
        partition = self.partition
        kind = ROOT_TYPES.get(partition.kind)
        content = self.content or "nothing that is known"
        parts = [
            f"{partition.number}: {content}" if partition.number else f"the whole disk: {content}"
        ]
        parts += [repr(partition.name)] if partition.name else []
        parts += [f"typed as root of {kind}"] if kind else []
        return ", ".join((*parts, f"{partition.size} bytes"))


def find_candidates(data: mmap | bytes, table: PartitionTable) -> tuple[RootCandidate, ...]:
    """Every partition with what it holds; the disk itself where that is a file system."""
    whole_disk = DiskPartition(0, 0, len(data))
    candidates = [
        RootCandidate(one, detect_format(data, PARTITION_CONTENTS, one.start))
        for one in table.partitions
    ]
    content = detect_format(data, PARTITION_CONTENTS)
    if content in ROOT_FILE_SYSTEMS:
        candidates.insert(0, RootCandidate(whole_disk, content))
    return tuple(candidates)


@dataclass(frozen=True, slots=True)
class PartitionChoice:
    """The partition that is examined, and why."""

    candidate: RootCandidate
    reason: str
    others: tuple[RootCandidate, ...]
    """Those that hold a file system and are not examined."""


def choose_partition(
    candidates: Sequence[RootCandidate],
    where: str,
    *,
    number: int | None,
    arch: str,
    named_by_loader: Callable[[], Sequence[RootCandidate]],
    is_bootable: Callable[[RootCandidate], bool],
) -> PartitionChoice:
    """Say which partition holds the root that the disk's machine starts.

    `asked`: a number that the user gave. `named`: those that a boot loader on the disk gives the
    kernel as its root. `holds`: whether a program that a kernel starts first, or
    an os-release, lies in a file system.
    Raises: ToolError when there is none, UsageError when several may be.
    """
    if number is not None:
        return _choose_by_number(candidates, where, number)
    usable = [one for one in candidates if one.content in ROOT_FILE_SYSTEMS]
    usable = [one for one in usable if one.partition.kind not in USR_TYPES] or usable
    named = [one for one in named_by_loader() if one in usable] if len(usable) > 1 else []
    if len(named) == 1:
        return _require_single(named, usable, where, "a boot loader's root= names it")
    typed = [
        one for one in usable
        if one.partition.kind in ROOT_TYPES and not one.partition.attributes & NO_AUTO_MOUNT
    ]  # fmt: skip
    same_arch = [one for one in typed if ROOT_TYPES[one.partition.kind] == arch]
    if typed:
        return _require_single(same_arch or typed, usable, where, "its type is that of a root")
    if len(usable) == 1:
        return PartitionChoice(usable[0], "it is the only file system", ())
    if not usable:
        raise ToolError(
            "the disk has no file system that holds a root", where=where,
            fix=f"name another image; what it holds: {_describe(candidates)}",
        )  # fmt: skip
    bootable = [one for one in usable if is_bootable(one)]
    return _require_single(bootable or usable, usable, where, "it holds an init or an os-release")


def _choose_by_number(
    candidates: Sequence[RootCandidate], where: str, number: int
) -> PartitionChoice:
    for candidate in candidates:
        if candidate.partition.number == number:
            if candidate.content not in ROOT_FILE_SYSTEMS:
                break
            others = tuple(
                each
                for each in candidates
                if each.content in ROOT_FILE_SYSTEMS and each is not candidate
            )
            return PartitionChoice(candidate, "it was asked for", others)
    raise UsageError(
        f"partition {number} of the disk holds no file system that is read", where=where,
        fix=f"name one of its partitions: {_describe(candidates)}",
    )  # fmt: skip


def _require_single(
    matches: Sequence[RootCandidate], usable: Sequence[RootCandidate], where: str, reason: str
) -> PartitionChoice:
    if len(matches) == 1:
        return PartitionChoice(
            matches[0], reason, tuple(one for one in usable if one is not matches[0])
        )
    raise UsageError(
        f"several partitions of the disk may be the root: {_describe(matches)}", where=where,
        fix=f"name one: --partition {matches[0].partition.number}",
    )  # fmt: skip


def _describe(candidates: Sequence[RootCandidate]) -> str:
    return "; ".join(map(str, candidates)) or "nothing"


LOADER_CONFIGS = tuple(
    f"{above}{name}"
    for above in ("", "boot/")
    for name in ("grub/grub.cfg", "grub2/grub.cfg", "extlinux/extlinux.conf")
)
"""Files of boot loaders that name a root."""
MAX_CONFIG_SIZE = 1 << 20
"""Bytes of such a file that are looked at."""
_ROOT_OPTION = re.compile(rb"""(?:^|[\s"'])root=["']?([^\s"']+)""", re.MULTILINE)
_DEVICE_PATH = re.compile(
    r"/dev/(?:(?:[hsv]|xv)d[a-z]+|(?:nvme\d+n\d+|mmcblk\d+)(?:p(?=\d))?)(\d*)"
)
_UDEV_LINKS = {"/dev/disk/by-partuuid/": "PARTUUID=", "/dev/disk/by-uuid/": "UUID=",
       "/dev/disk/by-label/": "LABEL=", "/dev/disk/by-partlabel/": "PARTLABEL="}  # fmt: skip
_UUID_OFFSETS = {
    Format.EXT4: 1024 + 104,
    Format.XFS: 32,
    Format.BTRFS: 0x10020,
    Format.EROFS: 1072,
}
_LABEL_FIELDS = {Format.EXT4: (1024 + 120, 16), Format.XFS: (108, 12), Format.BTRFS: (0x1012B, 256),
           Format.EROFS: (1088, 16)}  # fmt: skip


def parse_root_options(text: bytes) -> set[str]:
    """The values of root= in a boot loader's configuration or on a command line."""
    return {
        word.decode("utf-8", "replace") for word in _ROOT_OPTION.findall(text[:MAX_CONFIG_SIZE])
    }


def read_root_options(
    data: mmap | bytes, candidates: Iterable[RootCandidate], where: str
) -> Iterator[str]:
    """The values of root= that boot loaders have on the ext4 file systems of a disk."""
    for candidate in candidates:
        if candidate.content is not Format.EXT4:
            continue
        try:
            fs = Ext4(data, candidate.partition.start, candidate.partition.size, where)
            for path in LOADER_CONFIGS:
                inode = find_inode(fs, path)
                if inode is not None and inode.type_bits == 0o10:
                    yield from parse_root_options(fs.read(inode, MAX_CONFIG_SIZE))
        except MinbuildError:
            continue  # whoever reads it as the root says what is wrong


def match_root_options(
    data: mmap | bytes, candidates: Sequence[RootCandidate], values: Iterable[str]
) -> tuple[RootCandidate, ...]:
    """The partitions that values of root= name, those of another disk left out."""
    matches: list[RootCandidate] = []
    for value in sorted(set(values)):
        for candidate in candidates:
            if candidate not in matches and _is_named_by(data, candidate, value):
                matches.append(candidate)
    return tuple(matches)


def _is_named_by(data: mmap | bytes, candidate: RootCandidate, word: str) -> bool:
    for directory, kind in _UDEV_LINKS.items():
        if word.startswith(directory):
            word = kind + word.removeprefix(directory)
    kind, equals, value = word.partition("=")
    if not equals:
        device = _DEVICE_PATH.fullmatch(word)
        return device is not None and int(device[1] or 0) == candidate.partition.number
    match kind:
        case "PARTUUID":
            return value.lower() == candidate.partition.uuid != ""
        case "PARTLABEL":
            return value == candidate.partition.name != ""
        case "UUID":
            return value.lower() == _read_uuid(data, candidate) != ""
        case "LABEL":
            return value == _read_label(data, candidate) != ""
        case _:
            return False


def _read_uuid(data: mmap | bytes, candidate: RootCandidate) -> str:
    """A file system's UUID, whose bytes stand in the order of its text."""
    if candidate.content not in _UUID_OFFSETS:
        return ""
    offset = candidate.partition.start + _UUID_OFFSETS[candidate.content]
    raw = data[offset : offset + 16]
    if len(raw) < 16:
        return ""
    first, second, third = raw[3::-1], raw[5:3:-1], raw[7:5:-1]
    return format_guid(first + second + third + raw[8:])


def _read_label(data: mmap | bytes, candidate: RootCandidate) -> str:
    if candidate.content not in _LABEL_FIELDS:
        return ""
    offset, size = _LABEL_FIELDS[candidate.content]
    start = candidate.partition.start + offset
    raw = data[start : start + size]
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


_CONFIG_NAMES = ("grub.cfg", "extlinux.conf", "syslinux.cfg", "cmdline.txt")
MAX_UKI_SIZE = 256 << 20
"""Bytes of the largest UKI that is looked at."""


def read_fat_root_options(data: mmap | bytes, where: str) -> Iterator[str]:
    """The values of root= in entries, configurations and UKIs; none of what cannot be read."""
    for partition in read_partition_table(data, where).partitions:
        if detect_format(data, PARTITION_CONTENTS, partition.start) is not Format.FAT:
            continue
        try:
            volume = FatFileSystem(data, partition.start, partition.size)
            for file in volume.list_files():
                yield from parse_root_options(_read_loader_file(volume, file, where))
        except FatError:
            continue


def _read_loader_file(volume: FatFileSystem, file: FatFile, where: str) -> bytes:
    name = file.path.rpartition("/")[2].lower()
    if name in _CONFIG_NAMES or (name.endswith(".conf") and file.is_below("loader", "entries")):
        return volume.read(file, MAX_CONFIG_SIZE)
    if name.endswith(".efi") and file.is_below("EFI", "Linux") and file.size <= MAX_UKI_SIZE:
        try:
            return " ".join(read_uki(volume.read(file, MAX_UKI_SIZE), where).cmdlines).encode()
        except MinbuildError:
            return b""
    return b""
