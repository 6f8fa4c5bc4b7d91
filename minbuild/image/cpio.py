"""The cpio format that the kernel unpacks into its first root: written, and read back.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c.
"""

import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.facts.types import Kind
from minbuild.paths import RootPath, rootpath
from minbuild.tree.types import Node

MAGIC = b"070701"
HEADER = 110
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
    """One entry of an archive, as it stands there."""

    path: RootPath
    mode: int
    """Type and permission bits, as stat(2) gives them."""
    uid: int
    gid: int
    inode: int
    links: int
    mtime: int
    content: bytes
    """A file's bytes, or a link's text; of hard links only one has them."""


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
        body = node.target.encode() if node.kind is Kind.LINK else b""
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
        body = len(node.target.encode()) if node.kind is Kind.LINK else node.size
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
    head = data[at : at + HEADER]
    if len(head) < HEADER or not head.startswith((MAGIC, b"070702")):
        raise damaged("there is no cpio header where one is due", at, where)
    try:
        (inode, mode, uid, gid, links, mtime, size, *_devices, length, _sum) = (
            int(word, 16) for (word,) in struct.iter_unpack("8s", head[6:])
        )
    except ValueError as error:
        raise damaged("a cpio header is not hexadecimal", at, where) from error
    name = data[at + HEADER : at + HEADER + length]
    begin = aligned(at + HEADER + length)
    body = data[begin : begin + size]
    if length < 1 or len(name) < length or name[-1] or len(body) < size:
        raise damaged("the cpio archive is cut short", at, where)
    text = name[:-1].decode("utf-8", "surrogateescape")
    if text == END:
        return None, begin
    member = Member(rootpath(text), mode, uid, gid, inode, links, mtime, body)
    return member, aligned(begin + size)


def aligned(size: int) -> int:
    """Round up to the alignment of headers and contents."""
    return -(-size // ALIGN) * ALIGN


def damaged(what: str, at: int, where: str) -> ToolError:
    """The error of an initramfs that cannot be read."""
    place = f"{where}: byte {at}" if where else f"byte {at} of the initramfs"
    return ToolError(what, where=place, fix="build the image again: minbuild make")


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
    return name.encode("utf-8", "surrogateescape") + b"\0"
