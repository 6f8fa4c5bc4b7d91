"""The tree that the kernel makes of an initramfs: its file system calls, on inodes in memory.

What a later member does to an earlier one depends on what lies there by then: a link on the way to
it is followed, a file of the same type is written over with all its names, one of another type
goes. So each member is done as the kernel does it, and the tree is read off at the end.

Source: Linux, init/initramfs.c, fs/init.c, fs/namei.c; path_resolution(7).
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from minbuild.errors import ToolError

LONGEST_NAME, LONGEST_PATH = 255, 4096
"""NAME_MAX; PATH_MAX, with the byte that ends it. Source: limits.h."""
MOST_LINKS = 40
"""Links that one path leads through. Source: path_resolution(7)."""
MOST_STEPS = 1 << 24
"""Names that are looked up before an initramfs counts as one that eats the machine."""
MOST_TEXT = 64 << 20
"""Bytes of all paths together."""
UNCHANGED = 0xFFFFFFFF
"""The owner that chown(2) leaves as it is."""


@dataclass(slots=True, eq=False)
class Inode:
    """What a path leads to."""

    mode: int
    uid: int = 0
    gid: int = 0
    content: bytes = b""
    """A file's bytes, or a link's text."""
    device: tuple[int, int] = (0, 0)
    names: dict[bytes, "Inode"] = field(default_factory=dict)
    """What a directory holds."""
    parent: "Inode | None" = None
    """The directory that holds a directory; its own for the root."""
    kernels: bool = False
    """True: the kernel brings it, and no member touched it."""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path ends."""

    directory: Inode | None
    """None for `.`, `..` and `/`, which can be neither made nor removed."""
    name: bytes
    inode: Inode | None
    slash: bool
    """True: the path says that it is a directory's."""


class _Failure(Exception):
    """A system call of the kernel that fails: it goes on without."""


