"""The file system erofs, read as the kernel reads it; fsck.erofs reads compressed files.

Source: the kernel's Documentation/filesystems/erofs.rst and fs/erofs/{erofs_fs.h,data.c,xattr.c}.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.formats.filesystem import MAX_FILE_SIZE, DiskFileSystem, DiskInode
from minbuild.formats.magic import Format, has_magic
from minbuild.formats.qemu_image import FREE_SIZE, MAX_RATIO

_KNOWN_FEATURES = 0x7F
"""Features that an inode shows when it uses them: packings, chunks, fragments, long prefixes."""
_PLAIN, _INLINE, _CHUNKS = 0, 2, 4
_INDEXES, _HOLE = 0x20, 0xFFFFFFFF
_SECURITY, _LONG_PREFIX = 6, 0x80
_MAX_SHARED_ATTRIBUTE = 4 + 255 + 64
"""Bytes of a shared attribute that are looked at: a capability is shorter."""
_DIRECTORY, _LINK = 0o04, 0o12


@dataclass(frozen=True, slots=True)
class ErofsInode(DiskInode):
    """An inode of erofs."""

    layout: int
    start: int
    """Block of its content, or how its chunks are told."""
    inline_offset: int
    """Byte of the image behind its fields: extended attributes, then what is stored beside them."""
    xattrs_size: int
    """Bytes of those attributes."""

    @property
    def is_compressed(self) -> bool:
        """Whether its content is compressed."""
        return self.layout not in (_PLAIN, _INLINE, _CHUNKS)


class Erofs(DiskFileSystem[ErofsInode]):
    """An erofs file system; the content of its compressed files is not read."""

    label = "erofs"

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read the superblock. Raises: ToolError when it is damaged or has unknown features."""
        super().__init__(data, start, size, where)
        head = data[start + 1024 : start + 1152]
        if len(head) < 128 or not has_magic(data, Format.EROFS, start):
            raise self._damage_error("it has no superblock")
        block_bits, self.root_number = struct.unpack_from("<BxH", head, 12)
        blocks, self._meta_block, self._shared_block = struct.unpack_from("<3I", head, 36)
        (features,) = struct.unpack_from("<I", head, 80)
        (devices,) = struct.unpack_from("<H", head, 86)
        if features & ~_KNOWN_FEATURES or devices:
            raise self._make_unsupported_error(
                f"features that are not read ({features:#x}, {devices} devices)"
            )
        if not 9 <= block_bits <= 16:
            raise self._damage_error("its superblock says what cannot be")
        self.block_size = 1 << block_bits
        self.size = blocks * self.block_size
        self._check_size()

    @property
    def size_limit(self) -> int:
        """Bytes that all files together may say to have."""
        return int(MAX_RATIO * self.size + FREE_SIZE)

    def read_inode(self, number: int) -> ErofsInode:
        """Raises: ToolError for a number that cannot be."""
        offset = self._meta_block * self.block_size + number * 32
        (layout_bits,) = struct.unpack("<H", self._read_bytes(offset, 2))
        if layout_bits & 1:
            fields = struct.unpack("<2xHHxxQI4xII", self._read_bytes(offset, 32))
            xattrs, mode, size, start, uid, gid = fields
        else:
            fields = struct.unpack("<2xHHxxI4xI4xHH", self._read_bytes(offset, 28))
            xattrs, mode, size, start, uid, gid = fields
        length = 12 + 4 * (xattrs - 1) if xattrs else 0
        return ErofsInode(
            number,
            mode,
            uid,
            gid,
            size,
            layout_bits >> 1 & 7,
            start,
            offset + (64 if layout_bits & 1 else 32),
            length,
        )

    def read(self, inode: ErofsInode, limit: int = MAX_FILE_SIZE) -> bytes:
        """The first bytes of what is not compressed."""
        size = min(inode.size, limit)
        if inode.layout == _CHUNKS:
            return self._read_chunks(inode, size)
        if inode.layout == _INLINE:
            blocks_size = max(-(-inode.size // self.block_size) - 1, 0) * self.block_size
            head = (
                self._read_bytes(inode.start * self.block_size, min(size, blocks_size))
                if blocks_size
                else b""
            )
            tail = self._read_bytes(
                inode.inline_offset + inode.xattrs_size, max(size - blocks_size, 0)
            )
            return head + tail
        if inode.layout != _PLAIN:
            raise self._damage_error(
                f"inode {inode.number} is compressed, which only a file may be"
            )
        return self._read_bytes(inode.start * self.block_size, size)

    def list_directory(self, inode: ErofsInode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`."""
        self._check_directory_size(inode.size, inode.number)
        data = self.read(inode)
        for block_start in range(0, len(data), self.block_size):
            block = data[block_start : block_start + self.block_size]
            first = struct.unpack_from("<8xH", block)[0] if len(block) >= 12 else 0
            if not 12 <= first <= len(block) or first % 12:
                raise self._damage_error(f"directory {inode.number} cannot be read")
            rows = [struct.unpack_from("<QH", block, 12 * row) for row in range(first // 12)]
            ends = [offset for _, offset in rows[1:]] + [len(block)]
            for (number, begin), end in zip(rows, ends, strict=True):
                name = block[begin:end].partition(b"\0")[0] if begin <= end else b""
                if name in (b".", b".."):
                    continue
                self._check_name(name, inode.number)
                yield name, number

    def read_capability(self, inode: ErofsInode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        if not inode.xattrs_size:
            return b""
        area = self._read_bytes(inode.inline_offset, inode.xattrs_size)
        shared_count = area[4]
        if 12 + 4 * shared_count > len(area):
            raise self._damage_error(f"the attributes of inode {inode.number} are cut short")
        offset = 12 + 4 * shared_count
        while offset + 4 <= len(area):
            value, size = self._parse_attribute(area[offset:])
            if value is not None:
                return value
            offset += size
        for number in struct.unpack_from(f"<{shared_count}I", area, 12):
            shared_offset = self._shared_block * self.block_size + 4 * number
            size = max(4, min(_MAX_SHARED_ATTRIBUTE, self.size - shared_offset))
            value, _ = self._parse_attribute(self._read_bytes(shared_offset, size))
            if value is not None:
                return value
        return b""

    def _parse_attribute(self, area: bytes) -> tuple[bytes | None, int]:
        """The value of an attribute when it is security.capability, and how long it is."""
        length, index, size = struct.unpack_from("<BBH", area)
        if index & _LONG_PREFIX:
            raise self._make_unsupported_error("long prefixes of attributes, which are not read")
        padded_size = 4 + length + size + 3 & ~3
        if index == _SECURITY and area[4 : 4 + length] == b"capability":
            return area[4 + length : 4 + length + size], padded_size
        return None, padded_size

    def _read_chunks(self, inode: ErofsInode, size: int) -> bytes:
        """Source: struct erofs_inode_chunk_info, erofs_inode_chunk_index."""
        chunk = self.block_size << (inode.start & 31)
        is_indexed = bool(inode.start & _INDEXES)
        unit = 8 if is_indexed else 4
        table_offset = -(-(inode.inline_offset + inode.xattrs_size) // unit) * unit
        parts = []
        for number in range(-(-size // chunk)):
            piece_size = min(chunk, size - number * chunk)
            row = self._read_bytes(table_offset + number * unit, unit)
            (chunk_block,) = struct.unpack("<4xI" if is_indexed else "<I", row)
            parts.append(
                bytes(piece_size)
                if chunk_block == _HOLE
                else self._read_bytes(chunk_block * self.block_size, piece_size)
            )
        return b"".join(parts)
