"""Roots in tar archives, compressed or not, with the files that GNU tar would unpack."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from minbuild.errors import MalformedFile
from minbuild.formats.region import Region, decompress_to_file
from minbuild.formats.root_entry import FileType, RootEntry, resolve_usrmerge, unusable_root
from minbuild.formats.tar_members import read_tar_members
from minbuild.paths import escape_name
from minbuild.roots.unpacked_tree import UnpackedInode, UnpackedTree


def walk_entries(tree: UnpackedTree) -> Iterator[tuple[RootEntry, UnpackedInode]]:
    """Every path as the readers of roots tell it: the second name of a file is a hard link."""
    first: dict[int, str] = {}
    for native_path, inode in tree.walk():
        kind, target, size = inode.kind, escape_name(inode.target), inode.size
        if kind is FileType.FILE and first.setdefault(id(inode), native_path) != native_path:
            kind, target = FileType.HARDLINK, first[id(inode)]
        mode = 0o777 if kind is FileType.LINK else inode.mode
        yield (
            RootEntry(resolve_usrmerge(escape_name(native_path), kind), native_path, kind, mode, inode.uid, inode.gid, size, target,
                  inode.capability),
            inode,
        )  # fmt: skip


class UnpackedRoot:
    """Reads a root that stands in memory as names and inodes, its files' bytes in archives."""

    def __init__(self, name: str, tree: UnpackedTree) -> None:
        """`name`: what messages call it."""
        self.name = name
        self._tree = tree
        self._inodes: dict[str, UnpackedInode] = {}

    @property
    def top_status(self) -> tuple[int, int, int]:
        """Mode, user and group of the top itself."""
        top = self._tree.top
        return top.mode, top.uid, top.gid

    def walk(self) -> Iterator[RootEntry]:
        """Every path, in the order of names. Raises: ToolError when there are too many."""
        try:
            for entry, inode in walk_entries(self._tree):
                self._inodes[entry.native_path] = inode
                yield entry
        except MalformedFile as error:
            raise unusable_root(str(error), self.name) from error

    def read(self, native_path: str) -> bytes:
        """The bytes of a file that `walk` named. Raises: ToolError."""
        return self._read_head(native_path, None)

    def read_heads(self, native_paths: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        for native_path in native_paths:
            yield native_path, self._read_head(native_path, size)

    def view(self, native_path: str) -> bytes:
        """The bytes of a file."""
        return self.read(native_path)

    def _read_head(self, native_path: str, limit: int | None) -> bytes:
        try:
            return self._inodes[native_path].read(limit)
        except (MalformedFile, OSError) as error:
            raise unusable_root(f"{error}: {native_path!r}", self.name) from error


class Tarball(UnpackedRoot):
    """Reads a root from a tar."""

    def __init__(self, path: Path, work: Path) -> None:
        """`work`: a directory where a packed tar is unpacked to.

        Raises: ToolError when it is no tar, is damaged, or holds what a root cannot.
        """
        self.path = path
        super().__init__(str(path), unpack_tar(open_decompressed(path, work), str(path)))


def open_decompressed(path: Path, work: Path) -> Region:
    """A file's bytes, unpacked if need be. Raises: ToolError."""
    try:
        return decompress_to_file(Region.from_path(path), work)
    except OSError as error:
        raise unusable_root(f"it cannot be read: {error.strerror}", str(path)) from error
    except MalformedFile as error:
        raise unusable_root(f"it cannot be unpacked: {error}", str(path)) from error


def unpack_tar(tar: Region, where: str) -> UnpackedTree:
    """Every member of a tar laid down. Raises: ToolError."""
    tree = UnpackedTree()
    try:
        for member in read_tar_members(tar):
            tree.add(member, tar)
    except (MalformedFile, OSError) as error:
        raise unusable_root(f"it is no tar that can be read: {error}", where) from error
    return tree
