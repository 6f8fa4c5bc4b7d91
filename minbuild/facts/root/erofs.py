"""The file system erofs, read as its kernel reads it; what is compressed is left to fsck.erofs.

Source: the kernel's Documentation/filesystems/erofs.rst and fs/erofs/{erofs_fs.h,data.c,xattr.c}.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.errors import ToolError
from minbuild.facts.root.images import FREE, RATIO
from minbuild.facts.root.tarball import damaged

MAGIC = 0xE0F5E1E2
_KNOWN = 0x7F
"""Features that an inode shows when it uses them: packings, chunks, fragments, long prefixes."""
_PLAIN, _INLINE, _CHUNKS = 0, 2, 4
_INDEXES, _HOLE = 0x20, 0xFFFFFFFF
_SECURITY, _LONG_PREFIX = 6, 0x80
_DIRECTORY, _LINK = 0o04, 0o12
_LARGEST = 1 << 30


@dataclass(frozen=True, slots=True)
class Inode:
    """One file, directory, link, device."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    layout: int
    start: int
    """Block of its content, or how its chunks are told."""
    rest: int
    """Byte of the image behind its fields: extended attributes, then what is stored beside them."""
    xattrs: int
    """Bytes of those attributes."""

    @property
    def kind(self) -> int:
        """S_IFREG >> 12 and so on."""
        return self.mode >> 12

    @property
    def is_packed(self) -> bool:
        """Whether its content is compressed."""
        return self.layout not in (_PLAIN, _INLINE, _CHUNKS)


class Erofs:
    """A file system that begins at some byte of an image."""

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read the superblock. Raises: ToolError when it is damaged or has unknown features."""
        self._data, self._start, self._where = data, start, where
        head = data[start + 1024 : start + 1152]
        if len(head) < 128 or struct.unpack_from("<I", head)[0] != MAGIC:
            raise self._damaged("it has no superblock")
        bits, self.root = struct.unpack_from("<BxH", head, 12)
        blocks, self._meta, self._shared = struct.unpack_from("<3I", head, 36)
        (features,) = struct.unpack_from("<I", head, 80)
        (devices,) = struct.unpack_from("<H", head, 86)
        if features & ~_KNOWN or devices:
            raise ToolError(
                f"the erofs has features that are not read ({features:#x}, {devices} devices)",
                where=where, fix="mount it and name its root directory",
            )  # fmt: skip
        if not 9 <= bits <= 16:
            raise self._damaged("its superblock says what cannot be")
        self.block = 1 << bits
        self.size = blocks * self.block
        if self.size > min(size, len(data) - start):
            raise self._damaged("it is larger than where it lies")

    @property
    def most(self) -> int:
        """Bytes that all files together may say to have."""
        return int(RATIO * self.size + FREE)

    def inode(self, number: int) -> Inode:
        """Raises: ToolError for a number that cannot be."""
        at = self._meta * self.block + number * 32
        (shape,) = struct.unpack("<H", self._bytes(at, 2))
        if shape & 1:
            fields = struct.unpack("<2xHHxxQI4xII", self._bytes(at, 32))
            xattrs, mode, size, start, uid, gid = fields
        else:
            fields = struct.unpack("<2xHHxxI4xI4xHH", self._bytes(at, 28))
            xattrs, mode, size, start, uid, gid = fields
        length = 12 + 4 * (xattrs - 1) if xattrs else 0
        return Inode(
            number,
            mode,
            uid,
            gid,
            size,
            shape >> 1 & 7,
            start,
            at + (64 if shape & 1 else 32),
            length,
        )

    def read(self, inode: Inode, most: int = _LARGEST) -> bytes:
        """The first bytes of what is not compressed."""
        size = min(inode.size, most)
        if inode.layout == _CHUNKS:
            return self._chunks(inode, size)
        if inode.layout == _INLINE:
            whole = max(-(-inode.size // self.block) - 1, 0) * self.block
            head = self._bytes(inode.start * self.block, min(size, whole)) if whole else b""
            tail = self._bytes(inode.rest + inode.xattrs, max(size - whole, 0))
            return head + tail
        if inode.layout != _PLAIN:
            raise self._damaged(f"inode {inode.number} is compressed, which only a file may be")
        return self._bytes(inode.start * self.block, size)

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`."""
        data = self.read(inode)
        for at in range(0, len(data), self.block):
            block = data[at : at + self.block]
            first = struct.unpack_from("<8xH", block)[0] if len(block) >= 12 else 0
            if not 12 <= first <= len(block) or first % 12:
                raise self._damaged(f"directory {inode.number} cannot be read")
            rows = [struct.unpack_from("<QH", block, 12 * row) for row in range(first // 12)]
            ends = [offset for _, offset in rows[1:]] + [len(block)]
            for (number, begin), end in zip(rows, ends, strict=True):
                name = block[begin:end].partition(b"\0")[0] if begin <= end else b""
                if name in (b".", b".."):
                    continue
                if not name or b"/" in name or len(name) > 255:
                    raise self._damaged(f"a name in directory {inode.number} cannot be")
                yield name, number

    def capability(self, inode: Inode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        if not inode.xattrs:
            return b""
        area = self._bytes(inode.rest, inode.xattrs)
        shared = area[4]
        if 12 + 4 * shared > len(area):
            raise self._damaged(f"the attributes of inode {inode.number} are cut short")
        at = 12 + 4 * shared
        while at + 4 <= len(area):
            value, size = self._attribute(area[at:])
            if value is not None:
                return value
            at += size
        for number in struct.unpack_from(f"<{shared}I", area, 12):
            place = self._shared * self.block + 4 * number
            value, _ = self._attribute(self._bytes(place, 4 + 255 + 64, cut=True))
            if value is not None:
                return value
        return b""

    def _attribute(self, area: bytes) -> tuple[bytes | None, int]:
        """The value of an attribute when it is security.capability, and how long it is."""
        length, index, size = struct.unpack_from("<BBH", area)
        if index & _LONG_PREFIX:
            raise ToolError(
                "the erofs has long prefixes of attributes, which are not read", where=self._where,
                fix="mount it and name its root directory",
            )  # fmt: skip
        whole = 4 + length + size + 3 & ~3
        if index == _SECURITY and area[4 : 4 + length] == b"capability":
            return area[4 + length : 4 + length + size], whole
        return None, whole

    def _chunks(self, inode: Inode, size: int) -> bytes:
        """Source: struct erofs_inode_chunk_info, erofs_inode_chunk_index."""
        chunk = self.block << (inode.start & 31)
        indexed = bool(inode.start & _INDEXES)
        unit = 8 if indexed else 4
        at = -(-(inode.rest + inode.xattrs) // unit) * unit
        parts = []
        for number in range(-(-size // chunk)):
            want = min(chunk, size - number * chunk)
            row = self._bytes(at + number * unit, unit)
            (place,) = struct.unpack("<4xI" if indexed else "<I", row)
            parts.append(bytes(want) if place == _HOLE else self._bytes(place * self.block, want))
        return b"".join(parts)

    def _bytes(self, at: int, size: int, *, cut: bool = False) -> bytes:
        """A stretch of the file system. Raises: ToolError when it is not there."""
        if at > self.size or (at + size > self.size and not cut):
            raise self._damaged("a part of it lies outside of it")
        return self._data[self._start + at : self._start + min(at + size, self.size)]

    def _damaged(self, why: str) -> ToolError:
        return damaged(f"its erofs cannot be read: {why}", self._where)
