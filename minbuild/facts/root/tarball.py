"""A root in a tar, packed or not: what GNU tar would unpack, each file's bytes by their place."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.damage import Damage
from minbuild.facts.root.inodes import FileSystem, Inode, founds
from minbuild.facts.root.members import members
from minbuild.facts.root.region import Region, plain
from minbuild.facts.root.types import Found


class Unpacked:
    """Reads a root that stands in memory as names and inodes, its files' bytes in archives."""

    def __init__(self, name: str, system: FileSystem) -> None:
        """`name`: what messages call it."""
        self.name = name
        self._system = system
        self._inodes: dict[str, Inode] = {}

    @property
    def modes(self) -> tuple[int, int, int]:
        """Mode, user and group of the top itself."""
        top = self._system.top
        return top.mode, top.uid, top.gid

    def walk(self) -> Iterator[Found]:
        """Every path, in the order of names. Raises: ToolError when there are too many."""
        try:
            for found, inode in founds(self._system):
                self._inodes[found.raw] = inode
                yield found
        except Damage as error:
            raise damaged(str(error), self.name) from error

    def read(self, raw: str) -> bytes:
        """The bytes of a file that `walk` named. Raises: ToolError."""
        return self._start(raw, None)

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        for raw in raws:
            yield raw, self._start(raw, size)

    def view(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self.read(raw)

    def _start(self, raw: str, most: int | None) -> bytes:
        try:
            return self._inodes[raw].read(most)
        except (Damage, OSError) as error:
            raise damaged(f"{error}: {raw!r}", self.name) from error


class Tarball(Unpacked):
    """Reads a root from a tar."""

    def __init__(self, path: Path, work: Path) -> None:
        """`work`: a directory where a packed tar is unpacked to.

        Raises: ToolError when it is no tar, is damaged, or holds what a root cannot.
        """
        self.path = path
        super().__init__(str(path), unpack(opened(path, work), str(path)))


def opened(path: Path, work: Path) -> Region:
    """A file's bytes, unpacked if need be. Raises: ToolError."""
    try:
        return plain(Region.of(path), work)
    except OSError as error:
        raise damaged(f"it cannot be read: {error.strerror}", str(path)) from error
    except Damage as error:
        raise damaged(f"it cannot be unpacked: {error}", str(path)) from error


def unpack(tar: Region, where: str) -> FileSystem:
    """Every member of a tar laid down. Raises: ToolError."""
    system = FileSystem()
    try:
        for member in members(tar):
            system.add(member, tar)
    except (Damage, OSError) as error:
        raise damaged(f"it is no tar that can be read: {error}", where) from error
    return system


def damaged(what: str, where: str) -> ToolError:
    """The error for a root that cannot be used."""
    return ToolError(
        f"the root cannot be used: {what}",
        where=where,
        fix="name a directory, a tar, a container image or a disk image that holds a root",
    )
