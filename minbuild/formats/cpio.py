"""The cpio format of an initramfs: encoder and parser.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.formats.magic import CPIO_CRC, CPIO_NEWC
from minbuild.paths import RootPath, escape_name, to_root_path, unescape_name

HEADER_SIZE = 110
_DIGITS = re.compile(rb"[0-9a-fA-F]{104}")
TRAILER = "TRAILER!!!"
ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class CpioMember:
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
class CpioHeader:
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
    name_size: int
    """Bytes of the name, with the zero byte that ends it."""
    checksum: int | None
    """The sum of the body's bytes; None in an archive without."""

    @property
    def body_offset(self) -> int:
        """How far behind the header the body begins."""
        return align(HEADER_SIZE + self.name_size) - HEADER_SIZE

    @property
    def end_offset(self) -> int:
        """How far behind the header the next one may begin."""
        return self.body_offset + align(self.size)


def read_members(data: bytes, *, where: str = "", start: int = 0) -> Iterator[CpioMember]:
    """Give the members of one archive; stops at its trailer.

    Raises: ToolError when the archive is damaged.
    """
    at = start
    while True:
        member, at = read_member(data, at, where)
        if member is None:
            return
        yield member


def read_member(data: bytes, at: int, where: str) -> tuple[CpioMember | None, int]:
    """The member that begins at `at`, None for the trailer, and where the next one begins."""
    head = read_header(data, at, where)
    start = at + HEADER_SIZE
    name = data[start : start + head.name_size]
    body = data[start + head.body_offset : start + head.body_offset + head.size]
    if head.name_size < 1 or len(name) < head.name_size or name[-1] or len(body) < head.size:
        raise make_initramfs_error("the cpio archive is cut short", at, where)
    text = escape_name(name[:-1])
    if text == TRAILER:
        return None, start + head.end_offset
    member = CpioMember(
        to_root_path(text), head.mode, head.uid, head.gid, head.inode, head.links, head.mtime, body
    )
    return member, start + head.end_offset


def read_header(data: bytes | bytearray, at: int, where: str) -> CpioHeader:
    """The header that begins at `at`.

    Raises: ToolError when there is none.
    """
    head = bytes(data[at : at + HEADER_SIZE])
    if len(head) < HEADER_SIZE or not head.startswith((CPIO_NEWC, CPIO_CRC)):
        raise make_initramfs_error("there is no cpio header where one is due", at, where)
    if _DIGITS.fullmatch(head, 6) is None:
        raise make_initramfs_error("a cpio header is not hexadecimal", at, where)
    inode, mode, uid, gid, links, mtime, size, major, minor, *other_fields = (
        int(head[start : start + 8], 16) for start in range(6, HEADER_SIZE, 8)
    )
    device = (other_fields[0] << 20 | other_fields[1]) & 0xFFFFFFFF
    return CpioHeader(
        inode, mode & 0xFFFF, uid, gid, links, mtime, size, (major, minor),
        (device >> 20, device & 0xFFFFF), other_fields[2], other_fields[3] if head.startswith(CPIO_CRC) else None,
    )  # fmt: skip


def align(size: int) -> int:
    """Round up to the alignment of headers and contents."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def make_initramfs_error(problem: str, at: int, where: str) -> ToolError:
    """The error of an initramfs that cannot be read."""
    location = f"{where}: byte {at}" if where else f"byte {at} of the initramfs"
    return ToolError(problem, where=location, fix="make it again with what made it")


def append_member(
    out: bytearray, name: str, numbers: tuple[int, int, int, int, int], body: bytes
) -> None:
    """Append one member: 13 numbers of 8 hexadecimal digits, the name, the body, each aligned."""
    raw = encode_name(name)
    fields = (*numbers, 0, len(body), 0, 0, 0, 0, len(raw), 0)
    out += CPIO_NEWC + b"".join(b"%08x" % number for number in fields) + raw
    out += bytes(-len(out) % ALIGNMENT)
    out += body
    out += bytes(-len(out) % ALIGNMENT)


def encode_name(name: str) -> bytes:
    return unescape_name(name) + b"\0"
