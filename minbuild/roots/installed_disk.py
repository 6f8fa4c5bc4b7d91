"""The root file system on a disk, opened by a reader here or by an external program."""

import struct
from collections.abc import Callable, Iterable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import Any

from minbuild.errors import ToolError
from minbuild.file_io import read_beneath
from minbuild.formats import erofs
from minbuild.formats.btrfs import TOP_SUBVOLUME, Btrfs
from minbuild.formats.erofs import Erofs
from minbuild.formats.ext4 import Ext4
from minbuild.formats.filesystem import DiskFileSystem, Volume, find_inode
from minbuild.formats.magic import ROOT_FILE_SYSTEMS, Format
from minbuild.formats.partition_table import DiskPartition, read_partition_table
from minbuild.formats.qemu_image import FREE_SIZE, MAX_RATIO
from minbuild.formats.root_entry import unusable_root
from minbuild.formats.xfs import Xfs
from minbuild.roots import root_partition
from minbuild.roots.model import ExternalReaders, RootSource
from minbuild.roots.root_partition import (
    INIT_PATHS,
    OS_RELEASE_PATHS,
    RootCandidate,
    match_root_options,
    read_root_options,
)
from minbuild.roots.tarball import UnpackedRoot, open_decompressed, unpack_tar

_COPY_CHUNK = 1 << 20
_READERS: dict[Format, Callable[[mmap, int, int, str], DiskFileSystem[Any]]] = {
    Format.EXT4: Ext4,
    Format.EROFS: Erofs,
    Format.XFS: Xfs,
    Format.BTRFS: Btrfs,
}


def read_file_system(
    data: mmap, candidate: RootCandidate, where: str
) -> DiskFileSystem[Any] | None:
    """The names and inodes of a partition; None where only a program reads it.

    Raises: ToolError when it is damaged.
    """
    reader = _READERS.get(candidate.content) if candidate.content is not None else None
    return (
        None
        if reader is None
        else reader(data, candidate.partition.start, candidate.partition.size, where)
    )


def open_file_system(
    path: Path, data: mmap, candidate: RootCandidate, work: Path, readers: ExternalReaders
) -> tuple[RootSource, bool]:
    """Open what a partition holds, and say whether it is packed there.

    Raises: ToolError when it is damaged, or of a kind that is not read.
    """
    partition = candidate.partition
    match candidate.content:
        case Format.EXT4:
            fs = Ext4(data, partition.start, partition.size, str(path))
            if fs.is_dirty:
                fs = _replay_journal(path, data, partition, work, readers)
            return Volume(str(path), fs), False
        case Format.SQUASHFS:
            return _open_squashfs(path, data, partition, work, readers), True
        case Format.EROFS:
            return _open_erofs(path, data, partition, work, readers), True
        case Format.XFS:
            return Volume(str(path), _open_xfs(path, data, partition)), False
        case Format.BTRFS:
            return Volume(str(path), _open_btrfs(path, data, partition, readers)), False
        case _:
            raise ToolError(
                f"the root is on {candidate.content}, which is not read", where=f"{path}: {candidate}",
                fix="mount it and name its root directory",
            )  # fmt: skip


def _replay_journal(
    path: Path, data: mmap, partition: DiskPartition, work: Path, readers: ExternalReaders
) -> Ext4:
    """A file system that was not unmounted, as a kernel sees it: its journal put in place."""
    out = work / "replayed"
    out.mkdir()
    image = out / "root.ext4"
    _copy_stretch(data, partition.start, min(partition.size, len(data) - partition.start), image)
    try:
        readers.get_program("e2fsck")(
            ["-y", "-E", "journal_only", image], purpose="putting its journal in place",
            writes=out, file=partition.size, codes=(0, 1),
        )  # fmt: skip
    except ToolError as error:
        error.fix = "mount it once where it belongs, and name it again"
        raise
    readers.note(f"{path}: it was not unmounted; its journal was put in place, on a copy")
    with image.open("rb") as file:
        copy = mmap(file.fileno(), 0, access=ACCESS_READ)
    fs = Ext4(copy, 0, len(copy), str(path))
    if fs.is_dirty:
        raise unusable_root("its journal holds changes that cannot be put in place", str(path))
    return fs


def _copy_stretch(data: mmap, start: int, size: int, target: Path) -> None:
    """Write a stretch of a disk to a file of its own, with holes where it is zero."""
    zeros = bytes(_COPY_CHUNK)
    with target.open("wb") as file:
        file.truncate(size)
        for offset in range(0, size, _COPY_CHUNK):
            piece = data[start + offset : start + min(offset + _COPY_CHUNK, size)]
            if piece != zeros[: len(piece)]:
                file.seek(offset)
                file.write(piece)


def _open_xfs(path: Path, data: mmap, partition: DiskPartition) -> Xfs:
    fs = Xfs(data, partition.start, partition.size, str(path))
    if fs.is_dirty:
        raise ToolError(
            "the xfs was not unmounted: its log holds changes that are not in place",
            where=str(path), fix="mount it once where it belongs, and name it again",
        )  # fmt: skip
    return fs


