"""What boot loaders and UKIs on a disk's FAT file systems name as the root."""

import mmap
from collections.abc import Iterator

from minbuild.errors import MinbuildError
from minbuild.facts.root.filesystems import Content, content
from minbuild.facts.root.named import MOST, words_of
from minbuild.facts.root.partitions import read_table
from minbuild.lab.uki import read_uki
from minbuild.subject.fat import Damage, Fat, File

_NAMES = ("grub.cfg", "extlinux.conf", "syslinux.cfg", "cmdline.txt")
LARGEST = 256 << 20
"""Bytes of the largest UKI that is looked at."""


def root_words(data: mmap.mmap | bytes, where: str) -> Iterator[str]:
    """The values of root= in entries, configurations and UKIs; none of what cannot be read."""
    for one in read_table(data, where).partitions:
        if content(data, one.start) is not Content.FAT:
            continue
        try:
            volume = Fat(data, one.start, one.size)
            for file in volume.files():
                yield from words_of(_words(volume, file, where))
        except Damage:
            continue


def _words(volume: Fat, file: File, where: str) -> bytes:
    name = file.path.rpartition("/")[2].lower()
    if name in _NAMES or (name.endswith(".conf") and file.lies_below("loader", "entries")):
        return volume.read(file, MOST)
    if name.endswith(".efi") and file.lies_below("EFI", "Linux") and file.size <= LARGEST:
        try:
            return " ".join(read_uki(volume.read(file, LARGEST), where).cmdlines).encode()
        except MinbuildError:
            return b""
    return b""
