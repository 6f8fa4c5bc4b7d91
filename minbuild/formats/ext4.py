"""The file systems ext2, ext3 and ext4, read as the kernel reads them, without mounting.

Source: the kernel's Documentation/filesystems/ext4 and fs/ext4/{ext4.h,extents.c,xattr.c};
e2fsprogs, lib/ext2fs/openfs.c (where group descriptors lie).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.errors import ToolError
from minbuild.formats.filesystem import MAX_FILE_SIZE, DiskFileSystem, DiskInode
from minbuild.formats.magic import Format, has_magic

ROOT_INODE = 2
_NEEDS_RECOVERY, _META_BG, _BITS64 = 0x4, 0x10, 0x80
_KNOWN_FEATURES = (
    0x2 | _NEEDS_RECOVERY | _META_BG | 0x40 | _BITS64 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
)
_KNOWN_FEATURES |= 0x8000 | 0x10000 | 0x20000
"""FILETYPE, RECOVER, META_BG, EXTENTS, 64BIT, MMP, FLEX_BG, EA_INODE, CSUM_SEED, LARGEDIR,
INLINE_DATA, ENCRYPT, CASEFOLD: what an inode then says is looked at, inode by inode."""
_FILETYPE = 0x2
_SPARSE_SUPER, _SPARSE_SUPER2 = 0x1, 0x200
_COMPRESSED, _ENCRYPTED, _EXTENTS, _INLINE = 0x4, 0x800, 0x80000, 0x10000000
_EXTENT_MAGIC, _XATTR_MAGIC = 0xF30A, 0xEA020000
_UNWRITTEN = 32768
"""An extent longer than this is allocated and holds zeros: its physical block is of no use."""
_DIRECTORY, _LINK = 0o04, 0o12
_MAX_DEPTH = 5
_SECURITY, _SYSTEM = 6, 7
"""Numbers of the names that extended attributes begin with."""
_MAX_XATTRS = 4096


@dataclass(frozen=True, slots=True)
class Ext4Inode(DiskInode):
    """An inode of ext4."""

    flags: int
    blocks: int
    """Sectors of 512 bytes that belong to it."""
    body: bytes
    """i_block: a tree of extents, block numbers, a short link's text, or data."""
    acl: int
    """Block of its extended attributes."""
    rest: bytes
    """What follows the fields in the inode table: extended attributes."""


