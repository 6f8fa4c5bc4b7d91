"""A root on a file system that is read without mounting it: its names and inodes, one by one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from minbuild.errors import ToolError
from minbuild.facts.root.tarball import damaged
from minbuild.facts.root.types import Found, place
from minbuild.facts.types import Kind
from minbuild.paths import spelled

_KINDS = {0o10: Kind.FILE, 0o12: Kind.LINK, 0o04: Kind.DIRECTORY}
LARGEST = 1 << 30
"""Bytes of the largest file that is read whole."""
MOST_ENTRIES = 1_000_000
MOST_NAMES = 256 << 20
"""Bytes of all paths together."""
_LONGEST_LINK = 4096


class Node(Protocol):
    """One inode."""

    @property
    def number(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def kind(self) -> int:
        """S_IFREG >> 12 and so on."""
        ...

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def size(self) -> int: ...


Inode = TypeVar("Inode", bound=Node)


class FileSystem(Protocol[Inode]):
    """A file system, inode by inode. All of these raise ToolError where it is damaged."""

    root: int
    """The number of its top directory's inode."""
    block: int

    @property
    def most(self) -> int:
        """Bytes that all files together may say to have."""
        ...

    def inode(self, number: int) -> Inode: ...

    def read(self, inode: Inode, most: int = LARGEST) -> bytes:
        """The first bytes of a file, a directory or a link's text."""
        ...

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`."""
        ...

    def capability(self, inode: Inode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        ...


def find(fs: FileSystem[Inode], path: str) -> Inode | None:
    """What lies at a path; no link is followed."""
    inode = fs.inode(fs.root)
    for name in path.encode().split(b"/"):
        if inode.kind != 0o04:
            return None
        number = next((inner for found, inner in fs.entries(inode) if found == name), None)
        if number is None:
            return None
        inode = fs.inode(number)
    return inode


class Volume(Generic[Inode]):
    """Reads the root on a file system."""

    def __init__(
        self,
        name: str,
        fs: FileSystem[Inode],
        packed: Callable[[str, Inode], bytes | None] | None = None,
    ) -> None:
        """`name`: what messages call it. `packed`: gives the content of a file by its path where
        the file system itself cannot.
        """
        self.name = name
        self._fs = fs
        self._packed = packed
        self._inodes: dict[str, Inode] = {}

    def walk(self) -> Iterator[Found]:
        """Raises: ToolError when the file system is damaged, or larger than what is read."""
        first: dict[int, str] = {}
        left = [("", self._fs.root)]
        entered = {self._fs.root}
        bounds = _Bounds(self._fs.most, self.name)
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
        return self._start(raw, LARGEST)

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        return ((raw, self._start(raw, size)) for raw in raws)

    def view(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self.read(raw)

    def _start(self, raw: str, most: int) -> bytes:
        inode = self._inodes[raw]
        data = self._packed(raw, inode) if self._packed is not None else None
        return self._fs.read(inode, most) if data is None else data[:most]

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
