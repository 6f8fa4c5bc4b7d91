"""Which partition a kernel's root= names, and where boot loaders on ext4 write it.

Source: the kernel's block/early-lookup.c; systemd.mount(5), device specifiers; Boot Loader
Specification; grub and extlinux as distributions set them up.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from mmap import mmap

from minbuild.errors import MinbuildError
from minbuild.facts.root.ext4 import Ext4
from minbuild.facts.root.filesystems import Candidate, Content
from minbuild.facts.root.partitions import guid
from minbuild.facts.root.volume import find

CONFIGS = tuple(
    f"{above}{name}"
    for above in ("", "boot/")
    for name in ("grub/grub.cfg", "grub2/grub.cfg", "extlinux/extlinux.conf")
)
"""Files of boot loaders that name a root."""
MOST = 1 << 20
"""Bytes of such a file that are looked at."""
_ROOT = re.compile(rb"""(?:^|[\s"'])root=["']?([^\s"']+)""", re.MULTILINE)
_DEVICE = re.compile(r"/dev/(?:(?:[hsv]|xv)d[a-z]+|(?:nvme\d+n\d+|mmcblk\d+)(?:p(?=\d))?)(\d*)")
_BY = {"/dev/disk/by-partuuid/": "PARTUUID=", "/dev/disk/by-uuid/": "UUID=",
       "/dev/disk/by-label/": "LABEL=", "/dev/disk/by-partlabel/": "PARTLABEL="}  # fmt: skip
_UUIDS = {Content.EXT4: 1024 + 104, Content.XFS: 32, Content.BTRFS: 0x10020, Content.EROFS: 1072}
_LABELS = {Content.EXT4: (1024 + 120, 16), Content.XFS: (108, 12), Content.BTRFS: (0x1012B, 256),
           Content.EROFS: (1088, 16)}  # fmt: skip


def words_of(text: bytes) -> set[str]:
    """The values of root= in a boot loader's configuration or on a command line."""
    return {word.decode("utf-8", "replace") for word in _ROOT.findall(text[:MOST])}


def written(data: mmap | bytes, found: Iterable[Candidate], where: str) -> Iterator[str]:
    """The values of root= that boot loaders have on the ext4 file systems of a disk."""
    for one in found:
        if one.content is not Content.EXT4:
            continue
        try:
            fs = Ext4(data, one.partition.start, one.partition.size, where)
            for path in CONFIGS:
                inode = find(fs, path)
                if inode is not None and inode.kind == 0o10:
                    yield from words_of(fs.read(inode, MOST))
        except MinbuildError:
            continue  # whoever reads it as the root says what is wrong


def meant(
    data: mmap | bytes, found: Sequence[Candidate], words: Iterable[str]
) -> tuple[Candidate, ...]:
    """The partitions that values of root= name, those of another disk left out."""
    taken: list[Candidate] = []
    for word in sorted(set(words)):
        for one in found:
            if one not in taken and _names(data, one, word):
                taken.append(one)
    return tuple(taken)


def _names(data: mmap | bytes, one: Candidate, word: str) -> bool:
    for directory, kind in _BY.items():
        if word.startswith(directory):
            word = kind + word.removeprefix(directory)
    kind, equals, value = word.partition("=")
    if not equals:
        device = _DEVICE.fullmatch(word)
        return device is not None and int(device[1] or 0) == one.partition.number
    match kind:
        case "PARTUUID":
            return value.lower() == one.partition.uuid != ""
        case "PARTLABEL":
            return value == one.partition.name != ""
        case "UUID":
            return value.lower() == _uuid(data, one) != ""
        case "LABEL":
            return value == _label(data, one) != ""
        case _:
            return False


def _uuid(data: mmap | bytes, one: Candidate) -> str:
    """A file system's UUID, whose bytes stand in the order of its text."""
    if one.content not in _UUIDS:
        return ""
    at = one.partition.start + _UUIDS[one.content]
    raw = data[at : at + 16]
    if len(raw) < 16:
        return ""
    first, second, third = raw[3::-1], raw[5:3:-1], raw[7:5:-1]
    return guid(first + second + third + raw[8:])


def _label(data: mmap | bytes, one: Candidate) -> str:
    if one.content not in _LABELS:
        return ""
    at, size = _LABELS[one.content]
    start = one.partition.start + at
    raw = data[start : start + size]
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
