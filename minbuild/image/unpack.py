"""An initramfs read as the kernel reads it: archives one after the other, packed or not.

Source: Linux, init/initramfs.c.
"""

import re
import stat
from collections.abc import Iterable

from minbuild.facts.root.places import Places, places
from minbuild.facts.root.types import Found
from minbuild.facts.types import Kind
from minbuild.image.cpio import END, HEADER, Header, Member, damaged, read_header
from minbuild.image.packings import Content, Packed, Tool, packing
from minbuild.image.rootfs import LONGEST_PATH, Inode, Rootfs
from minbuild.paths import MERGED, RootPath, spelled, unspelled

MOST = 1 << 30
"""Bytes that an initramfs may unpack to before it counts as a bomb."""
MOST_MEMBERS = 1 << 18
"""Members of all its archives."""
DEVICES = (stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK)
_SOMETHING = re.compile(rb"[^\0]")
_TRAILER = END.encode()


def members(
    data: bytes, *, where: str = "", most: int = MOST, tool: Tool | None = None, machine: int = 0
) -> dict[str, Member]:
    """Every path of the tree that the kernel makes of an initramfs, without its first slash; sorted.

    Each name of a file with several has its inode, its mode and its content. `tool` unpacks lz4
    and lzo; `machine` is PE's number of the kernel's, 0 where nobody knows it.
    Raises: ToolError when it is damaged, holds what makes the kernel stop, or unpacks to more than
    `most` bytes.
    """
    return tree(unpacked(data, where=where, most=most, tool=tool, machine=machine))


def unpacked(
    data: bytes, *, where: str = "", most: int = MOST, tool: Tool | None = None, machine: int = 0
) -> Rootfs:
    """The kernel's root after it unpacked an initramfs. Raises: ToolError, as `members`."""
    unpacker = _Unpacker(where, most, tool, machine)
    unpacker.read(data)
    return unpacker.root


def tree(root: Rootfs) -> dict[str, Member]:
    """The paths of a root; none for a link back that a directory is told in the place of."""
    rows = [(path.decode("utf-8", "surrogateescape"), inode) for path, inode in root.paths()]
    told = places_of(rows)
    rows = [(raw, inode) for raw, inode in rows if raw not in told.gone]
    numbers: dict[int, int] = {}
    counts: dict[int, int] = {}
    for _, inode in rows:
        numbers.setdefault(id(inode), len(numbers) + 1)
        counts[id(inode)] = counts.get(id(inode), 0) + 1
    return {
        raw: Member(
            told.path(raw), inode.mode, inode.uid, inode.gid, numbers[id(inode)], counts[id(inode)],
            0, _text(raw, inode, told), inode.device,
        )
        for raw, inode in rows
    }  # fmt: skip


def places_of(rows: Iterable[tuple[str, Inode]]) -> Places:
    """Where the paths of a root are told to be."""
    tops = {
        raw: _found(raw, inode)
        for raw, inode in rows
        if raw in MERGED
        or raw.removeprefix("usr/") in MERGED
        or (raw.count("/") <= 2 and "lib" in raw)
    }
    return places(tops)


def _found(raw: str, inode: Inode) -> Found:
    if stat.S_ISLNK(inode.mode):
        return Found(RootPath(f"/{raw}"), raw, Kind.LINK, 0o777, target=spelled(inode.content))
    kind = Kind.DIRECTORY if inode.is_directory else Kind.OTHER
    return Found(RootPath(f"/{raw}"), raw, kind, 0)


def _text(raw: str, inode: Inode, told: Places) -> bytes:
    """A file's bytes; a link's text as it leads where it leads in the root."""
    if stat.S_ISLNK(inode.mode) and told.moves:
        return unspelled(told.told(_found(raw, inode)).target)
    return inode.content


