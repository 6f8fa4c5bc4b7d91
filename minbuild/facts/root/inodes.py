"""A file system in memory, made as an unpacking tar makes it: names that lead to inodes.

A name through a link is where the link leads, within the root. A hard link is another name of
what its first name stands for at that moment, whatever becomes of that name later.
Source: GNU tar 1.35, src/extract.c; OCI Image Format Specification, layer.md, "Applying".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from minbuild.facts.damage import Damage
from minbuild.facts.root.members import Member
from minbuild.facts.root.region import Region
from minbuild.facts.root.sparse import Extent
from minbuild.facts.root.types import Found, place
from minbuild.facts.types import Kind
from minbuild.paths import spelled

LINK_LIMIT = 40
"""Source: path_resolution(7), ELOOP."""
MOST_PATHS = 2_000_000
"""Paths of one root, directories that only names imply among them."""
LARGEST = 1 << 30
"""Bytes of the largest file that is read."""


@dataclass(eq=False, slots=True)
class Inode:
    """One file, link, directory or device, by however many names."""

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    capability: bytes = b""
    archive: Region | None = None
    extents: tuple[Extent, ...] = ()
    children: "dict[str, Inode]" = field(default_factory=dict)
    """Of a directory."""

    def read(self, most: int | None = None) -> bytes:
        """The bytes of a file, or its first `most`; holes are zeros. Raises: Damage."""
        size = self.size if most is None else min(self.size, most)
        if size > LARGEST:
            raise Damage(f"a file of {size} bytes is larger than what is read, {LARGEST}")
        archive, extents = self.archive, self.extents
        if archive is None or not extents:
            return bytes(size)
        if extents[0].offset == 0 and extents[0].size >= size:
            return archive.read(extents[0].place, size)
        out = bytearray(size)
        for extent in extents:
            if extent.offset >= size:
                break
            length = min(extent.size, size - extent.offset)
            out[extent.offset : extent.offset + length] = archive.read(extent.place, length)
        return bytes(out)


Name = tuple[Inode, str]
"""A directory and a name in it."""


class FileSystem:
    """A root that members are unpacked into, one after the other."""

    def __init__(self) -> None:
        self.top = Inode(Kind.DIRECTORY)
        self._paths = 0

    def add(self, member: Member, archive: Region, *, replaces: bool = False) -> Name:
        """Unpack one member; returns the name that it now has.

        `replaces`: also a directory that is not empty, as layers of an image do; GNU tar does not.
        Raises: Damage when it cannot be unpacked.
        """
        parent, name = self._parent(member.name)
        before = parent.children.get(name) if name else parent
        if before is not None and before.kind is member.kind is Kind.DIRECTORY:
            before.mode, before.uid, before.gid = member.mode, member.uid, member.gid
            return parent, name
        if before is not None and before.kind is Kind.DIRECTORY and not name:
            raise Damage("its top is no directory")
        if before is not None and before.children and not replaces:
            raise Damage(
                f"a {member.kind} takes the place of a directory: {spelled(member.name)!r}"
            )
        made = self._linked(member) if member.kind is Kind.HARDLINK else _inode(member, archive)
        self._count(before)
        parent.children[name] = made
        return parent, name

    def find(self, name: str, *, follow: bool = True) -> Inode | None:
        """What stands at a name, links followed within the root; None when nothing does."""
        try:
            parent, last = self._parent(name, make=False, follow=follow)
        except (Damage, KeyError):
            return None
        return parent.children.get(last) if last else parent

    def remove(self, name: str, keep: set[Name]) -> None:
        """Take away what stands at a name, a link itself, but the names in `keep` and what leads there."""
        try:
            parent, last = self._parent(name, make=False)
        except (Damage, KeyError):
            return
        if last in parent.children and not _prune(parent, last, keep):
            del parent.children[last]

    def empty(self, name: str, keep: set[Name]) -> None:
        """Take away all below a directory but the names in `keep` and what leads there."""
        found = self.find(name)
        if found is not None:
            for child in [one for one in found.children if not _prune(found, one, keep)]:
                del found.children[child]

    def walk(self) -> Iterator[tuple[str, Inode]]:
        """Every path but the top with its inode; in the order of names, a directory first."""
        todo = [("", self.top)]
        while todo:
            raw, one = todo.pop()
            if raw:
                yield raw, one
            start = f"{raw}/" if raw else ""
            todo += [(start + name, one.children[name]) for name in sorted(one.children, reverse=True)]  # fmt: skip

    def _linked(self, member: Member) -> Inode:
        found = self.find(member.target, follow=False) if member.target else None
        if found is None:
            raise Damage(
                f"a hard link to what is not there: {spelled(member.name)!r} "
                f"to {spelled(member.target)!r}"
            )
        if found.kind is Kind.DIRECTORY:
            raise Damage(f"a hard link to a directory: {spelled(member.name)!r}")
        return found

    def _parent(self, name: str, *, make: bool = True, follow: bool = False) -> Name:
        """The directory that a name ends in, and its last component there; "" for the top itself.

        `make`: directories that are not there. `follow`: also a link that stands at the name.
        Raises: Damage when it cannot be; KeyError without `make` when there is no directory.
        """
        above, todo, hops = [self.top], _components(name), 0
        while todo:
            part = todo.pop()
            if part == "..":
                above = above[:-1] or above
                continue
            found = above[-1].children.get(part)
            if not todo and not (follow and found is not None and found.kind is Kind.LINK):
                return above[-1], part
            if found is None:
                if not make:
                    raise KeyError(part)
                found = above[-1].children[part] = Inode(Kind.DIRECTORY)
                self._count(None)
            if found.kind is Kind.LINK:
                hops += 1
                above = [self.top] if found.target.startswith("/") else above
                todo += _components(found.target)
            elif found.kind is Kind.DIRECTORY:
                above.append(found)
            if found.kind not in (Kind.LINK, Kind.DIRECTORY) or hops > LINK_LIMIT:
                raise Damage(f"a name leads through what is no directory: {spelled(name)!r}")
        return (above[-1], "") if len(above) == 1 else self._named(above)

    def _named(self, above: list[Inode]) -> Name:
        """The name of a directory that a walk ended in by `..`."""
        parent, found = above[-2:]
        return parent, next(name for name, one in parent.children.items() if one is found)

    def _count(self, before: Inode | None) -> None:
        self._paths += before is None
        if self._paths > MOST_PATHS:
            raise Damage(f"it has more than {MOST_PATHS} paths, the limit")


def founds(system: FileSystem) -> Iterator[tuple[Found, Inode]]:
    """Every path as the readers of roots tell it: the second name of a file is a hard link."""
    first: dict[int, str] = {}
    for raw, one in system.walk():
        kind, target, size = one.kind, spelled(one.target), one.size
        if kind is Kind.FILE and first.setdefault(id(one), raw) != raw:
            kind, target = Kind.HARDLINK, first[id(one)]
        mode = 0o777 if kind is Kind.LINK else one.mode
        yield (
            Found(place(spelled(raw), kind), raw, kind, mode, one.uid, one.gid, size, target,
                  one.capability),
            one,
        )  # fmt: skip


def _inode(member: Member, archive: Region) -> Inode:
    return Inode(
        member.kind, member.mode, member.uid, member.gid, member.size, member.target,
        member.capability, archive, member.extents,
    )  # fmt: skip


def _components(name: str) -> list[str]:
    """The components of a name, the last one first."""
    return [part for part in name.split("/")[::-1] if part not in ("", ".")]


def _prune(parent: Inode, name: str, keep: set[Name]) -> bool:
    """Take away all below a name but what is kept; tell whether it must stay itself."""
    todo, order = [(parent, name)], []
    while todo:
        order.append(todo.pop())
        at = order[-1][0].children[order[-1][1]]
        todo += [(at, child) for child in at.children]
    stays = False
    for above, child in reversed(order):
        stays = bool(above.children[child].children) or (above, child) in keep
        if not stays and (above, child) != (parent, name):
            del above.children[child]
    return stays