class Ext4(DiskFileSystem[Ext4Inode]):
    """An ext2, ext3 or ext4 file system."""

    label = "file system"

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read the superblock of what begins at a byte and may have `size` bytes.

        Raises: ToolError when this is no such file system, is damaged, or has unknown features.
        """
        super().__init__(data, start, size, where)
        self.root_number = ROOT_INODE
        self._inode_tables = dict[int, int]()
        """First blocks of the inode tables that were asked for, by group."""
        head = data[start + 1024 : start + 2048]
        if not has_magic(data, Format.EXT4, start):
            raise self._damage_error("it has no superblock")
        if len(head) < 1024:
            raise self._damage_error("it ends inside its superblock")
        fields = struct.unpack_from("<6I", head)
        self._inode_count, self._block_count, self._first_data_block = (
            fields[0],
            fields[1],
            fields[5],
        )
        (block_log,) = struct.unpack_from("<I", head, 24)
        (self._blocks_per_group,) = struct.unpack_from("<I", head, 32)
        (self._inodes_per_group,) = struct.unpack_from("<I", head, 40)
        (revision,) = struct.unpack_from("<I", head, 76)
        self._compat, self._incompat, self._ro_compat = struct.unpack_from("<3I", head, 92)
        (self._inode_size,) = struct.unpack_from("<H", head, 88) if revision else (128,)
        is_64bit = bool(self._incompat & _BITS64)
        self._descriptor_size = struct.unpack_from("<H", head, 254)[0] if is_64bit else 32
        if is_64bit:
            self._block_count |= struct.unpack_from("<I", head, 336)[0] << 32
        (self._first_meta_group,) = struct.unpack_from("<I", head, 260)
        self._backup_groups = struct.unpack_from("<2I", head, 588)
        self._check_superblock(block_log)
        self.block_size = 1024 << block_log
        self.size = int(self._block_count * self.block_size)
        self._check_size()

    def _check_superblock(self, block_log: int) -> None:
        unknown = self._incompat & ~_KNOWN_FEATURES
        if unknown:
            raise self._make_unsupported_error(f"features that are not read ({unknown:#x})")
        is_sound = (
            block_log <= 6
            and self._blocks_per_group
            and self._inodes_per_group
            and 128 <= self._inode_size <= 1024 << block_log
            and 32 <= self._descriptor_size <= 1024
        )
        if not is_sound:
            raise self._damage_error("its superblock says what cannot be")

    @property
    def is_dirty(self) -> bool:
        """Whether its journal holds changes that are not in place: it was not unmounted."""
        return bool(self._incompat & _NEEDS_RECOVERY)

    def read_inode(self, number: int) -> Ext4Inode:
        """Raises: ToolError for a number that cannot be, and for encrypted or compressed content."""
        if not 1 <= number <= self._inode_count:
            raise self._damage_error(f"inode {number} cannot be")
        group, index = divmod(number - 1, self._inodes_per_group)
        offset = (
            self._start + self._find_inode_table(group) * self.block_size + index * self._inode_size
        )
        raw = self._data[offset : offset + self._inode_size]
        if len(raw) < self._inode_size:
            raise self._damage_error(f"inode {number} lies behind its end")
        mode, uid, size = struct.unpack_from("<HHI", raw)
        (gid, _, blocks, flags) = struct.unpack_from("<HHII", raw, 24)
        acl, size_high = struct.unpack_from("<II", raw, 104)
        blocks_high, acl_high, uid_high, gid_high = struct.unpack_from("<4H", raw, 116)
        if flags & (_ENCRYPTED | _COMPRESSED) and mode >> 12 in (0o10, 0o12, 0o04):
            how = "encrypted" if flags & _ENCRYPTED else "compressed"
            raise ToolError(
                f"the file system holds {how} files, which are not read",
                where=f"{self._where}: inode {number}",
                fix="mount it with its key and name its root directory",
            )
        extra = struct.unpack_from("<H", raw, 128)[0] if len(raw) >= 130 else 0
        return Ext4Inode(
            number, mode, uid | uid_high << 16, gid | gid_high << 16,
            size | size_high << 32 if mode >> 12 in (0o10, 0o04) else size,
            flags, blocks | blocks_high << 32, raw[40:100], acl | acl_high << 32,
            raw[128 + extra :],
        )  # fmt: skip

    def read(self, inode: Ext4Inode, limit: int = MAX_FILE_SIZE) -> bytes:
        """The first bytes of a file, directory or link, holes as zeros; all when there are fewer."""
        size = min(inode.size, limit)
        if inode.flags & _INLINE:
            return (inode.body + self.read_xattr(inode, _SYSTEM, b"data"))[:size]
        if (
            inode.type_bits == _LINK
            and inode.size < len(inode.body)
            and self._is_fast_symlink(inode)
        ):
            return inode.body[:size]
        out = bytearray(size)
        block_end = -(-size // self.block_size)
        for logical, physical, count in self._map_blocks(inode, block_end):
            offset = logical * self.block_size
            end = min(offset + count * self.block_size, size)
            if physical:
                piece = self._read_blocks(physical, -(-(end - offset) // self.block_size))
                out[offset:end] = piece[: end - offset]
        return bytes(out)

    def list_directory(self, inode: Ext4Inode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`, as they stand there.

        Raises: ToolError where the kernel would call it damaged.
        """
        self._check_directory_size(inode.size, inode.number)
        data = self.read(inode)
        if inode.flags & _INLINE:
            # the parent's inode stands first; the rest of i_block and the attribute are two lists
            yield from self._parse_directory(data[4 : len(inode.body)], inode.number)
            yield from self._parse_directory(data[len(inode.body) :], inode.number)
            return
        for offset in range(0, len(data), self.block_size):
            yield from self._parse_directory(data[offset : offset + self.block_size], inode.number)

    def read_capability(self, inode: Ext4Inode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        return self.read_xattr(inode, _SECURITY, b"capability")

    def read_xattr(self, inode: Ext4Inode, index: int, name: bytes) -> bytes:
        """The value of an extended attribute, b"" without it."""
        if len(inode.rest) >= 4 and struct.unpack_from("<I", inode.rest)[0] == _XATTR_MAGIC:
            value = self._find_xattr(inode.rest[4:], 0, index, name)
            if value is not None:
                return value
        if inode.acl:
            block = self._read_blocks(inode.acl, 1)
            if struct.unpack_from("<I", block)[0] != _XATTR_MAGIC:
                raise self._damage_error(f"the attributes of inode {inode.number} are none")
            return self._find_xattr(block, 32, index, name) or b""
        return b""

    def _find_xattr(self, area: bytes, entry_offset: int, index: int, name: bytes) -> bytes | None:
        for _ in range(_MAX_XATTRS):
            if (
                area[entry_offset : entry_offset + 4] in (bytes(4), b"")
                or len(area) < entry_offset + 16
            ):
                return None
            name_length, name_index, offset, inode, size = struct.unpack_from(
                "<BBHII", area, entry_offset
            )
            if (
                name_index == index
                and area[entry_offset + 16 : entry_offset + 16 + name_length] == name
            ):
                if inode:
                    return self.read(self._check_xattr_size(self.read_inode(inode)))
                value = area[offset : offset + size]
                if len(value) < size:
                    raise self._damage_error("an extended attribute is cut short")
                return value
            entry_offset += 16 + (name_length + 3 & ~3)
        return None

    def _check_xattr_size(self, inode: Ext4Inode) -> Ext4Inode:
        if inode.size > 1 << 20:
            raise self._damage_error("an extended attribute is larger than the kernel allows")
        return inode

    def _parse_directory(self, data: bytes, inode: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a block; those of a hash tree's own nodes are empty. Source: "Linear"."""
        offset = 0
        while offset + 8 <= len(data):
            number, entry_length, name_length, kind = struct.unpack_from("<IHBB", data, offset)
            if self.block_size >= 1 << 16:
                entry_length = (
                    1 << 16
                    if entry_length in (0, 65535)
                    else entry_length & 65532 | (entry_length & 3) << 16
                )
            if not self._incompat & _FILETYPE:
                name_length |= kind << 8
            if (
                entry_length < 8
                or entry_length % 4
                or offset + entry_length > len(data)
                or 8 + name_length > entry_length
            ):
                raise self._damage_error(f"directory {inode} cannot be read")
            name = data[offset + 8 : offset + 8 + name_length]
            offset += entry_length
            if number and name not in (b".", b".."):
                self._check_name(name, inode)
                yield name, number

    def _is_fast_symlink(self, inode: Ext4Inode) -> bool:
        """Whether a link's text stands in its inode. Source: ext4_inode_is_fast_symlink."""
        return inode.blocks - (self.block_size >> 9 if inode.acl else 0) <= 0

    def _map_blocks(self, inode: Ext4Inode, block_end: int) -> Iterator[tuple[int, int, int]]:
        """Logical block, physical block and length of what is written before block `last`."""
        if inode.flags & _EXTENTS:
            previous_end = 0
            for logical, physical, count in self._walk_extent_tree(inode.body, None, inode.number):
                if logical >= block_end:
                    return
                if logical < previous_end or not count:
                    raise self._damage_error(
                        f"the extents of inode {inode.number} are out of order"
                    )
                previous_end = logical + count
                yield logical, physical, count
            return
        block_numbers = struct.unpack("<15I", inode.body)
        for logical, physical in enumerate(block_numbers[: min(12, block_end)]):
            if physical:
                yield logical, physical, 1
        first, pointers_per_block = 12, self.block_size // 4
        for depth, physical in enumerate(block_numbers[12:], 1):
            if physical and first < block_end:
                yield from self._map_indirect(physical, depth, first, block_end)
            first += pointers_per_block**depth

    def _map_indirect(
        self, physical: int, depth: int, first: int, last: int
    ) -> Iterator[tuple[int, int, int]]:
        pointers_per_block = self.block_size // 4
        step = pointers_per_block ** (depth - 1)
        for number, pointer in enumerate(
            struct.unpack(f"<{pointers_per_block}I", self._read_blocks(physical, 1))
        ):
            logical = first + number * step
            if logical >= last:
                return
            if pointer and depth == 1:
                yield logical, pointer, 1
            elif pointer:
                yield from self._map_indirect(pointer, depth - 1, logical, last)

    def _walk_extent_tree(
        self, node: bytes, level: int | None, inode: int
    ) -> Iterator[tuple[int, int, int]]:
        """What a node of a tree holds; a node below the top has a known level and is not empty."""
        magic, count, _, depth = struct.unpack_from("<4H", node)
        if (
            magic != _EXTENT_MAGIC
            or 12 * (count + 1) > len(node)
            or depth > _MAX_DEPTH
            or (level is not None and (depth != level or not count))
        ):
            raise self._damage_error(f"the extents of inode {inode} cannot be read")
        for number in range(1, count + 1):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, 12 * number)
                yield from self._walk_extent_tree(
                    self._read_blocks(high << 32 | low, 1), depth - 1, inode
                )
                continue
            logical, length, high, low = struct.unpack_from("<IHHI", node, 12 * number)
            if length <= _UNWRITTEN:
                yield logical, high << 32 | low, length
            else:
                yield logical, 0, length - _UNWRITTEN

    def _read_blocks(self, block: int, count: int) -> bytes:
        if not 0 < block < self._block_count:
            raise self._damage_error(f"block {block} lies outside of it")
        offset = self._start + block * self.block_size
        piece = self._data[offset : offset + count * self.block_size]
        if len(piece) < count * self.block_size:
            raise self._damage_error("it is cut short")
        return piece

    def _find_inode_table(self, group: int) -> int:
        """The first block of a group's inode table."""
        if group not in self._inode_tables:
            descriptors_per_block = self.block_size // self._descriptor_size
            block, index = divmod(group, descriptors_per_block)
            offset = (
                self._start
                + self._locate_descriptors(block, descriptors_per_block) * self.block_size
            )
            raw = self._data[offset + index * self._descriptor_size :][: self._descriptor_size]
            if len(raw) < self._descriptor_size:
                raise self._damage_error("its group descriptors are cut short")
            (table,) = struct.unpack_from("<I", raw, 8)
            if self._descriptor_size >= 64:
                table |= struct.unpack_from("<I", raw, 40)[0] << 32
            if not 0 < table < self._block_count:
                raise self._damage_error(f"group {group} has no inodes")
            self._inode_tables[group] = int(table)
        return self._inode_tables[group]

    def _locate_descriptors(self, number: int, descriptors_per_block: int) -> int:
        """Where a block of group descriptors lies. Source: ext2fs_descriptor_block_loc2."""
        shifted = int(self.block_size == 1024 and self._first_data_block == 0)
        if not self._incompat & _META_BG or number < self._first_meta_group:
            return int(self._first_data_block + shifted + number + 1)
        group = descriptors_per_block * number
        block = (
            self._first_data_block
            + group * self._blocks_per_group
            + int(self._has_superblock(group))
        )
        return int(block + (shifted if not number else 0))

    def _has_superblock(self, group: int) -> bool:
        if group == 0:
            return True
        if self._compat & _SPARSE_SUPER2:
            return group in self._backup_groups
        if group == 1 or not self._ro_compat & _SPARSE_SUPER:
            return True
        return any(group == base**power for base in (3, 5, 7) for power in range(1, 21))
