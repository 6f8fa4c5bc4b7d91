"""A root on a disk image: the partition that boots, and its file system, read without mounting it."""

import struct
from collections.abc import Callable, Iterable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock

from minbuild.errors import ToolError
from minbuild.facts.root import erofs, filesystems
from minbuild.facts.root.erofs import Erofs
from minbuild.facts.root.ext4 import Ext4
from minbuild.facts.root.filesystems import INITS, RELEASES, Candidate, Content
from minbuild.facts.root.images import FREE, RATIO, Format, format_of
from minbuild.facts.root.named import meant, written
from minbuild.facts.root.partitions import Partition, has_signature, read_table
from minbuild.facts.root.tarball import Unpacked, damaged, opened, unpack
from minbuild.facts.root.types import Readers, Source
from minbuild.facts.root.volume import Volume, find
from minbuild.facts.root.xfs import Xfs
from minbuild.foreign import read_below

_PIECE = 1 << 20


Words = Callable[[mmap, str], Iterable[str]]


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
    if chosen.content is Content.EROFS:
        return _erofs(path, data, chosen.partition, work, readers), True
    if chosen.content is Content.XFS:
        return Volume(str(path), _xfs(path, data, chosen.partition)), False
    if chosen.content is not Content.EXT4:
        raise ToolError(
            f"the root is on {chosen.content}, which is not read", where=f"{path}: {chosen}",
            fix="mount it and name its root directory",
        )  # fmt: skip
    fs = Ext4(data, chosen.partition.start, chosen.partition.size, str(path))
    if fs.is_dirty:
        fs = _replayed(path, data, chosen.partition, work, readers)
    return Volume(str(path), fs), False


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
    start, size = one.partition.start, one.partition.size
    names = (*INITS, *RELEASES)
    try:
        if one.content is Content.EXT4:
            ext4 = Ext4(data, start, size, str(path))
            return any(find(ext4, name) is not None for name in names)
        if one.content is Content.EROFS:
            packed = Erofs(data, start, size, str(path))
            return any(find(packed, name) is not None for name in names)
        if one.content is Content.XFS:
            xfs = Xfs(data, start, size, str(path))
            return any(find(xfs, name) is not None for name in names)
    except ToolError:
        return False
    return True


def _xfs(path: Path, data: mmap, partition: Partition) -> Xfs:
    fs = Xfs(data, partition.start, partition.size, str(path))
    if fs.is_dirty:
        raise ToolError(
            "the xfs was not unmounted: its log holds changes that are not in place",
            where=str(path), fix="mount it once where it belongs, and name it again",
        )  # fmt: skip
    return fs


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