def _open_btrfs(
    path: Path, data: mmap, partition: DiskPartition, readers: ExternalReaders
) -> Btrfs:
    fs = Btrfs(data, partition.start, partition.size, str(path))
    if fs.is_dirty:
        raise ToolError(
            "the btrfs was not unmounted: its log holds changes that are not in place",
            where=str(path), fix="mount it once where it belongs, and name it again",
        )  # fmt: skip
    if fs.subvolume != TOP_SUBVOLUME:
        readers.note(f"{path}: subvolume {fs.subvolume} is read, and those within it")
    return fs


def _open_squashfs(
    path: Path, data: mmap, partition: DiskPartition, work: Path, readers: ExternalReaders
) -> RootSource:
    """A squashfs as the tar that sqfs2tar makes of it. Source: squashfs, "Superblock"."""
    start = partition.start
    (size,) = struct.unpack_from("<Q", data, start + 40)
    if not 96 <= size <= min(partition.size, len(data) - start):
        raise unusable_root("its squashfs is larger than where it lies", str(path))
    image, tar = work / "root.squashfs", work / "root.tar"
    _copy_stretch(data, start, size, image)
    purpose = "reading the squashfs"
    size_limit = MAX_RATIO * size + FREE_SIZE
    readers.get_program("sqfs2tar")(
        [image], purpose=purpose, reads=[image], stdout=tar, file=size_limit
    )
    image.unlink()
    return UnpackedRoot(str(path), unpack_tar(open_decompressed(tar, work), str(path)))


def _open_erofs(
    path: Path, data: mmap, partition: DiskPartition, work: Path, readers: ExternalReaders
) -> Volume[erofs.ErofsInode]:
    """An erofs; fsck.erofs unpacks its files when the first compressed one is read."""
    fs = Erofs(data, partition.start, partition.size, str(path))
    image, out, lock = work / "root.erofs", work / "unpacked", Lock()
    top = out / "root"

    def read_compressed(native_path: str, inode: erofs.ErofsInode) -> bytes | None:
        if not inode.is_compressed:
            return None
        with lock:
            if not top.exists():
                _copy_stretch(data, partition.start, fs.size, image)
                top.mkdir(parents=True)
                argv: list[str | Path] = [
                    f"--extract={top}",
                    "--overwrite",
                    "--no-preserve",
                    image,
                ]
                readers.get_program("fsck.erofs")(
                    argv,
                    purpose="unpacking the erofs",
                    reads=[image],
                    writes=out,
                    file=fs.size_limit,
                )
        try:
            content = read_beneath(top, native_path, inode.size)
        except OSError as error:
            raise unusable_root(
                f"its erofs unpacks to something else: {error}", str(path)
            ) from error
        if len(content) != inode.size:
            raise unusable_root(f"its erofs unpacks to another file: {native_path}", str(path))
        return content

    return Volume(str(path), fs, read_compressed)


_CHUNK = 1 << 20


GetRootOptions = Callable[[mmap, str], Iterable[str]]


def open_disk_root(
    path: Path,
    raw_disk: Path,
    work: Path,
    readers: ExternalReaders,
    arch: str,
    root_options: GetRootOptions | None = None,
) -> tuple[RootSource, bool]:
    """Open the root on a disk, whose raw form is `raw_disk`, and say whether it is packed there.

    What else the disk holds is told. `work`: a directory that lasts as long. `arch`: of the
    machine that it is for, "" for any. `root_options`: gives more values of root= on the disk.
    Raises: UsageError when there is none, or several may be; ToolError when it is damaged.
    """
    with raw_disk.open("rb") as file:
        if not raw_disk.stat().st_size:
            raise unusable_root("the disk is empty", str(path))
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    table = read_partition_table(data, str(path))
    candidates = root_partition.find_candidates(data, table)

    def find_named_partitions() -> tuple[RootCandidate, ...]:
        loader_options = root_options(data, str(path)) if root_options is not None else ()
        return match_root_options(
            data, candidates, (*read_root_options(data, candidates, str(path)), *loader_options)
        )

    choice = root_partition.choose_partition(
        candidates, str(path), number=readers.partition, arch=arch, named_by_loader=find_named_partitions,
        is_bootable=lambda one: _is_bootable(data, one, path),
    )  # fmt: skip
    chosen = choice.candidate
    if table.warning:
        readers.note(f"{path}: {table.warning}")
    if choice.others:
        others = "; ".join(map(str, choice.others))
        readers.note(
            f"{path}: partition {chosen} is read, since {choice.reason}; not read: {others}"
        )
    return open_file_system(path, data, chosen, work, readers)


def note_unread_partitions(path: Path, raw_disk: Path, note: Callable[[str], None]) -> None:
    """Tell of the file systems on a disk of which the UKI is read that it starts."""
    with raw_disk.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        candidates = root_partition.find_candidates(data, read_partition_table(data, str(path)))
    others = [one for one in candidates if one.content in ROOT_FILE_SYSTEMS]
    if others:
        listed = "; ".join(map(str, others))
        note(f"{path}: the UKI that it starts is read; not read: {listed} (--partition N)")


def _is_bootable(data: mmap, candidate: RootCandidate, path: Path) -> bool:
    """Whether a file system holds what a kernel starts, or says which system it is."""
    try:
        fs = read_file_system(data, candidate, str(path))
        return fs is None or any(
            find_inode(fs, name) is not None for name in (*INIT_PATHS, *OS_RELEASE_PATHS)
        )
    except ToolError:
        return False
