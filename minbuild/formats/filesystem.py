"""A root on a file system that is read without mounting it: its names and inodes, one by one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from minbuild.errors import ToolError
from minbuild.formats.root_entry import FileType, RootEntry, resolve_usrmerge, unusable_root
from minbuild.paths import escape_name

_FILE_TYPES = {0o10: FileType.FILE, 0o12: FileType.LINK, 0o04: FileType.DIRECTORY}
MAX_FILE_SIZE = 1 << 30
"""Bytes of the largest file that is read whole."""
MAX_ENTRIES = 1_000_000
MAX_NAME_BYTES = 256 << 20
"""Bytes of all paths together."""
_MAX_LINK_TEXT = 4096


class DiskInode(Protocol):
    """One inode."""

    @property
    def number(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def type_bits(self) -> int:
        """S_IFREG >> 12 and so on."""
        ...

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def size(self) -> int: ...


InodeT = TypeVar("InodeT", bound=DiskInode)


class DiskFileSystem(Protocol[InodeT]):
    """A file system, inode by inode. All of these raise ToolError where it is damaged."""

    root_number: int
    """The number of its top directory's inode."""
    block_size: int

    @property
    def size_limit(self) -> int:
        """Bytes that all files together may say to have."""
        ...

    def read_inode(self, number: int) -> InodeT: ...

    def read(self, inode: InodeT, limit: int = MAX_FILE_SIZE) -> bytes:
        """The first bytes of a file, a directory or a link's text."""
        ...

    def list_directory(self, inode: InodeT) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`."""
        ...

    def read_capability(self, inode: InodeT) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        ...


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
        """`name`: what messages call it. `packed`: gives the content of a file by its path where
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