class _Unpacker:
    """What the kernel remembers from one member to the next."""

    def __init__(self, where: str, most: int, tool: Tool | None, machine: int) -> None:
        self.root = Rootfs(where)
        self._where, self._left, self._tool, self._machine = where, most, tool, machine
        self._names: dict[tuple[int, int, int, int], bytes] = {}
        """The first name of files with several, until a trailer."""
        self._count = 0

    def read(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if data[at] == 0:
                at = _skip(data, at)
            elif data[at : at + 1] == b"0":
                at = self._member(data, at, self._where, packed=False)
            else:
                at += self._segment(data, at)

    def _segment(self, data: bytes, at: int) -> int:
        """Unpack what is packed from a place on; how many bytes it took."""
        unpack = packing(data[at : at + 2])
        if unpack is None:
            raise damaged("there is neither a cpio archive nor one that is packed", at, self._where)
        packed = Packed(
            memoryview(data)[at:], at, self._where, self._left, self._tool, self._machine
        )
        inside, used = unpack(packed)
        self._left -= len(inside)
        where = f"{self._where} (unpacked, from byte {at})".lstrip()
        if not self._count and not inside.startswith(b"0"):
            raise damaged("what is packed does not begin with a cpio archive", 0, where)
        place = 0
        while place < len(inside):
            if inside[place]:
                place = self._member(inside, place, where, packed=True)
            else:
                place = _skip(inside, place)
        return used

    def _member(self, data: Content, at: int, where: str, *, packed: bool) -> int:
        """Do one member; where the next byte stands."""
        if at % 4:
            raise damaged("an archive begins at an odd place", at, where)
        self._count += 1
        if self._count > MOST_MEMBERS:
            raise damaged(f"it has more than {MOST_MEMBERS:,} members", at, where)
        head = read_header(data, at, where)
        start = at + HEADER
        body = start + head.body
        end = start + head.end
        if body + head.size > len(data) or (packed and end > len(data)):
            raise damaged("the cpio archive is cut short", at, where)
        if _is_passed_over(head):
            if packed:
                raise damaged("a member that the kernel may read in two ways", at, where)
            self.root.dropped.append(
                bytes(data[start : start + min(head.length, 80)]).rstrip(b"\0")
            )
            return end
        name = bytes(data[start : start + head.length])
        if name[-1]:
            raise damaged("a name of a cpio archive does not end", at, where)
        name = name.partition(b"\0")[0]
        content = bytes(data[body : body + head.size])
        if stat.S_ISLNK(head.mode):
            self._link(name, head, content)
        elif name == _TRAILER:
            self._names.clear()
        else:
            self._entry(name, head, content, at, where)
        return end

    def _link(self, name: bytes, head: Header, content: bytes) -> None:
        text = content.partition(b"\0")[0]
        self.root.clear(name, 0)
        if len(text) < LONGEST_PATH:
            self.root.make(name, stat.S_IFLNK | 0o777, text)
        found = self.root.look(name)
        if found is not None:
            self.root.own(found, head.uid, head.gid)
        if found is None or found.content != text:
            self.root.dropped.append(name)

    def _entry(self, name: bytes, head: Header, content: bytes, at: int, where: str) -> None:
        kind = stat.S_IFMT(head.mode)
        self.root.clear(name, head.mode)
        if kind == stat.S_IFREG:
            self._file(name, head, content, at, where)
        elif kind == stat.S_IFDIR or (kind in DEVICES and self._again(name, head) is None):
            device = head.device if kind in (stat.S_IFBLK, stat.S_IFCHR) else (0, 0)
            self.root.make(name, head.mode, device=device)
            self._become(name, self.root.look(name, follow=True), head)

    def _file(self, name: bytes, head: Header, content: bytes, at: int, where: str) -> None:
        again = self._again(name, head)
        found = self.root.open(name) if again is not False else None
        if found is None:
            self.root.dropped.append(name)
            return
        if head.checksum is not None and sum(content) & 0xFFFFFFFF != head.checksum:
            raise damaged("a member's checksum is not that of its bytes", at, where)
        self._become(name, found, head)
        if content or not again:
            found.content = content

    def _again(self, name: bytes, head: Header) -> bool | None:
        """Whether a name became another one of an earlier file; None when there is no such file."""
        if head.links < 2:
            return None
        key = (head.inode, *head.disk, stat.S_IFMT(head.mode))
        if key not in self._names:
            self._names[key] = name
            return None
        self.root.clear(name, 0)
        return self.root.link(self._names[key], name)

    def _become(self, name: bytes, found: Inode | None, head: Header) -> None:
        if found is None:
            self.root.dropped.append(name)
        else:
            self.root.own(found, head.uid, head.gid)
            found.mode = stat.S_IFMT(found.mode) | stat.S_IMODE(head.mode)


def _is_passed_over(head: Header) -> bool:
    """A member that the kernel skips by its header alone."""
    if not 0 < head.length <= LONGEST_PATH:
        return True
    if stat.S_ISLNK(head.mode):
        return head.size > LONGEST_PATH
    return not stat.S_ISREG(head.mode) and head.size > 0


def _skip(data: Content, at: int) -> int:
    """The next byte that is not zero."""
    found = _SOMETHING.search(data, at)
    return found.start() if found else len(data)
