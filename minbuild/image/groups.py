"""Which files of a tree are packed together, and how.

Measured on a KVM host of 49 files, 18.6 MB (xz 5.8.1): one solid `xz --x86 -9e` 6,010,096 bytes;
these groups 6,013,000, packed in half the time on two cores. What decides:

- Modules are .ko.xz: stored as they are. Packing them again saves 0.06 %.
- One ELF file above 4 MB beside all the others costs 0.3 %; halves balanced by size cost 0.6 %,
  three groups 1.3 %. So only big files stand alone, and a small change leaves their segment.
- lc=4 and nice=96 beat preset 9e on code (-0.2 %) and are faster.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from minbuild.facts.types import Kind
from minbuild.manifest.types import Compression
from minbuild.paths import RootPath
from minbuild.tree.types import Node, Tree

BIG = 4 << 20
"""Bytes from which an ELF file is packed alone."""
FULL = 16 << 20
"""Bytes after which a group of smaller ELF files is closed."""
HEAD = 20
"""Bytes of a file's content that tell its group."""
PACKED = (b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
"""xz, zstd, gzip."""
MACHINES = {62: "amd64", 183: "arm64", 243: "riscv64"}
"""e_machine → Debian architecture. Source: elf.h."""
FILTERS = {"amd64": "--x86", "arm64": "--arm64", "riscv64": "--riscv"}
"""xz's filters for code that the kernel of that architecture undoes. Source: Linux,
lib/decompress_unxz.c."""


class Sort(StrEnum):
    DATA = "data"
    CODE = "code"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Group:
    """Files packed into one segment; sorted by path."""

    sort: Sort
    nodes: tuple[Node, ...]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(node.size for node in self.nodes)


def groups(tree: Tree, head: Callable[[str], bytes], arch: str) -> tuple[Group, ...]:
    """Split a tree, its kernel left out, into groups in the order in which they are unpacked.

    `head` gives the first bytes of the content with a digest. Directories come first, with links
    and data; hard links stay with their file.
    """
    nodes = [node for node in tree.nodes if node.path != tree.kernel]
    sorts = {
        node.path: sort_of(head(node.sha256), arch) for node in nodes if node.kind is Kind.FILE
    }
    by_sort: dict[Sort, list[Node]] = {sort: [] for sort in Sort}
    for node in nodes:
        path = RootPath(node.target) if node.kind is Kind.HARDLINK else node.path
        by_sort[sorts.get(path, Sort.DATA)].append(node)
    found = [Group(Sort.DATA, tuple(by_sort[Sort.DATA]))]
    if by_sort[Sort.STORED]:
        found.append(Group(Sort.STORED, tuple(by_sort[Sort.STORED])))
    found += [Group(Sort.CODE, part) for part in _code(by_sort[Sort.CODE])]
    return tuple(found)


def sort_of(start: bytes, arch: str) -> Sort:
    """Tell by a file's first bytes how it packs best: a relocatable object is data to a filter."""
    if start.startswith(PACKED):
        return Sort.STORED
    if start.startswith(b"\x7fELF") and len(start) >= HEAD:
        kind, machine = struct.unpack_from("<HH", start, 16)
        if kind in {2, 3} and MACHINES.get(machine) == arch:
            return Sort.CODE
    return Sort.DATA


def settings(group: Group, size: int, compression: Compression, arch: str) -> tuple[str, ...]:
    """The packer's arguments for a group whose archive has `size` bytes; none: stored as it is."""
    if compression is Compression.NONE or group.sort is Sort.STORED:
        return ()
    if compression is Compression.ZSTD:
        return ("--quiet", "--single-thread", "-9", "--no-check", "--stdout")
    tuned = f"mode=normal,mf=bt4,nice=96,lc=4,dict={dictionary(size)}"
    code = group.sort is Sort.CODE
    filters = (FILTERS[arch],) if code else ()
    lzma2 = f"--lzma2={tuned}" if code else f"--lzma2=preset=9e,pb=0,dict={dictionary(size)}"
    return ("--format=xz", "--check=crc32", "--threads=1", "--stdout", *filters, lzma2)


def dictionary(size: int) -> int:
    """The least dictionary that holds all of `size` bytes: the kernel takes that much memory.

    Source: xz file format 5.3.1: 2^n or 2^n + 2^(n-1).
    """
    found = 1 << 16
    while found < size:
        if found + found // 2 >= size:
            return found + found // 2
        found *= 2
    return found


def _code(nodes: Sequence[Node]) -> Iterator[tuple[Node, ...]]:
    """Big files alone, with their hard links; all others together while they fit."""
    links: dict[str, list[Node]] = {}
    for node in nodes:
        links.setdefault(node.target or node.path, []).append(node)
    together: list[Node] = []
    for family in links.values():
        size = sum(node.size for node in family)
        if size >= BIG:
            yield tuple(family)
            continue
        if together and sum(node.size for node in together) + size > FULL:
            yield tuple(together)
            together = []
        together += family
    if together:
        yield tuple(together)
