"""File systems on a disk image, read without mounting: their base, and the root on one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import ClassVar, Generic, TypeVar

from minbuild.errors import ToolError
from minbuild.formats.root_entry import FileType, RootEntry, resolve_usrmerge, unusable_root
from minbuild.paths import escape_name

_FILE_TYPES = {0o10: FileType.FILE, 0o12: FileType.LINK, 0o04: FileType.DIRECTORY}
MAX_FILE_SIZE = 1 << 30
"""Bytes of the largest file that is read whole."""
MAX_HOLES = 1 << 30
"""Bytes of holes in all files of a file system."""
MAX_ENTRIES = 1_000_000
MAX_NAME_BYTES = 256 << 20
"""Bytes of all paths together."""
_MAX_LINK_TEXT = 4096


@dataclass(frozen=True, slots=True)
class DiskInode:
    """One file, directory, link or device on a file system."""

    number: int
    mode: int
    """Type and permission bits, as stat(2) gives them."""
    uid: int
    gid: int
    size: int
    """Bytes of the content; of a directory, of its blocks."""

    @property
    def type_bits(self) -> int:
        """Type of the file: `S_IFREG >> 12`, 0o10, for a regular one."""
        return self.mode >> 12


InodeT = TypeVar("InodeT", bound=DiskInode)


class DiskFileSystem(ABC, Generic[InodeT]):
    """A file system within an image, read inode by inode.

    `__init__` of a subclass reads the superblock, and sets `root_number`, `block_size` and `size`.
    Every method raises ToolError where the file system is damaged.
    """

    label: ClassVar[str]
    """Name in messages: "xfs"."""
    root_number: int
    """Number of the top directory's inode."""
    block_size: int
    size: int
    """Bytes, according to the superblock."""

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """`start`, `size`: the partition in the image `data`; `where`: its name in messages."""
        self._data, self._start, self._where = data, start, where
        self._available_size = min(size, len(data) - start)

    @property
    def size_limit(self) -> int:
        """Bytes that all files together may have: holes take no space on the disk."""
        return self.size + MAX_HOLES

    @abstractmethod
    def read_inode(self, number: int) -> InodeT:
        """Return an inode by its number."""

    @abstractmethod
    def read(self, inode: InodeT, limit: int = MAX_FILE_SIZE) -> bytes:
        """Return the first bytes of a file, a directory or a link's text; holes are zeros."""

    @abstractmethod
    def list_directory(self, inode: InodeT) -> Iterator[tuple[bytes, int]]:
        """Return the names in a directory and their inodes, without `.` and `..`."""

    @abstractmethod
    def read_capability(self, inode: InodeT) -> bytes:
        """Return the extended attribute security.capability, b"" without one."""

    def _check_size(self) -> None:
        if self.size > self._available_size:
            raise self._damage_error("it is larger than where it lies")

    def _check_directory_size(self, size: int, directory: int) -> None:
        """Refuse a directory before it is read whole: it has no holes."""
        if size > min(self.size, MAX_NAME_BYTES):
            raise self._damage_error(f"directory {directory} is larger than it can be")

    def _check_name(self, name: bytes, directory: int) -> None:
        if not name or b"/" in name or b"\0" in name or len(name) > 255:
            raise self._damage_error(f"a name in directory {directory} cannot be")

    def _read_bytes(self, offset: int, size: int) -> bytes:
        """Return bytes of the file system itself, whose first has the offset 0."""
        if offset < 0 or offset + size > self.size:
            raise self._damage_error("a part of it lies outside of it")
        return self._data[self._start + offset : self._start + offset + size]

    def _make_unsupported_error(self, features: str) -> ToolError:
        return ToolError(
            f"the {self.label} has {features}", where=self._where,
            fix="mount it and name its root directory",
        )  # fmt: skip

    def _damage_error(self, reason: str) -> ToolError:
        return unusable_root(f"its {self.label} cannot be read: {reason}", self._where)


def find_inode(fs: DiskFileSystem[InodeT], path: str) -> InodeT | None:
    """What lies at a path; no link is followed."""
    inode = fs.read_inode(fs.root_number)
    for name in path.encode().split(b"/"):
        if inode.type_bits != 0o04:
            return None
        number = next(
            (child for entry_name, child in fs.list_directory(inode) if entry_name == name), None
        )
        if number is None:
            return None
        inode = fs.read_inode(number)
    return inode


