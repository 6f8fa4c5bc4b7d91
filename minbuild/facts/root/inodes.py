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
MOST_PATHS = 500_000
"""Paths of one root, directories that only names imply among them."""
MOST_TEXT = 1 << 28
"""Characters of all paths together: each of a deep tree holds those above it."""
MOST_STEPS = 30_000_000
"""Components of names that are followed: a root of a million files takes a third of them."""
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

    def __init__(self, *, chrooted: bool = False, most: int = MOST_PATHS) -> None:
        """`most`: paths. `chrooted`: members that lead through any link are followed within the root, and replace
        directories, as layers do; else as GNU tar, which follows no link that could lead out.
        """
        self._chrooted, self._most = chrooted, most
        self.top = Inode(Kind.DIRECTORY)
        self._paths = self._steps = 0
        self._late: list[tuple[str, Inode]] = []
        """Directories that GNU tar gives their modes when it has left them."""

    def add(self, member: Member, archive: Region) -> Name:
        """Unpack one member; returns the name that it now has.

        Raises: Damage when it cannot be unpacked.
        """
        self._late = [one for one in self._late if member.name.startswith(one[0])]
        parent, name = self._parent(member.name)
        before = parent.children.get(name) if name else parent
        if before is not None and before.kind is member.kind is Kind.DIRECTORY:
            before.mode, before.uid, before.gid = member.mode, member.uid, member.gid
            self._late.append((f"{member.name}/", before))
            return parent, name
        if before is not None and not name:
            raise Damage("its top is no directory")
        made = _inode(member, archive)
        if member.kind is Kind.HARDLINK:
            made = self._linked(member, before)
        if before is not None and made is not before and before.children and not self._chrooted:
            raise Damage(
                f"a {member.kind} takes the place of a directory: {spelled(member.name)!r}"
            )
        self._count(before)
        parent.children[name] = made
        if made.kind is Kind.DIRECTORY:
            self._late.append((f"{member.name}/", made))
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
        if last in parent.children and not self._prune(parent, last, keep):
            del parent.children[last]

    def empty(self, name: str, keep: set[Name]) -> None:
        """Take away all below a directory but the names in `keep` and what leads there."""
        found = self.find(name)
        if found is not None:
            for child in [one for one in found.children if not self._prune(found, one, keep)]:
                del found.children[child]

    def walk(self) -> Iterator[tuple[str, Inode]]:
        """Every path but the top with its inode; in the order of names, a directory first."""
        todo, left = [("", self.top)], MOST_TEXT
        while todo:
            raw, one = todo.pop()
            if raw:
                yield raw, one
            left -= len(raw) + 1
            if left < 0:
                raise Damage(f"its paths have more than {MOST_TEXT} characters, the limit")
            start = f"{raw}/" if raw else ""
            todo += [(start + name, one.children[name]) for name in sorted(one.children, reverse=True)]  # fmt: skip

    def _linked(self, member: Member, before: Inode | None) -> Inode:
        found = self.find(member.target, follow=False) if member.target else None
        if found is None:
            raise Damage(
                f"a hard link to what is not there: {spelled(member.name)!r} "
                f"to {spelled(member.target)!r}"
            )
        if found.kind is Kind.DIRECTORY and found is not before:
            raise Damage(f"a hard link to a directory: {spelled(member.name)!r}")
        return found

    def _parent(self, name: str, *, make: bool = True, follow: bool = False) -> Name:
        """The directory that a name ends in, and its last component there; "" for the top itself.

        `make`: directories that are not there. `follow`: also a link that stands at the name.
        Raises: Damage when it cannot be; KeyError without `make` when there is no directory.
        """
        above, todo, hops = [self.top], _components(name), 0
        own = len(todo)
        while todo:
            part = todo.pop()
            is_text = len(todo) >= own  # of a link on the way, not of the name itself
            own = min(own, len(todo))
            self._step()
            if part == "..":
                above = above[:-1] or above
                continue
            found = above[-1].children.get(part)
            if not todo and not (follow and found is not None and found.kind is Kind.LINK):
                return above[-1], part
            if found is None:
                found = self._made(above[-1], part, name, make=make, is_text=is_text)
            if found.kind is Kind.DIRECTORY:
                above.append(found)
                continue
            hops += 1
            if found.kind is not Kind.LINK or hops > LINK_LIMIT or self._misleads(found, make=make):
                raise _misled(name)
            above = [self.top] if found.target.startswith("/") else above
            todo += _components(found.target)
        return (above[-1], "") if len(above) == 1 else self._named(above)

    def _made(self, parent: Inode, part: str, name: str, *, make: bool, is_text: bool) -> Inode:
        """Make a directory on the way; where only a link's text says so, GNU tar does not."""
        if not make:
            raise KeyError(part)
        if is_text and not self._chrooted:
            raise _misled(name)
        parent.children[part] = self._implied(parent)
        return parent.children[part]

    def _misleads(self, link: Inode, *, make: bool) -> bool:
        """Tell whether GNU tar would not go through a link: it makes those that could lead out last."""
        may_lead_out = link.target.startswith("/") or ".." in link.target.split("/")
        return make and not self._chrooted and may_lead_out

    def _prune(self, parent: Inode, name: str, keep: set[Name]) -> bool:
        """Take away all below a name but what is kept; tell whether it must stay itself."""
        todo, order = [(parent, name)], []
        while todo:
            self._step()
            order.append(todo.pop())
            at = order[-1][0].children[order[-1][1]]
            todo += [(at, child) for child in at.children]
        stays = False
        for above, child in reversed(order):
            stays = bool(above.children[child].children) or (above, child) in keep
            if not stays and (above, child) != (parent, name):
                del above.children[child]
        return stays

    def _implied(self, parent: Inode) -> Inode:
        """A directory that only names imply. Source: mkdir(2), set-group-ID."""
        self._count(None)
        inherits = parent.mode & 0o2000 and (
            self._chrooted or all(one is not parent for _, one in self._late)
        )
        return Inode(Kind.DIRECTORY, 0o2755, 0, parent.gid) if inherits else Inode(Kind.DIRECTORY)

    def _named(self, above: list[Inode]) -> Name:
        """The name of a directory that a walk ended in by `..`."""
        parent, found = above[-2:]
        return parent, next(name for name, one in parent.children.items() if one is found)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Damage("its names take more steps to follow than can be believed")

    def _count(self, before: Inode | None) -> None:
        self._paths += before is None
        if self._paths > self._most:
            raise Damage(f"it has more than {self._most} paths, the limit")


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


def _misled(name: str) -> Damage:
    return Damage(f"a name leads through what is no directory: {spelled(name)!r}")


def _components(name: str) -> list[str]:
    """The components of a name, the last one first."""
    return [part for part in name.split("/")[::-1] if part not in ("", ".")]
