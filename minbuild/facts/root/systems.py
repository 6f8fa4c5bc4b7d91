"""The file system that was chosen on a disk, opened: by a reader of ours, or by the archive's."""

import struct
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import Any

from minbuild.errors import ToolError
from minbuild.facts.root import erofs
from minbuild.facts.root.btrfs import TOP, Btrfs
from minbuild.facts.root.erofs import Erofs
from minbuild.facts.root.ext4 import Ext4
from minbuild.facts.root.filesystems import Candidate, Content
from minbuild.facts.root.images import FREE, RATIO
from minbuild.facts.root.partitions import Partition
from minbuild.facts.root.tarball import Unpacked, damaged, opened, unpack
from minbuild.facts.root.types import Readers, Source
from minbuild.facts.root.volume import FileSystem, Volume
from minbuild.facts.root.xfs import Xfs
from minbuild.foreign import read_below

_PIECE = 1 << 20
_OURS: dict[Content, Callable[[mmap, int, int, str], FileSystem[Any]]] = {
    Content.EXT4: Ext4,
    Content.EROFS: Erofs,
    Content.XFS: Xfs,
    Content.BTRFS: Btrfs,
}


def file_system(data: mmap, one: Candidate, where: str) -> FileSystem[Any] | None:
    """The names and inodes of a partition; None where only a program reads it.

    Raises: ToolError when it is damaged.
    """
    read = _OURS.get(one.content)
    return None if read is None else read(data, one.partition.start, one.partition.size, where)


def open_system(
    path: Path, data: mmap, chosen: Candidate, work: Path, readers: Readers
) -> tuple[Source, bool]:
    """Open what a partition holds, and say whether it is packed there.

    Raises: ToolError when it is damaged, or of a kind that is not read.
    """
    partition = chosen.partition
    match chosen.content:
        case Content.EXT4:
            fs = Ext4(data, partition.start, partition.size, str(path))
            if fs.is_dirty:
                fs = _replayed(path, data, partition, work, readers)
            return Volume(str(path), fs), False
        case Content.SQUASHFS:
            return _squashfs(path, data, partition, work, readers), True
        case Content.EROFS:
            return _erofs(path, data, partition, work, readers), True
        case Content.XFS:
            return Volume(str(path), _xfs(path, data, partition)), False
        case Content.BTRFS:
            return Volume(str(path), _btrfs(path, data, partition, readers)), False
        case _:
            raise ToolError(
                f"the root is on {chosen.content}, which is not read", where=f"{path}: {chosen}",
                fix="mount it and name its root directory",
            )  # fmt: skip


def _replayed(path: Path, data: mmap, partition: Partition, work: Path, readers: Readers) -> Ext4:
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
    fs = Ext4(copy, 0, len(copy), str(path))
    if fs.is_dirty:
        raise damaged("its journal holds changes that cannot be put in place", str(path))
    return fs


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


def _xfs(path: Path, data: mmap, partition: Partition) -> Xfs:
    fs = Xfs(data, partition.start, partition.size, str(path))
    if fs.is_dirty:
        raise ToolError(
            "the xfs was not unmounted: its log holds changes that are not in place",
            where=str(path), fix="mount it once where it belongs, and name it again",
        )  # fmt: skip
    return fs


def _btrfs(path: Path, data: mmap, partition: Partition, readers: Readers) -> Btrfs:
    fs = Btrfs(data, partition.start, partition.size, str(path))
    if fs.is_dirty:
        raise ToolError(
            "the btrfs was not unmounted: its log holds changes that are not in place",
            where=str(path), fix="mount it once where it belongs, and name it again",
        )  # fmt: skip
    if fs.subvolume != TOP:
        readers.note(f"{path}: subvolume {fs.subvolume} is read, and those within it")
    return fs


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


def _erofs(
    path: Path, data: mmap, partition: Partition, work: Path, readers: Readers
) -> Volume[erofs.Inode]:
    """An erofs; fsck.erofs unpacks its files when the first compressed one is read."""
    fs = Erofs(data, partition.start, partition.size, str(path))
    alone, out, turn = work / "root.erofs", work / "unpacked", Lock()
    top = out / "root"

    def packed(raw: str, inode: erofs.Inode) -> bytes | None:
        if not inode.is_packed:
            return None
        with turn:
            if not top.exists():
                _cut_out(data, partition.start, fs.size, alone)
                top.mkdir(parents=True)
                words: list[str | Path] = [
                    f"--extract={top}",
                    "--overwrite",
                    "--no-preserve",
                    alone,
                ]
                readers.programs("fsck.erofs")(
                    words, what="unpacking the erofs", reads=[alone], writes=out, file=fs.most
                )
        try:
            found = read_below(top, raw, inode.size)
        except OSError as error:
            raise damaged(f"its erofs unpacks to something else: {error}", str(path)) from error
        if len(found) != inode.size:
            raise damaged(f"its erofs unpacks to another file: {raw}", str(path))
        return found

    return Volume(str(path), fs, packed)
