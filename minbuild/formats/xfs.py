"""The file system xfs, read as the kernel reads it, without mounting.

Source: XFS Algorithms & Data Structures, 3rd edition; the kernel's fs/xfs/libxfs/xfs_format.h,
xfs_da_format.h, xfs_log_format.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.formats.filesystem import MAX_FILE_SIZE, DiskFileSystem, DiskInode
from minbuild.formats.magic import Format, has_magic

_KNOWN_FEATURES = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""FTYPE, SPINODES, META_UUID, BIGTIME, NREXT64, EXCHRANGE, PARENT."""
_FTYPE, _FTYPE_4 = 0x1, 0x200
_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
_REALTIME, _MANY_EXTENTS = 0x1, 0x10
_LEAF_OFFSET = 32 << 30
"""Byte of a directory where the index of its names begins."""
_SECURE = 4
_MAX_ATTR_BLOCKS = 1024
_LINK = 0o12
_MAX_DEPTH = 9
_RECORD, _UNMOUNT = 0xFEEDBABE, 0x20


@dataclass(frozen=True, slots=True)
class XfsInode(DiskInode):
    """An inode of xfs."""

    fork_format: int
    extent_count: int
    fork: bytes
    """Content, extents, or the root of a tree of them."""
    attr_format: int
    attr_extent_count: int
    attr_fork: bytes
    """The same of its extended attributes."""


