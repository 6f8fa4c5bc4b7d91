"""What a partition holds, and which of several is the root that its machine starts.

Source: UAPI group, Discoverable Partitions Specification; the kernel's init/main.c (the programs
that it tries); libblkid's superblocks (magic numbers).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from mmap import mmap

from minbuild.errors import ToolError, UsageError
from minbuild.facts.root.partitions import Partition, Table

ROOTS = {
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
USR = {
    "8484680c-9521-48c6-9c11-b0720656f69e": "amd64",
    "b0e01050-ee5f-4390-949a-9101b17104e9": "arm64",
    "beaec34b-8442-439b-a40b-984381ed097d": "riscv64",
}
"""Types of a partition that holds /usr alone."""
NO_AUTO = 1 << 63
"""Attribute of a partition that nobody mounts by itself."""
INITS = ("sbin/init", "etc/init", "bin/init", "bin/sh", "usr/sbin/init", "usr/bin/init",
         "usr/lib/systemd/systemd", "usr/bin/sh", "init")  # fmt: skip
RELEASES = ("etc/os-release", "usr/lib/os-release")


class Content(StrEnum):
    """What a partition holds, by its magic number."""

    EXT4 = "ext4"
    SQUASHFS = "squashfs"
    EROFS = "erofs"
    XFS = "xfs"
    BTRFS = "btrfs"
    FAT = "FAT"
    NTFS = "NTFS"
    ISO = "ISO 9660"
    F2FS = "F2FS"
    LUKS = "LUKS"
    LVM = "LVM"
    SWAP = "swap"
    UNKNOWN = "nothing that is known"


_MAGIC = (
    (1080, b"\x53\xef", Content.EXT4),
    (0, b"hsqs", Content.SQUASHFS),
    (1024, b"\xe2\xe1\xf5\xe0", Content.EROFS),
    (0, b"XFSB", Content.XFS),
    (0x10040, b"_BHRfS_M", Content.BTRFS),
    (0, b"LUKS\xba\xbe", Content.LUKS),
    (1024, b"\x10\x20\xf5\xf2", Content.F2FS),
    (3, b"NTFS    ", Content.NTFS),
    (54, b"FAT", Content.FAT),
    (82, b"FAT32", Content.FAT),
    (0x8001, b"CD001", Content.ISO),
    (4086, b"SWAPSPACE2", Content.SWAP),
    *((512 * sector, b"LABELONE", Content.LVM) for sector in range(4)),
)
MOUNTED = (Content.EXT4, Content.SQUASHFS, Content.EROFS, Content.XFS, Content.BTRFS, Content.F2FS)
"""What a root can be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A partition and what it holds."""

    partition: Partition
    content: Content

    def __str__(self) -> str:
        one = self.partition
        kind = ROOTS.get(one.kind)
        words = [
            f"{one.number}: {self.content}" if one.number else f"the whole disk: {self.content}"
        ]
        words += [repr(one.name)] if one.name else []
        words += [f"typed as root of {kind}"] if kind else []
        return ", ".join((*words, f"{one.size} bytes"))


def content(data: mmap | bytes, start: int) -> Content:
    """What begins at a byte of a disk."""
    for at, magic, kind in _MAGIC:
        if data[start + at : start + at + len(magic)] == magic:
            return kind
    return Content.UNKNOWN


def candidates(data: mmap | bytes, table: Table) -> tuple[Candidate, ...]:
    """Every partition with what it holds; the disk itself where that is a file system."""
    whole = Partition(0, 0, len(data))
    found = [Candidate(one, content(data, one.start)) for one in table.partitions]
    if content(data, 0) in MOUNTED:
        found.insert(0, Candidate(whole, content(data, 0)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Choice:
    """The partition that is examined, and why."""

    chosen: Candidate
    why: str
    others: tuple[Candidate, ...]
    """Those that hold a file system and are not examined."""


def choose(
    found: Sequence[Candidate],
    where: str,
    *,
    asked: int | None,
    arch: str,
    named: Callable[[], Sequence[Candidate]],
    holds: Callable[[Candidate], bool],
) -> Choice:
    """Say which partition holds the root that the disk's machine starts.

    `asked`: a number that the user gave. `named`: those that a boot loader on the disk gives the
    kernel as its root. `holds`: whether a program that a kernel starts first, or
    an os-release, lies in a file system.
    Raises: ToolError when there is none, UsageError when several may be.
    """
    if asked is not None:
        return _asked(found, where, asked)
    usable = [one for one in found if one.content in MOUNTED]
    usable = [one for one in usable if one.partition.kind not in USR] or usable
    if len(usable) > 1:
        told = [one for one in named() if one in usable]
        if len(told) == 1:
            return _only(told, usable, where, "a boot loader's root= names it")
    typed = [
        one for one in usable
        if one.partition.kind in ROOTS and not one.partition.attributes & NO_AUTO
    ]  # fmt: skip
    own = [one for one in typed if ROOTS[one.partition.kind] == arch]
    if typed:
        return _only(own or typed, usable, where, "its type is that of a root")
    if len(usable) == 1:
        return Choice(usable[0], "it is the only file system", ())
    if not usable:
        raise ToolError(
            "the disk has no file system that holds a root", where=where,
            fix=f"name another image; what it holds: {_listed(found)}",
        )  # fmt: skip
    bootable = [one for one in usable if holds(one)]
    return _only(bootable or usable, usable, where, "it holds an init or an os-release")


def _asked(found: Sequence[Candidate], where: str, asked: int) -> Choice:
    for one in found:
        if one.partition.number == asked:
            if one.content not in MOUNTED:
                break
            others = tuple(each for each in found if each.content in MOUNTED and each is not one)
            return Choice(one, "it was asked for", others)
    raise UsageError(
        f"partition {asked} of the disk holds no file system that is read", where=where,
        fix=f"name one of its partitions: {_listed(found)}",
    )  # fmt: skip


def _only(fit: Sequence[Candidate], usable: Sequence[Candidate], where: str, why: str) -> Choice:
    if len(fit) == 1:
        return Choice(fit[0], why, tuple(one for one in usable if one is not fit[0]))
    raise UsageError(
        f"several partitions of the disk may be the root: {_listed(fit)}", where=where,
        fix=f"name one: --partition {fit[0].partition.number}",
    )  # fmt: skip


def _listed(found: Sequence[Candidate]) -> str:
    return "; ".join(map(str, found)) or "nothing"
