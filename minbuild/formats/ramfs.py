"""The tree that the kernel makes of an initramfs: its system calls on inodes in memory.

What a later member does to an earlier one depends on what lies there by then: a link on the way to
it is followed, a file of the same type is written over with all its names, one of another type
goes. So each member is done as the kernel does it, and the tree is read off at the end.

Source: Linux, init/initramfs.c, fs/init.c, fs/namei.c; path_resolution(7).
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from minbuild.errors import ToolError

MAX_NAME, MAX_PATH = 255, 4096
"""NAME_MAX; PATH_MAX, with the byte that ends it. Source: limits.h."""
MAX_LINKS = 40
"""Links that one path leads through. Source: path_resolution(7)."""
MAX_STEPS = 1 << 24
"""Names that are looked up before an initramfs counts as one that eats the machine."""
MAX_PATH_BYTES = 64 << 20
"""Bytes of all paths together."""
UNCHANGED_OWNER = 0xFFFFFFFF
"""The owner that chown(2) leaves as it is."""


@dataclass(slots=True, eq=False)
class RamfsInode:
    """What a path leads to."""

    mode: int
    uid: int = 0
    gid: int = 0
    content: bytes = b""
    """A file's bytes, or a link's text."""
    device: tuple[int, int] = (0, 0)
    entries: dict[bytes, "RamfsInode"] = field(default_factory=dict)
    """What a directory holds."""
    parent: "RamfsInode | None" = None
    """The directory that holds a directory; its own for the root."""
    from_kernel: bool = False
    """True: the kernel brings it, and no member touched it."""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class _PathLookup:
    """Where a path ends."""

    directory: RamfsInode | None
    """None for `.`, `..` and `/`, which can be neither made nor removed."""
    name: bytes
    inode: RamfsInode | None
    trailing_slash: bool
    """True: the path says that it is a directory's."""


class _SystemCallError(Exception):
    """A system call of the kernel that fails: it goes on without."""


