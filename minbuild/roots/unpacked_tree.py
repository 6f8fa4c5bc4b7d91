"""A tree of files in memory, as unpacking a tar or the layers of a container image makes it.

Names, links and modes are in memory, the bytes of files stay in their archives.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from minbuild.errors import MalformedFile
from minbuild.formats.region import Region
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar_members import TarMember
from minbuild.formats.tar_sparse import Extent
from minbuild.paths import escape_name

LINK_LIMIT = 40
"""Source: path_resolution(7), ELOOP."""
MAX_PATHS = 500_000
"""Paths of one root, directories that only names imply among them."""
MAX_PATH_TEXT = 1 << 28
"""Characters of all paths together: each of a deep tree holds those above it."""
MAX_STEPS = 30_000_000
"""Components of names that are followed: a root of a million files takes a third of them."""
MAX_FILE_SIZE = 1 << 30
"""Bytes of the largest file that is read."""


@dataclass(eq=False, slots=True)
class UnpackedInode:
    """One file, link, directory or device, by however many names."""

    kind: FileType
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    capability: bytes = b""
    archive: Region | None = None
    extents: tuple[Extent, ...] = ()
    children: "dict[str, UnpackedInode]" = field(default_factory=dict)
    """Of a directory."""

    def read(self, limit: int | None = None) -> bytes:
        """The bytes of a file, or its first `limit` bytes; holes are zeros. Raises: MalformedFile."""
        size = self.size if limit is None else min(self.size, limit)
        if size > MAX_FILE_SIZE:
            raise MalformedFile(
                f"a file of {size} bytes is larger than what is read, {MAX_FILE_SIZE}"
            )
        archive, extents = self.archive, self.extents
        if archive is None or not extents:
            return bytes(size)
        if extents[0].offset == 0 and extents[0].size >= size:
            return archive.read(extents[0].archive_offset, size)
        out = bytearray(size)
        for extent in extents:
            if extent.offset >= size:
                break
            length = min(extent.size, size - extent.offset)
            out[extent.offset : extent.offset + length] = archive.read(
                extent.archive_offset, length
            )
        return bytes(out)


NameInDirectory = tuple[UnpackedInode, str]
"""A directory and a name in it."""


class UnpackedTree:
    """A root that members are unpacked into, one after the other."""

    def __init__(self, *, chrooted: bool = False, max_paths: int = MAX_PATHS) -> None:
        """`max_paths`: paths at most. `chrooted`: members that lead through any link are followed within the root, and replace
        directories, as layers do; else as GNU tar, which follows no link that could lead out.
        """
        self._chrooted, self._max_paths = chrooted, max_paths
        self.top = UnpackedInode(FileType.DIRECTORY)
        self._path_count = self._step_count = 0
        self._open_directories: list[tuple[str, UnpackedInode]] = []
        """Directories that GNU tar gives their modes when it has left them."""

    def add(self, member: TarMember, archive: Region) -> NameInDirectory:
        """Unpack one member; returns the name that it now has.

        Raises: MalformedFile when it cannot be unpacked.
        """
        self._open_directories = [
            one for one in self._open_directories if member.name.startswith(one[0])
        ]
        parent, name = self._find_parent(member.name)
        previous = parent.children.get(name) if name else parent
        if previous is not None and previous.kind is member.kind is FileType.DIRECTORY:
            previous.mode, previous.uid, previous.gid = member.mode, member.uid, member.gid
            self._open_directories.append((f"{member.name}/", previous))
            return parent, name
        if previous is not None and not name:
            raise MalformedFile("its top is no directory")
        inode = _make_inode(member, archive)
        if member.kind is FileType.HARDLINK:
            inode = self._find_link_target(member, previous)
        if (
            previous is not None
            and inode is not previous
            and previous.children
            and not self._chrooted
        ):
            raise MalformedFile(
                f"a {member.kind} takes the place of a directory: {escape_name(member.name)!r}"
            )
        self._count_path(previous)
        parent.children[name] = inode
        if inode.kind is FileType.DIRECTORY:
            self._open_directories.append((f"{member.name}/", inode))
        return parent, name

    def find(self, name: str, *, follow: bool = True) -> UnpackedInode | None:
        """What stands at a name, links followed within the root; None when nothing does."""
        try:
            parent, last = self._find_parent(name, make=False, follow=follow)
        except (MalformedFile, KeyError):
            return None
        return parent.children.get(last) if last else parent

    def remove(self, name: str, keep: set[NameInDirectory]) -> None:
        """Take away what stands at a name, a link itself, but the names in `keep` and what leads there."""
        try:
            parent, last = self._find_parent(name, make=False)
        except (MalformedFile, KeyError):
            return
        if last in parent.children and not self._prune(parent, last, keep):
            del parent.children[last]

    def clear_directory(self, name: str, keep: set[NameInDirectory]) -> None:
        """Take away all below a directory but the names in `keep` and what leads there."""
        directory = self.find(name)
        if directory is not None:
            for child in [
                one for one in directory.children if not self._prune(directory, one, keep)
            ]:
                del directory.children[child]

    def walk(self) -> Iterator[tuple[str, UnpackedInode]]:
        """Every path but the top with its inode; in the order of names, a directory first."""
        pending, remaining = [("", self.top)], MAX_PATH_TEXT
        while pending:
            native_path, inode = pending.pop()
            if native_path:
                yield native_path, inode
            remaining -= len(native_path) + 1
            if remaining < 0:
                raise MalformedFile(
                    f"its paths have more than {MAX_PATH_TEXT} characters, the limit"
                )
            start = f"{native_path}/" if native_path else ""
            pending += [(start + name, inode.children[name]) for name in sorted(inode.children, reverse=True)]  # fmt: skip

    def _find_link_target(self, member: TarMember, previous: UnpackedInode | None) -> UnpackedInode:
        inode = self.find(member.target, follow=False) if member.target else None
        if inode is None:
            raise MalformedFile(
                f"a hard link to what is not there: {escape_name(member.name)!r} "
                f"to {escape_name(member.target)!r}"
            )
        if inode.kind is FileType.DIRECTORY and inode is not previous:
            raise MalformedFile(f"a hard link to a directory: {escape_name(member.name)!r}")
        return inode

    def _find_parent(
        self, name: str, *, make: bool = True, follow: bool = False
    ) -> NameInDirectory:
        """The directory that a name ends in, and its last component there; "" for the top itself.

        `make`: directories that are not there. `follow`: also a link that stands at the name.
        Raises: MalformedFile when it cannot be; KeyError without `make` when there is no directory.
        """
        ancestors, pending, hops = [self.top], _split_reversed(name), 0
        name_depth = len(pending)
        while pending:
            part = pending.pop()
            is_text = len(pending) >= name_depth  # of a link on the way, not of the name itself
            name_depth = min(name_depth, len(pending))
            self._count_step()
            if part == "..":
                ancestors = ancestors[:-1] or ancestors
                continue
            inode = ancestors[-1].children.get(part)
            if not pending and not (follow and inode is not None and inode.kind is FileType.LINK):
                return ancestors[-1], part
            if inode is None:
                inode = self._make_directory(ancestors[-1], part, name, make=make, is_text=is_text)
            if inode.kind is FileType.DIRECTORY:
                ancestors.append(inode)
                continue
            hops += 1
            if (
                inode.kind is not FileType.LINK
                or hops > LINK_LIMIT
                or self._may_lead_outside(inode, make=make)
            ):
                raise _misleading_name_error(name)
            ancestors = [self.top] if inode.target.startswith("/") else ancestors
            pending += _split_reversed(inode.target)
        return (ancestors[-1], "") if len(ancestors) == 1 else self._find_name(ancestors)

    def _make_directory(
        self, parent: UnpackedInode, part: str, name: str, *, make: bool, is_text: bool
    ) -> UnpackedInode:
        """Make a directory on the way; where only a link's text says so, GNU tar does not."""
        if not make:
            raise KeyError(part)
        if is_text and not self._chrooted:
            raise _misleading_name_error(name)
        parent.children[part] = self._make_implied_directory(parent)
        return parent.children[part]

    def _may_lead_outside(self, link: UnpackedInode, *, make: bool) -> bool:
        """Tell whether GNU tar would not go through a link: it makes those that could lead out last."""
        may_lead_out = link.target.startswith("/") or ".." in link.target.split("/")
        return make and not self._chrooted and may_lead_out

    def _prune(self, parent: UnpackedInode, name: str, keep: set[NameInDirectory]) -> bool:
        """Take away all below a name but what is kept; tell whether it must stay itself."""
        pending, order = [(parent, name)], []
        while pending:
            self._count_step()
            order.append(pending.pop())
            directory = order[-1][0].children[order[-1][1]]
            pending += [(directory, child) for child in directory.children]
        stays = False
        for parent_directory, child in reversed(order):
            stays = (
                bool(parent_directory.children[child].children) or (parent_directory, child) in keep
            )
            if not stays and (parent_directory, child) != (parent, name):
                del parent_directory.children[child]
        return stays

    def _make_implied_directory(self, parent: UnpackedInode) -> UnpackedInode:
        """A directory that only names imply. Source: mkdir(2), set-group-ID."""
        self._count_path(None)
        inherits = parent.mode & 0o2000 and (
            self._chrooted or all(one is not parent for _, one in self._open_directories)
        )
        return (
            UnpackedInode(FileType.DIRECTORY, 0o2755, 0, parent.gid)
            if inherits
            else UnpackedInode(FileType.DIRECTORY)
        )

    def _find_name(self, ancestors: list[UnpackedInode]) -> NameInDirectory:
        """The name of a directory that a walk ended in by `..`."""
        parent, directory = ancestors[-2:]
        return parent, next(name for name, one in parent.children.items() if one is directory)

    def _count_step(self) -> None:
        self._step_count += 1
        if self._step_count > MAX_STEPS:
            raise MalformedFile("its names take more steps to follow than can be believed")

    def _count_path(self, previous: UnpackedInode | None) -> None:
        self._path_count += previous is None
        if self._path_count > self._max_paths:
            raise MalformedFile(f"it has more than {self._max_paths} paths, the limit")


def _make_inode(member: TarMember, archive: Region) -> UnpackedInode:
    return UnpackedInode(
        member.kind, member.mode, member.uid, member.gid, member.size, member.target,
        member.capability, archive, member.extents,
    )  # fmt: skip


def _misleading_name_error(name: str) -> MalformedFile:
    return MalformedFile(f"a name leads through what is no directory: {escape_name(name)!r}")


def _split_reversed(name: str) -> list[str]:
    """The components of a name, the last one first."""
    return [part for part in name.split("/")[::-1] if part not in ("", ".")]