class Volume(Generic[InodeT]):
    """Reads the root on a file system."""

    def __init__(
        self,
        name: str,
        fs: DiskFileSystem[InodeT],
        read_compressed: Callable[[str, InodeT], bytes | None] | None = None,
    ) -> None:
        """`name`: what messages call it. `read_compressed`: gives the content of a file by its path where
        the file system itself cannot.
        """
        self.name = name
        self._fs = fs
        self._read_compressed = read_compressed
        self._inodes_by_path: dict[str, InodeT] = {}

    def walk(self) -> Iterator[RootEntry]:
        """Raises: ToolError when the file system is damaged, or larger than what is read."""
        first_names: dict[int, str] = {}
        pending = [("", self._fs.root_number)]
        entered = {self._fs.root_number}
        bounds = _Limits(self._fs.size_limit, self.name)
        while pending:
            parent_path, number = pending.pop()
            directory = self._fs.read_inode(number)
            if directory.type_bits != 0o04:
                raise unusable_root(f"/{parent_path} is no directory", self.name)
            bounds.add(directory.size, "")
            seen_names = set[bytes]()
            for name, child in self._fs.list_directory(directory):
                native_path = (
                    f"{parent_path}/{_decode_name(name)}" if parent_path else _decode_name(name)
                )
                inode = self._fs.read_inode(child)
                bounds.add(
                    inode.size if inode.type_bits == 0o10 and child not in first_names else 0,
                    native_path,
                )
                if name in seen_names:
                    raise unusable_root(
                        f"a directory holds two files of one name: {native_path}", self.name
                    )
                seen_names.add(name)
                if inode.type_bits == 0o04:
                    if child in entered:
                        raise unusable_root(f"a directory has two places: {native_path}", self.name)
                    entered.add(child)
                    pending.append((native_path, child))
                yield self._make_entry(native_path, inode, first_names)

    def read(self, native_path: str) -> bytes:
        """The bytes of a file. Raises: ToolError for one of more than a GiB."""
        inode = self._inodes_by_path[native_path]
        if inode.size > MAX_FILE_SIZE:
            raise ToolError(
                f"a file on the disk is larger than what is read: {native_path}", where=self.name,
                fix="mount it and name its root directory",
            )  # fmt: skip
        return self._read_head(native_path, MAX_FILE_SIZE)

    def read_heads(self, native_paths: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        return ((native_path, self._read_head(native_path, size)) for native_path in native_paths)

    def view(self, native_path: str) -> bytes:
        """The bytes of a file."""
        return self.read(native_path)

    def _read_head(self, native_path: str, limit: int) -> bytes:
        inode = self._inodes_by_path[native_path]
        data = (
            self._read_compressed(native_path, inode) if self._read_compressed is not None else None
        )
        return self._fs.read(inode, limit) if data is None else data[:limit]

    def _make_entry(
        self, native_path: str, inode: InodeT, first_names: dict[int, str]
    ) -> RootEntry:
        kind = _FILE_TYPES.get(inode.type_bits, FileType.OTHER)
        self._inodes_by_path[native_path] = inode
        target, capability = "", b""
        if kind is FileType.LINK:
            if inode.size >= max(_MAX_LINK_TEXT, self._fs.block_size):
                raise unusable_root(f"the text of a link is too long: {native_path}", self.name)
            target = escape_name(self._fs.read(inode))
        elif kind is FileType.FILE:
            capability = self._fs.read_capability(inode)
            if first_names.setdefault(inode.number, native_path) != native_path:
                kind, target = FileType.HARDLINK, first_names[inode.number]
        mode = 0o777 if kind is FileType.LINK else inode.mode & 0o7777
        size = inode.size if kind in (FileType.FILE, FileType.HARDLINK) else 0
        return RootEntry(
            resolve_usrmerge(escape_name(native_path), kind),
            native_path,
            kind,
            mode,
            inode.uid,
            inode.gid,
            size,
            target,
            capability,
        )


class _Limits:
    """What a file system may say to hold."""

    def __init__(self, size_limit: int, where: str) -> None:
        self._bytes, self._names, self._entries = size_limit, MAX_NAME_BYTES, MAX_ENTRIES
        self._where = where

    def add(self, size: int, native_path: str) -> None:
        self._bytes -= size
        self._names -= len(native_path)
        self._entries -= 1
        if min(self._bytes, self._names, self._entries) < 0:
            reason = (
                "its files say to be larger than it by far" if self._bytes < 0
                else "it holds more names than are read"
            )  # fmt: skip
            raise unusable_root(reason, self._where)


def _decode_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