class Ramfs:
    """The kernel's first root, as members are unpacked into it."""

    def __init__(self, where: str = "") -> None:
        """Begin with what the kernel itself brings. Source: Linux, usr/default_cpio_list."""
        self._where = where
        self._steps = 0
        self.dropped: list[bytes] = []
        """Names of members that came to nothing."""
        self.root = RamfsInode(stat.S_IFDIR | 0o755)
        self.root.parent = self.root
        self._make_or_fail(b"/dev", stat.S_IFDIR | 0o755)
        self._make_or_fail(b"/dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        self._make_or_fail(b"/root", stat.S_IFDIR | 0o700)
        for path in (b"/dev", b"/dev/console", b"/root"):
            inode = self.look_up(path)
            assert inode is not None
            inode.from_kernel = True

    def look_up(self, path: bytes, *, follow: bool = False) -> RamfsInode | None:
        """What a path leads to; None when it leads nowhere."""
        try:
            lookup = self._walk(path, follow=follow or path.endswith(b"/"))
        except _SystemCallError:
            return None
        if lookup.inode is not None and lookup.trailing_slash and not lookup.inode.is_directory:
            return None
        return lookup.inode

    def remove_other_type(self, path: bytes, mode: int) -> None:
        """Remove what is of another type than `mode`, unless it is a directory that holds something."""
        inode = self.look_up(path)
        if inode is None or stat.S_IFMT(inode.mode) == stat.S_IFMT(mode):
            return
        lookup = self._walk(path)
        if lookup.directory is None or lookup.inode is None or lookup.inode.entries:
            return
        if lookup.trailing_slash and not lookup.inode.is_directory:
            return
        del lookup.directory.entries[lookup.name]

    def make_node(
        self, path: bytes, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        """Make a directory, a link or a device where nothing is."""
        try:
            self._make_or_fail(path, mode, content, device)
        except _SystemCallError:
            return

    def link(self, old: bytes, new: bytes) -> bool:
        """Give what lies at `old` a second name; False when that cannot be."""
        inode = self.look_up(old)
        if inode is None or inode.is_directory:
            return False
        try:
            lookup = self._walk(new)
        except _SystemCallError:
            return False
        if lookup.directory is None or lookup.inode is not None or lookup.trailing_slash:
            return False
        lookup.directory.entries[lookup.name] = inode
        return True

    def open_file(self, path: bytes) -> RamfsInode | None:
        """A regular file to write to, made where there is none; None when that cannot be.

        Raises: ToolError where the kernel would open a device.
        """
        try:
            lookup = self._walk(path, follow=True)
            if lookup.trailing_slash or lookup.directory is None:
                return None
            inode = lookup.inode or self._make_at(lookup, stat.S_IFREG)
        except _SystemCallError:
            return None
        if inode.is_directory:
            return None
        if not stat.S_ISREG(inode.mode):
            raise self._make_error("the kernel would write a file into a device")
        return inode

    def set_owner(self, inode: RamfsInode, uid: int, gid: int) -> None:
        """Change the owners that are not `UNCHANGED`."""
        inode.uid = inode.uid if uid == UNCHANGED_OWNER else uid
        inode.gid = inode.gid if gid == UNCHANGED_OWNER else gid
        inode.from_kernel = False

    def iter_paths(self) -> Iterator[tuple[bytes, RamfsInode]]:
        """Every path but the root and what the kernel brings, without the first slash, sorted.

        Raises: ToolError when paths are longer than a system can name, or more than can be held.
        """
        rows: list[tuple[bytes, RamfsInode]] = []
        pending = [(b"", self.root)]
        total_bytes = 0
        while pending:
            parent_path, directory = pending.pop()
            for name, inode in directory.entries.items():
                path = parent_path + b"/" + name if parent_path else name
                total_bytes += len(path)
                if len(path) + 2 > MAX_PATH or total_bytes > MAX_PATH_BYTES:
                    raise self._make_error("its directories are nested deeper than a path can say")
                if not inode.from_kernel:
                    rows.append((path, inode))
                if inode.is_directory:
                    pending.append((path, inode))
        yield from sorted(rows, key=lambda one: one[0])

    def _make_or_fail(
        self, path: bytes, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        lookup = self._walk(path)
        if lookup.inode is not None or (lookup.trailing_slash and not stat.S_ISDIR(mode)):
            raise _SystemCallError
        self._make_at(lookup, mode, content, device)

    def _make_at(
        self, lookup: _PathLookup, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> RamfsInode:
        """Source: Linux, fs/inode.c, inode_init_owner: a set-group-ID directory gives its group."""
        if lookup.directory is None:
            raise _SystemCallError
        gid = lookup.directory.gid if lookup.directory.mode & stat.S_ISGID else 0
        inode = RamfsInode(mode, 0, gid, content, device)
        if stat.S_ISDIR(mode):
            inode.parent = lookup.directory
        lookup.directory.entries[lookup.name] = inode
        return inode

    def _walk(self, path: bytes, *, follow: bool = False) -> _PathLookup:
        """Go along a path from the root; a link at its end is followed if it is to be, or by a slash.

        Raises: _Failure where the kernel finds no way.
        """
        if len(path) >= MAX_PATH:
            raise _SystemCallError
        trailing_slash = path.endswith(b"/") and bool(path.strip(b"/"))
        pending = _split_path(path)
        inode, links = self.root, 0
        while pending:
            self._count_step()
            name = pending.pop()
            if not inode.is_directory or len(name) > MAX_NAME:
                raise _SystemCallError
            if name in (b".", b".."):
                inode = inode if name == b"." else inode.parent or inode
                continue
            child = inode.entries.get(name)
            if child is not None and stat.S_ISLNK(child.mode) and (pending or follow):
                links += 1
                if links > MAX_LINKS:
                    raise _SystemCallError
                inode = self.root if child.content.startswith(b"/") else inode
                pending += _split_path(child.content, slash=child.content.endswith(b"/"))
                continue
            if not pending:
                return _PathLookup(inode, name, child, trailing_slash)
            if child is None:
                raise _SystemCallError
            inode = child
        return _PathLookup(None, b"", inode, trailing_slash)

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise self._make_error("its names take longer to find than can be waited for")

    def _make_error(self, problem: str) -> ToolError:
        return ToolError(
            f"the initramfs cannot be counted: {problem}",
            where=self._where or "the initramfs",
            fix="such an initramfs comes of no usual program: look at who made it",
        )


def _split_path(path: bytes, *, slash: bool = False) -> list[bytes]:
    """The names of a path, the last one first; with `slash` it ends in the directory itself."""
    names = [name for name in path.split(b"/") if name]
    return [*([b"."] if slash else ()), *reversed(names)]
