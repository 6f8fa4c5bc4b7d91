"""The cpio format that the kernel unpacks into its first root: written, and read back.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c.
"""

import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.facts.types import Kind
from minbuild.paths import RootPath, rootpath, spelled, unspelled
from minbuild.tree.types import Node

MAGIC, CHECKED = b"070701", b"070702"
MAGICS = (MAGIC, CHECKED)
HEADER = 110
_DIGITS = re.compile(rb"[0-9a-fA-F]{104}")
END = "TRAILER!!!"
FORMAT = "newc/1"
"""Counts up when the same nodes are written as other bytes."""
ALIGN = 4
TYPES = {
    Kind.FILE: stat.S_IFREG,
    Kind.HARDLINK: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.LINK: stat.S_IFLNK,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive as it stands there, or one path of the tree that the kernel makes."""

    path: RootPath
    mode: int
    """Type and permission bits, as stat(2) gives them."""
    uid: int
    gid: int
    inode: int
    links: int
    mtime: int
    content: bytes
    """A file's bytes, or a link's text; of hard links in one archive only one has them."""
    device: tuple[int, int] = (0, 0)
    """Numbers of a device node."""


@dataclass(frozen=True, slots=True)
class Header:
    """The numbers before a member's name. Source: buffer-format.rst, "Struct cpio_header"."""

    inode: int
    mode: int
    uid: int
    gid: int
    links: int
    mtime: int
    size: int
    """Bytes of the body."""
    disk: tuple[int, int]
    """Numbers of the device that the archive was made from."""
    device: tuple[int, int]
    """Numbers of a device node."""
    length: int
    """Bytes of the name, with the zero byte that ends it."""
    checksum: int | None
    """The sum of the body's bytes; None in an archive without."""

    @property
    def body(self) -> int:
        """How far behind the header the body begins."""
        return aligned(HEADER + self.length) - HEADER

    @property
    def end(self) -> int:
        """How far behind the header the next one may begin."""
        return self.body + aligned(self.size)


def write(nodes: Sequence[Node], content: Callable[[str], bytes]) -> bytes:
    """Write one archive of `nodes` in their order; `content` gives the bytes of a digest.

    Times are 0, inodes count from 1: the archive depends on the nodes alone. The bytes of hard
    links come with the first of them, which all others must follow in the same archive.
    """
    out = bytearray()
    inodes: dict[str, int] = {}
    links: dict[str, int] = {}
    bodies: dict[str, str] = {}
    for node in nodes:
        first = _first(node)
        inodes.setdefault(first, len(inodes) + 1)
        links[first] = links.get(first, 0) + 1
        if node.kind is Kind.FILE:
            bodies[first] = node.sha256
    for node in nodes:
        first = _first(node)
        body = unspelled(node.target) if node.kind is Kind.LINK else b""
        if first in bodies:
            body = content(bodies.pop(first))
        mode = TYPES[node.kind] | (0o777 if node.kind is Kind.LINK else node.mode)
        count = 2 if node.kind is Kind.DIRECTORY else links[first]
        _member(out, node.path[1:], (inodes[first], mode, node.uid, node.gid, count), body)
    _member(out, END, (0, 0, 0, 0, 1), b"")
    return bytes(out)


def size(nodes: Sequence[Node]) -> int:
    """Bytes of the archive that `write` makes of `nodes`; no content is read."""
    total = aligned(HEADER + len(END) + 1)
    for node in nodes:
        body = len(unspelled(node.target)) if node.kind is Kind.LINK else node.size
        total += aligned(HEADER + len(_raw(node.path[1:]))) + aligned(body)
    return total


def read(data: bytes, *, where: str = "", start: int = 0) -> Iterator[Member]:
    """Give the members of one archive; stops at its trailer.

    Raises: ToolError when the archive is damaged.
    """
    at = start
    while True:
        member, at = read_member(data, at, where)
        if member is None:
            return
        yield member


def read_member(data: bytes, at: int, where: str) -> tuple[Member | None, int]:
    """The member that begins at `at`, None for the trailer, and where the next one begins."""
    head = read_header(data, at, where)
    start = at + HEADER
    name = data[start : start + head.length]
    body = data[start + head.body : start + head.body + head.size]
    if head.length < 1 or len(name) < head.length or name[-1] or len(body) < head.size:
        raise damaged("the cpio archive is cut short", at, where)
    text = spelled(name[:-1])
    if text == END:
        return None, start + head.end
    member = Member(
        rootpath(text), head.mode, head.uid, head.gid, head.inode, head.links, head.mtime, body
    )
    return member, start + head.end


def read_header(data: bytes | bytearray, at: int, where: str) -> Header:
    """The header that begins at `at`.

    Raises: ToolError when there is none.
    """
    head = bytes(data[at : at + HEADER])
    if len(head) < HEADER or not head.startswith(MAGICS):
        raise damaged("there is no cpio header where one is due", at, where)
    if _DIGITS.fullmatch(head, 6) is None:
        raise damaged("a cpio header is not hexadecimal", at, where)
    inode, mode, uid, gid, links, mtime, size, major, minor, *rest = (
        int(head[start : start + 8], 16) for start in range(6, HEADER, 8)
    )
    device = (rest[0] << 20 | rest[1]) & 0xFFFFFFFF
    return Header(
        inode, mode & 0xFFFF, uid, gid, links, mtime, size, (major, minor),
        (device >> 20, device & 0xFFFFF), rest[2], rest[3] if head.startswith(CHECKED) else None,
    )  # fmt: skip


def aligned(size: int) -> int:
    """Round up to the alignment of headers and contents."""
    return -(-size // ALIGN) * ALIGN


def damaged(what: str, at: int, where: str) -> ToolError:
    """The error of an initramfs that cannot be read."""
    place = f"{where}: byte {at}" if where else f"byte {at} of the initramfs"
    return ToolError(what, where=place, fix="make it again with what made it")


def _first(node: Node) -> str:
    return node.target if node.kind is Kind.HARDLINK else node.path


def _member(
    out: bytearray, name: str, numbers: tuple[int, int, int, int, int], body: bytes
) -> None:
    """Append one member: 13 numbers of 8 hexadecimal digits, the name, the body, each aligned."""
    raw = _raw(name)
    fields = (*numbers, 0, len(body), 0, 0, 0, 0, len(raw), 0)
    out += MAGIC + b"".join(b"%08x" % number for number in fields) + raw
    out += bytes(-len(out) % ALIGN)
    out += body
    out += bytes(-len(out) % ALIGN)


def _raw(name: str) -> bytes:
    return unspelled(name) + b"\0"