class Xfs(DiskFileSystem[XfsInode]):
    """An xfs file system, version 4 or 5."""

    label = "xfs"

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read the superblock. Raises: ToolError when it is damaged or has unknown features."""
        super().__init__(data, start, size, where)
        head = data[start : start + 264]
        if len(head) < 264 or not has_magic(data, Format.XFS, start):
            raise self._damage_error("it has no superblock")
        self.block_size, blocks = struct.unpack_from(">IQ", head, 4)
        self._log_start, self.root_number = struct.unpack_from(">QQ", head, 48)
        self._blocks_per_group, groups = struct.unpack_from(">II", head, 84)
        (self._log_blocks, version, _, self._inode_size) = struct.unpack_from(">IHHH", head, 96)
        self._block_log, _, _, self._inodes_log, self._group_log = head[120:125]
        (features2,) = struct.unpack_from(">I", head, 200)
        (incompat,) = struct.unpack_from(">I", head, 216)
        self._is_version_5 = version & 15 == 5
        self._has_file_types = bool(
            incompat & _FTYPE if self._is_version_5 else features2 & _FTYPE_4
        )
        if version & 15 not in (4, 5) or (self._is_version_5 and incompat & ~_KNOWN_FEATURES):
            raise self._make_unsupported_error(
                f"features that are not read ({version & 15}, {incompat:#x})"
            )
        self._directory_block_size = self.block_size << head[192]
        self.size = blocks * self.block_size
        is_sound = (
            512 <= self.block_size <= 65536
            and self.block_size == 1 << self._block_log
            and 256 <= self._inode_size <= min(self.block_size, 2048)
            and self._inode_size << self._inodes_log == self.block_size
            and 0 < self._blocks_per_group <= 1 << self._group_log <= 1 << 31
            and self._directory_block_size <= 65536
            and blocks <= self._blocks_per_group * groups
        )
        if not is_sound:
            raise self._damage_error("its superblock says what cannot be")
        self._check_size()

    @property
    def is_dirty(self) -> bool:
        """Whether its log holds changes that are not in place: it was not unmounted.

        Source: xlog_find_tail: the last record of a log that is empty is that of an unmount.
        """
        if not self._log_start:
            return False  # it lies on another device
        log_offset, end = self._locate_block(self._log_start), self._log_blocks * self.block_size
        log = self._read_bytes(log_offset, end)
        last, record_offset = (-1, -1), -1
        for sector in range(0, end - 511, 512):
            magic, cycle = struct.unpack_from(">II", log, sector)
            if magic == _RECORD and (cycle, sector) > last:
                last, record_offset = (cycle, sector), sector
        if record_offset < 0:
            return False
        (version, _, _, _, _, _, count) = struct.unpack_from(">IIQQIII", log, record_offset + 8)
        (size,) = struct.unpack_from(">I", log, record_offset + 320)
        headers = -(-size // 32768) if version & 2 and size > 32768 else 1
        body = log[record_offset + 512 * headers : record_offset + 512 * headers + 12]
        return not (count == 1 and len(body) == 12 and body[9] & _UNMOUNT)

    def read_inode(self, number: int) -> XfsInode:
        """Raises: ToolError for a number that cannot be."""
        group, number_in_group = number >> self._group_log + self._inodes_log, number
        number_in_group &= (1 << self._group_log + self._inodes_log) - 1
        block, index = (
            number_in_group >> self._inodes_log,
            number_in_group & (1 << self._inodes_log) - 1,
        )
        block_offset = (group * self._blocks_per_group + block) * self.block_size
        raw = self._read_bytes(block_offset + index * self._inode_size, self._inode_size)
        magic, mode, version, fork_format = struct.unpack_from(">HHBB", raw)
        if magic != 0x494E or version not in (2, 3):
            raise self._damage_error(f"inode {number} cannot be read")
        uid, gid = struct.unpack_from(">II", raw, 8)
        (size,) = struct.unpack_from(">Q", raw, 56)
        extent_count, attr_extent_count, offset, attr_format = struct.unpack_from(">IHBB", raw, 76)
        (flags,) = struct.unpack_from(">H", raw, 90)
        core = 176 if version == 3 else 100
        if version == 3 and struct.unpack_from(">Q", raw, 120)[0] & _MANY_EXTENTS:
            (extent_count,) = struct.unpack_from(">Q", raw, 24)
            (attr_extent_count,) = struct.unpack_from(">I", raw, 76)
        if flags & _REALTIME:
            raise self._damage_error(f"inode {number} lies on another device")
        split = core + offset * 8 if offset else self._inode_size
        return XfsInode(
            number, mode, uid, gid, size, fork_format, extent_count, raw[core:split],
            attr_format if offset else _LOCAL, attr_extent_count, raw[split:],
        )  # fmt: skip

    def read(self, inode: XfsInode, limit: int = MAX_FILE_SIZE) -> bytes:
        """The first bytes of a file or a link's text, holes as zeros."""
        size = min(inode.size, limit)
        if inode.fork_format == _LOCAL:
            return inode.fork[:size]
        if inode.type_bits == _LINK:
            return self._read_remote_link(inode, size)
        out = bytearray(size)
        for logical, physical, count in self._list_extents(
            inode.fork_format, inode.extent_count, inode.fork
        ):
            offset = logical * self.block_size
            if offset >= size:
                break
            end = min(offset + count * self.block_size, size)
            if physical:
                out[offset:end] = self._read_bytes(self._locate_block(physical), end - offset)
        return bytes(out)

    def list_directory(self, inode: XfsInode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`."""
        for name, number in self._list_entries(inode):
            if name not in (b".", b".."):
                self._check_name(name, inode.number)
                yield name, number

    def read_capability(self, inode: XfsInode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        if not inode.attr_fork:
            return b""
        if inode.attr_format == _LOCAL:
            return self._find_short_attr(inode.attr_fork)
        remaining = _MAX_ATTR_BLOCKS
        for _, physical, count in self._list_extents(
            inode.attr_format, inode.attr_extent_count, inode.attr_fork
        ):
            for number in range(count):
                remaining -= 1
                if remaining < 0:
                    raise self._damage_error(f"inode {inode.number} has too many attributes")
                block = self._read_bytes(
                    self._locate_block(physical) + number * self.block_size, self.block_size
                )
                value = self._find_leaf_attr(block)
                if value:
                    return value
        return b""

    def _find_short_attr(self, area: bytes) -> bytes:
        offset = 4
        for _ in range(area[2] if len(area) > 2 else 0):
            if offset + 3 > len(area):
                raise self._damage_error("an extended attribute is cut short")
            length, size, flags = area[offset : offset + 3]
            name = area[offset + 3 : offset + 3 + length]
            if flags & _SECURE and name == b"capability":
                return area[offset + 3 + length : offset + 3 + length + size]
            offset += 3 + length + size
        return b""

    def _find_leaf_attr(self, block: bytes) -> bytes:
        magic = struct.unpack_from(">H", block, 8)[0]
        head = {0x3BEE: 80, 0xFBEE: 32}.get(magic)
        if head is None:
            return b""
        (count,) = struct.unpack_from(">H", block, 56 if head == 80 else 12)
        for row in range(min(count, (len(block) - head) // 8)):
            value_offset, flags = struct.unpack_from(">4xHB", block, head + 8 * row)
            if not flags & 1 or not flags & _SECURE or value_offset + 3 > len(block):
                continue  # a value elsewhere is longer than a capability
            size, length = struct.unpack_from(">HB", block, value_offset)
            if block[value_offset + 3 : value_offset + 3 + length] == b"capability":
                return block[value_offset + 3 + length : value_offset + 3 + length + size]
        return b""

    def _read_remote_link(self, inode: XfsInode, size: int) -> bytes:
        parts, remaining = [], size
        for _, physical, count in self._list_extents(
            inode.fork_format, inode.extent_count, inode.fork
        ):
            for number in range(min(count, remaining)):
                block = self._read_bytes(
                    self._locate_block(physical) + number * self.block_size, self.block_size
                )
                piece = block[56:] if self._is_version_5 else block
                parts.append(piece[:remaining])
                remaining -= len(parts[-1])
        return b"".join(parts)

    def _list_entries(self, inode: XfsInode) -> Iterator[tuple[bytes, int]]:
        if inode.fork_format == _LOCAL:
            yield from self._parse_short_directory(inode.fork, inode.number)
            return
        step = self._directory_block_size // self.block_size
        pieces: dict[int, bytes] = {}
        for logical, physical, count in self._list_extents(
            inode.fork_format, inode.extent_count, inode.fork
        ):
            for number in range(count):
                block = logical + number
                if block * self.block_size >= min(inode.size, _LEAF_OFFSET):
                    return
                pieces[block] = self._read_bytes(
                    self._locate_block(physical + number), self.block_size
                )
                if block % step == step - 1:
                    first = block - step + 1
                    data = b"".join(pieces.pop(one, b"") for one in range(first, block + 1))
                    yield from self._parse_directory(data, inode.number)

    def _parse_short_directory(self, area: bytes, inode: int) -> Iterator[tuple[bytes, int]]:
        if len(area) < 6:
            raise self._damage_error(f"directory {inode} cannot be read")
        count, wide = area[0], area[1] > 0
        offset, width = 2 + (8 if wide else 4), 8 if wide else 4
        for _ in range(count):
            if offset + 3 > len(area):
                raise self._damage_error(f"directory {inode} cannot be read")
            length = area[offset]
            name = area[offset + 3 : offset + 3 + length]
            offset += 3 + length + self._has_file_types
            number = int.from_bytes(area[offset : offset + width])
            offset += width
            if offset > len(area):
                raise self._damage_error(f"directory {inode} cannot be read")
            yield name, number

    def _parse_directory(self, data: bytes, inode: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a block of a directory, which may hold its own index at the end."""
        heads = {b"XDB3": 64, b"XDD3": 64, b"XD2B": 16, b"XD2D": 16}
        offset, end = heads.get(data[:4], 0), len(data)
        if not offset:
            raise self._damage_error(f"directory {inode} cannot be read")
        if data[:4] in (b"XDB3", b"XD2B"):
            (count,) = struct.unpack_from(">I", data, len(data) - 8)
            end = len(data) - 8 - 8 * count
        while offset + 8 <= end:
            tag, length = struct.unpack_from(">HH", data, offset)
            if tag == 0xFFFF:
                if length < 8 or length % 8:
                    raise self._damage_error(f"directory {inode} cannot be read")
                offset += length
                continue
            number, name_length = (
                struct.unpack_from(">QB", data, offset) if offset + 9 <= end else (0, 0)
            )
            name = data[offset + 9 : offset + 9 + name_length]
            offset += 8 + 1 + name_length + self._has_file_types + 2 + 7 & ~7
            if not name_length or offset > end:
                raise self._damage_error(f"directory {inode} cannot be read")
            yield name, number

    def _list_extents(
        self, fork_format: int, count: int, fork: bytes
    ) -> Iterator[tuple[int, int, int]]:
        """Logical block, physical block (0: zeros) and length, in order."""
        if fork_format == _BTREE:
            level, records = struct.unpack_from(">HH", fork)
            pointers_offset = 4 + (len(fork) - 4) // 16 * 8
            extents = self._walk_extent_tree(fork, level, records, pointers_offset)
        elif fork_format == _EXTENTS:
            extents = self._parse_extents(fork, 0, count)
        else:
            raise self._damage_error("the content of an inode is of no kind that is known")
        previous_end = 0
        for logical, physical, length in extents:
            if logical < previous_end or not length:
                raise self._damage_error("the extents of an inode are out of order")
            previous_end = logical + length
            yield logical, physical, length

    def _parse_extents(
        self, data: bytes, offset: int, count: int
    ) -> Iterator[tuple[int, int, int]]:
        if offset + 16 * count > len(data):
            raise self._damage_error("the extents of an inode cannot be read")
        for number in range(count):
            high, low = struct.unpack_from(">QQ", data, offset + 16 * number)
            physical = (high & 0x1FF) << 43 | low >> 21
            yield high >> 9 & (1 << 54) - 1, 0 if high >> 63 else physical, low & 0x1FFFFF

    def _walk_extent_tree(
        self, data: bytes, level: int, count: int, pointers_offset: int
    ) -> Iterator[tuple[int, int, int]]:
        """What lies below a node, whose pointers begin at `place`."""
        if not 0 < level <= _MAX_DEPTH or not count or pointers_offset + 8 * count > len(data):
            raise self._damage_error("the extents of an inode cannot be read")
        for pointer in struct.unpack_from(f">{count}Q", data, pointers_offset):
            block = self._read_bytes(self._locate_block(pointer), self.block_size)
            magic, child_level, records = struct.unpack_from(">4sHH", block)
            head = {b"BMA3": 72, b"BMAP": 24}.get(magic)
            if head is None or child_level != level - 1 or not records:
                raise self._damage_error("the extents of an inode cannot be read")
            if child_level:
                child_pointers_offset = head + (self.block_size - head) // 16 * 8
                yield from self._walk_extent_tree(
                    block, child_level, records, child_pointers_offset
                )
            else:
                yield from self._parse_extents(block, head, records)

    def _locate_block(self, block: int) -> int:
        """The byte of a block, whose number holds its group's."""
        group, block_in_group = block >> self._group_log, block & (1 << self._group_log) - 1
        return int((group * self._blocks_per_group + block_in_group) * self.block_size)
