"""A root on a disk image: the partition that boots, and its file system, read without mounting it."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.root import filesystems
from minbuild.facts.root.ext4 import LARGEST, ROOT, Ext4, Inode
from minbuild.facts.root.filesystems import INITS, RELEASES, Candidate, Content
from minbuild.facts.root.images import FREE, RATIO, Format, format_of
from minbuild.facts.root.named import meant, written
from minbuild.facts.root.partitions import Partition, has_signature, read_table
from minbuild.facts.root.tarball import Unpacked, damaged, opened, unpack
from minbuild.facts.root.types import Found, Readers, Source, place
from minbuild.facts.types import Kind
from minbuild.paths import spelled

_KINDS = {0o10: Kind.FILE, 0o12: Kind.LINK, 0o04: Kind.DIRECTORY}
MOST_ENTRIES = 5_000_000
MOST_NAMES = 256 << 20
"""Bytes of all paths together."""
_HOLES = 4 << 30
"""Bytes of holes that its files may have in all."""
_LONGEST_LINK = 4096
_PIECE = 1 << 20


Words = Callable[[mmap, str], Iterable[str]]


class Disk:
    """Reads an ext2, ext3 or ext4 file system of an image."""

    def __init__(self, path: Path, data: mmap | bytes, partition: Partition) -> None:
        """Raises: ToolError when there is none there, or it was not unmounted."""
        self.path = path
        self._fs = Ext4(data, partition.start, partition.size, str(path))
        if self._fs.is_dirty:
            raise damaged("its journal holds changes that are not in place", str(path))
        self._inodes: dict[str, Inode] = {}

    @property
    def name(self) -> str:
        return str(self.path)

    def walk(self) -> Iterator[Found]:
        """Raises: ToolError when the file system is damaged, or larger than what is read."""
        first: dict[int, str] = {}
        left = [("", ROOT)]
        entered = {ROOT}
        bounds = _Bounds(self._fs.size + _HOLES, self.name)
        while left:
            top, number = left.pop()
            directory = self._fs.inode(number)
            if directory.kind != 0o04:
                raise damaged(f"/{top} is no directory", self.name)
            bounds.add(directory.size, "")
            names = set[bytes]()
            for name, inner in self._fs.entries(directory):
                raw = f"{top}/{_text(name)}" if top else _text(name)
                inode = self._fs.inode(inner)
                bounds.add(inode.size if inode.kind == 0o10 and inner not in first else 0, raw)
                if name in names:
                    raise damaged(f"a directory holds two files of one name: {raw}", self.name)
                names.add(name)
                if inode.kind == 0o04:
                    if inner in entered:
                        raise damaged(f"a directory has two places: {raw}", self.name)
                    entered.add(inner)
                    left.append((raw, inner))
                yield self._found(raw, inode, first)

    def read(self, raw: str) -> bytes:
        """The bytes of a file. Raises: ToolError for one of more than a GiB."""
        inode = self._inodes[raw]
        if inode.size > LARGEST:
            raise ToolError(
                f"a file on the disk is larger than what is read: {raw}", where=self.name,
                fix="mount it and name its root directory",
            )  # fmt: skip
        return self._fs.read(inode)

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        return ((raw, self._fs.read(self._inodes[raw], size)) for raw in raws)

    def view(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self.read(raw)

    def _found(self, raw: str, inode: Inode, first: dict[int, str]) -> Found:
        kind = _KINDS.get(inode.kind, Kind.OTHER)
        self._inodes[raw] = inode
        target, capability = "", b""
        if kind is Kind.LINK:
            if inode.size >= max(_LONGEST_LINK, self._fs.block):
                raise damaged(f"the text of a link is too long: {raw}", self.name)
            target = spelled(self._fs.read(inode))
        elif kind is Kind.FILE:
            capability = self._fs.capability(inode)
            if first.setdefault(inode.number, raw) != raw:
                kind, target = Kind.HARDLINK, first[inode.number]
        bits = 0o777 if kind is Kind.LINK else inode.mode & 0o7777
        size = inode.size if kind in (Kind.FILE, Kind.HARDLINK) else 0
        return Found(
            place(spelled(raw), kind),
            raw,
            kind,
            bits,
            inode.uid,
            inode.gid,
            size,
            target,
            capability,
        )


def is_disk(head: bytes) -> bool:
    """Tell a disk image by its first 128 KiB."""
    if format_of(head) is not Format.RAW or has_signature(head) or head[510:512] == b"\x55\xaa":
        return True
    return filesystems.content(head, 0) is not Content.UNKNOWN


def open_disk(
    path: Path, raw: Path, work: Path, readers: Readers, arch: str, words: Words | None = None
) -> tuple[Source, bool]:
    """Open the root on a disk, whose raw form is `raw`, and say whether it is packed there.

    What else the disk holds is told. `work`: a directory that lasts as long. `arch`: of the
    machine that it is for, "" for any. `words`: gives more values of root= on the disk.
    Raises: UsageError when there is none, or several may be; ToolError when it is damaged.
    """
    with raw.open("rb") as file:
        if not raw.stat().st_size:
            raise damaged("the disk is empty", str(path))
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    table = read_table(data, str(path))
    found = filesystems.candidates(data, table)

    def named() -> tuple[Candidate, ...]:
        more = words(data, str(path)) if words is not None else ()
        return meant(data, found, (*written(data, found, str(path)), *more))

    choice = filesystems.choose(
        found, str(path), asked=readers.partition, arch=arch, named=named,
        holds=lambda one: _boots(data, one, path),
    )  # fmt: skip
    chosen = choice.chosen
    if table.doubt:
        readers.note(f"{path}: {table.doubt}")
    if choice.others:
        others = "; ".join(map(str, choice.others))
        readers.note(f"{path}: partition {chosen} is read, since {choice.why}; not read: {others}")
    if chosen.content is Content.SQUASHFS:
        return _squashfs(path, data, chosen.partition, work, readers), True
    if chosen.content is not Content.EXT4:
        raise ToolError(
            f"the root is on {chosen.content}, which is not read", where=f"{path}: {chosen}",
            fix="mount it and name its root directory",
        )  # fmt: skip
    if Ext4(data, chosen.partition.start, chosen.partition.size, str(path)).is_dirty:
        return _replayed(path, data, chosen.partition, work, readers), False
    return Disk(path, data, chosen.partition), False


def _replayed(path: Path, data: mmap, partition: Partition, work: Path, readers: Readers) -> Disk:
    """A file system that was not unmounted, as a kernel sees it: its journal put in place."""
    out = work / "replayed"
    out.mkdir()
    alone = out / "root.ext4"
    _cut_out(data, partition.start, min(partition.size, len(data) - partition.start), alone)
    try:
        readers.programs("e2fsck")(
            ["-y", "-E", "journal_only", alone], what="putting its journal in place",
            writes=out, file=partition.size, codes=(0, 1),
        )  # fmt: skip
    except ToolError as error:
        error.fix = "mount it once where it belongs, and name it again"
        raise
    readers.note(f"{path}: it was not unmounted; its journal was put in place, on a copy")
    with alone.open("rb") as file:
        copy = mmap(file.fileno(), 0, access=ACCESS_READ)
    return Disk(path, copy, Partition(0, 0, len(copy)))


def _cut_out(data: mmap, start: int, size: int, to: Path) -> None:
    """Write a stretch of a disk to a file of its own, with holes where it is zero."""
    nothing = bytes(_PIECE)
    with to.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, _PIECE):
            piece = data[start + at : start + min(at + _PIECE, size)]
            if piece != nothing[: len(piece)]:
                file.seek(at)
                file.write(piece)


def tell_others(path: Path, raw: Path, note: Callable[[str], None]) -> None:
    """Tell of the file systems on a disk of which the UKI is read that it starts."""
    with raw.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        found = filesystems.candidates(data, read_table(data, str(path)))
    others = [one for one in found if one.content in filesystems.MOUNTED]
    if others:
        listed = "; ".join(map(str, others))
        note(f"{path}: the UKI that it starts is read; not read: {listed} (--partition N)")


def _squashfs(path: Path, data: mmap, partition: Partition, work: Path, readers: Readers) -> Source:
    """A squashfs as the tar that sqfs2tar makes of it. Source: squashfs, "Superblock"."""
    start = partition.start
    (size,) = struct.unpack_from("<Q", data, start + 40)
    if not 96 <= size <= min(partition.size, len(data) - start):
        raise damaged("its squashfs is larger than where it lies", str(path))
    alone, tar = work / "root.squashfs", work / "root.tar"
    _cut_out(data, start, size, alone)
    what = "reading the squashfs"
    most = RATIO * size + FREE
    readers.programs("sqfs2tar")([alone], what=what, reads=[alone], stdout=tar, file=most)
    alone.unlink()
    return Unpacked(str(path), unpack(opened(tar, work), str(path)))


def _boots(data: mmap, one: Candidate, path: Path) -> bool:
    """Whether a file system holds what a kernel starts, or says which system it is."""
    if one.content is not Content.EXT4:
        return True
    try:
        fs = Ext4(data, one.partition.start, one.partition.size, str(path))
        return any(fs.find(name) is not None for name in (*INITS, *RELEASES))
    except ToolError:
        return False


class _Bounds:
    """What a file system may say to hold."""

    def __init__(self, most: int, where: str) -> None:
        self._bytes, self._names, self._entries = most, MOST_NAMES, MOST_ENTRIES
        self._where = where

    def add(self, size: int, raw: str) -> None:
        self._bytes -= size
        self._names -= len(raw)
        self._entries -= 1
        if min(self._bytes, self._names, self._entries) < 0:
            what = (
                "its files say to be larger than it by far" if self._bytes < 0
                else "it holds more names than are read"
            )  # fmt: skip
            raise damaged(what, self._where)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