class Rootfs:
    """The kernel's first root, as members are unpacked into it."""

    def __init__(self, where: str = "") -> None:
        """Begin with what the kernel itself brings. Source: Linux, usr/default_cpio_list."""
        self._where = where
        self._steps = 0
        self.dropped: list[bytes] = []
        """Names of members that came to nothing."""
        self.root = Inode(stat.S_IFDIR | 0o755)
        self.root.parent = self.root
        self._make(b"/dev", stat.S_IFDIR | 0o755)
        self._make(b"/dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        self._make(b"/root", stat.S_IFDIR | 0o700)
        for path in (b"/dev", b"/dev/console", b"/root"):
            found = self.look(path)
            assert found is not None
            found.kernels = True

    def look(self, path: bytes, *, follow: bool = False) -> Inode | None:
        """What a path leads to; None when it leads nowhere."""
        try:
            place = self._walk(path, follow=follow or path.endswith(b"/"))
        except _Failure:
            return None
        if place.inode is not None and place.slash and not place.inode.is_directory:
            return None
        return place.inode

    def clear(self, path: bytes, mode: int) -> None:
        """Remove what is of another type than `mode`, unless it is a directory that holds something."""
        found = self.look(path)
        if found is None or stat.S_IFMT(found.mode) == stat.S_IFMT(mode):
            return
        place = self._walk(path)
        if place.directory is None or place.inode is None or place.inode.names:
            return
        if place.slash and not place.inode.is_directory:
            return
        del place.directory.names[place.name]

    def make(
        self, path: bytes, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        """Make a directory, a link or a device where nothing is."""
        try:
            self._make(path, mode, content, device)
        except _Failure:
            return

    def link(self, old: bytes, new: bytes) -> bool:
        """Give what lies at `old` a second name; False when that cannot be."""
        found = self.look(old)
        if found is None or found.is_directory:
            return False
        try:
            place = self._walk(new)
        except _Failure:
            return False
        if place.directory is None or place.inode is not None or place.slash:
            return False
        place.directory.names[place.name] = found
        return True

    def open(self, path: bytes) -> Inode | None:
        """A regular file to write to, made where there is none; None when that cannot be.

        Raises: ToolError where the kernel would open a device.
        """
        try:
            place = self._walk(path, follow=True)
            if place.slash or place.directory is None:
                return None
            found = place.inode or self._make_at(place, stat.S_IFREG)
        except _Failure:
            return None
        if found.is_directory:
            return None
        if not stat.S_ISREG(found.mode):
            raise self._unlike("the kernel would write a file into a device")
        return found

    def own(self, found: Inode, uid: int, gid: int) -> None:
        """Change the owners that are not `UNCHANGED`."""
        found.uid = found.uid if uid == UNCHANGED else uid
        found.gid = found.gid if gid == UNCHANGED else gid
        found.kernels = False

    def paths(self) -> Iterator[tuple[bytes, Inode]]:
        """Every path but the root and what the kernel brings, without the first slash, sorted.

        Raises: ToolError when paths are longer than a system can name, or more than can be held.
        """
        found: list[tuple[bytes, Inode]] = []
        todo = [(b"", self.root)]
        text = 0
        while todo:
            above, directory = todo.pop()
            for name, inode in directory.names.items():
                path = above + b"/" + name if above else name
                text += len(path)
                if len(path) + 2 > LONGEST_PATH or text > MOST_TEXT:
                    raise self._unlike("its directories are nested deeper than a path can say")
                if not inode.kernels:
                    found.append((path, inode))
                if inode.is_directory:
                    todo.append((path, inode))
        yield from sorted(found, key=lambda one: one[0])

    def _make(
        self, path: bytes, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        place = self._walk(path)
        if place.inode is not None or (place.slash and not stat.S_ISDIR(mode)):
            raise _Failure
        self._make_at(place, mode, content, device)

    def _make_at(
        self, place: _Place, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> Inode:
        """Source: Linux, fs/inode.c, inode_init_owner: a set-group-ID directory gives its group."""
        if place.directory is None:
            raise _Failure
        gid = place.directory.gid if place.directory.mode & stat.S_ISGID else 0
        made = Inode(mode, 0, gid, content, device)
        if stat.S_ISDIR(mode):
            made.parent = place.directory
        place.directory.names[place.name] = made
        return made

    def _walk(self, path: bytes, *, follow: bool = False) -> _Place:
        """Go along a path from the root; a link at its end is followed if it is to be, or by a slash.

        Raises: _Failure where the kernel finds no way.
        """
        if len(path) >= LONGEST_PATH:
            raise _Failure
        slash = path.endswith(b"/") and bool(path.strip(b"/"))
        todo = _names(path)
        at, links = self.root, 0
        while todo:
            self._step()
            name = todo.pop()
            if not at.is_directory or len(name) > LONGEST_NAME:
                raise _Failure
            if name in (b".", b".."):
                at = at if name == b"." else at.parent or at
                continue
            child = at.names.get(name)
            if child is not None and stat.S_ISLNK(child.mode) and (todo or follow):
                links += 1
                if links > MOST_LINKS:
                    raise _Failure
                at = self.root if child.content.startswith(b"/") else at
                todo += _names(child.content, slash=child.content.endswith(b"/"))
                continue
            if not todo:
                return _Place(at, name, child, slash)
            if child is None:
                raise _Failure
            at = child
        return _Place(None, b"", at, slash)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise self._unlike("its names take longer to find than can be waited for")

    def _unlike(self, what: str) -> ToolError:
        return ToolError(
            f"the initramfs cannot be counted: {what}",
            where=self._where or "the initramfs",
            fix="such an initramfs comes of no usual program: look at who made it",
        )


def _names(path: bytes, *, slash: bool = False) -> list[bytes]:
    """The names of a path, the last one first; with `slash` it ends in the directory itself."""
    names = [name for name in path.split(b"/") if name]
    return [*([b"."] if slash else ()), *reversed(names)]
