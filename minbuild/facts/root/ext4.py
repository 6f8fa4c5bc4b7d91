"""The file systems ext2, ext3 and ext4, read as their kernel reads them, without mounting one.

Source: the kernel's Documentation/filesystems/ext4 and fs/ext4/{ext4.h,extents.c,xattr.c};
e2fsprogs, lib/ext2fs/openfs.c (where group descriptors lie).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.errors import ToolError
from minbuild.facts.root.tarball import damaged

MAGIC = 0xEF53
ROOT = 2
_HOLES = 1 << 30
"""Bytes of holes that its files may have in all."""
_NEEDS_RECOVERY, _META_BG, _BITS64 = 0x4, 0x10, 0x80
_KNOWN = 0x2 | _NEEDS_RECOVERY | _META_BG | 0x40 | _BITS64 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
_KNOWN |= 0x8000 | 0x10000 | 0x20000
"""FILETYPE, RECOVER, META_BG, EXTENTS, 64BIT, MMP, FLEX_BG, EA_INODE, CSUM_SEED, LARGEDIR,
INLINE_DATA, ENCRYPT, CASEFOLD: what an inode then says is looked at, inode by inode."""
_FILETYPE = 0x2
_SPARSE_SUPER, _SPARSE_SUPER2 = 0x1, 0x200
_COMPRESSED, _ENCRYPTED, _EXTENTS, _INLINE = 0x4, 0x800, 0x80000, 0x10000000
_EXTENT_MAGIC, _XATTR_MAGIC = 0xF30A, 0xEA020000
_UNWRITTEN = 32768
"""An extent longer than this is allocated and holds zeros: its physical block is of no use."""
LARGEST = 1 << 30
"""Bytes of the largest file that is read whole."""
_DIRECTORY, _LINK = 0o04, 0o12
_DEEPEST = 5
_SECURITY, _SYSTEM = 6, 7
"""Numbers of the names that extended attributes begin with."""
_MOST_XATTRS = 4096


@dataclass(frozen=True, slots=True)
class Inode:
    """One file, directory, link, device."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    """Bytes, of a directory those of its blocks."""
    flags: int
    blocks: int
    """Sectors of 512 bytes that belong to it."""
    body: bytes
    """i_block: a tree of extents, block numbers, a short link's text, or data."""
    acl: int
    """Block of its extended attributes."""
    rest: bytes
    """What follows the fields in the inode table: extended attributes."""

    @property
    def kind(self) -> int:
        """S_IFREG >> 12 and so on."""
        return self.mode >> 12


class Ext4:
    """A file system that begins at some byte of an image."""

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read the superblock of what begins at a byte and may have `size` bytes.

        Raises: ToolError when this is no such file system, is damaged, or has unknown features.
        """
        self.root = ROOT
        self._data = data
        self._start = start
        self._where = where
        self._tables = dict[int, int]()
        """First blocks of the inode tables that were asked for, by group."""
        head = data[start + 1024 : start + 2048]
        if not is_ext4(data, start):
            raise self._damaged("it has no superblock")
        words = struct.unpack_from("<6I", head)
        self._inodes, self._blocks, self._first = words[0], words[1], words[5]
        (log,) = struct.unpack_from("<I", head, 24)
        (self._per_group,) = struct.unpack_from("<I", head, 32)
        (self._inodes_per_group,) = struct.unpack_from("<I", head, 40)
        (revision,) = struct.unpack_from("<I", head, 76)
        self._compat, self._incompat, self._ro_compat = struct.unpack_from("<3I", head, 92)
        (self._inode_size,) = struct.unpack_from("<H", head, 88) if revision else (128,)
        wide = bool(self._incompat & _BITS64)
        self._descriptor = struct.unpack_from("<H", head, 254)[0] if wide else 32
        if wide:
            self._blocks |= struct.unpack_from("<I", head, 336)[0] << 32
        (self._first_meta,) = struct.unpack_from("<I", head, 260)
        self._backups = struct.unpack_from("<2I", head, 588)
        self._check(log)
        self.block = 1024 << log
        """Bytes of a block."""
        if self.size > min(size, len(data) - start):
            raise self._damaged("it is larger than where it lies")

    def _check(self, log: int) -> None:
        unknown = self._incompat & ~_KNOWN
        if unknown:
            raise ToolError(
                f"the file system has features that are not read ({unknown:#x})",
                where=self._where,
                fix="mount it and name its root directory",
            )
        sound = (
            log <= 6
            and self._per_group
            and self._inodes_per_group
            and 128 <= self._inode_size <= 1024 << log
            and 32 <= self._descriptor <= 1024
        )
        if not sound:
            raise self._damaged("its superblock says what cannot be")

    @property
    def most(self) -> int:
        """Bytes that all files together may say to have."""
        return self.size + _HOLES

    @property
    def size(self) -> int:
        """Bytes that it says to have."""
        return int(self._blocks * self.block)

    @property
    def is_dirty(self) -> bool:
        """Whether its journal holds changes that are not in place: it was not unmounted."""
        return bool(self._incompat & _NEEDS_RECOVERY)

    def inode(self, number: int) -> Inode:
        """Raises: ToolError for a number that cannot be, and for encrypted or compressed content."""
        if not 1 <= number <= self._inodes:
            raise self._damaged(f"inode {number} cannot be")
        group, index = divmod(number - 1, self._inodes_per_group)
        at = self._start + self._table(group) * self.block + index * self._inode_size
        raw = self._data[at : at + self._inode_size]
        if len(raw) < self._inode_size:
            raise self._damaged(f"inode {number} lies behind its end")
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
        return Inode(
            number, mode, uid | uid_high << 16, gid | gid_high << 16,
            size | size_high << 32 if mode >> 12 in (0o10, 0o04) else size,
            flags, blocks | blocks_high << 32, raw[40:100], acl | acl_high << 32,
            raw[128 + extra :],
        )  # fmt: skip

    def read(self, inode: Inode, most: int = LARGEST) -> bytes:
        """The first bytes of a file, directory or link, holes as zeros; all when there are fewer."""
        size = min(inode.size, most)
        if inode.flags & _INLINE:
            return (inode.body + self.xattr(inode, _SYSTEM, b"data"))[:size]
        if inode.kind == _LINK and inode.size < len(inode.body) and self._is_fast(inode):
            return inode.body[:size]
        out = bytearray(size)
        last = -(-size // self.block)
        for logical, physical, count in self._runs(inode, last):
            at = logical * self.block
            end = min(at + count * self.block, size)
            if physical:
                piece = self._bytes(physical, -(-(end - at) // self.block))
                out[at:end] = piece[: end - at]
        return bytes(out)

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`, as they stand there.

        Raises: ToolError where the kernel would call it damaged.
        """
        data = self.read(inode)
        if inode.flags & _INLINE:
            # the parent's inode stands first; the rest of i_block and the attribute are two lists
            yield from self._list(data[4 : len(inode.body)], inode.number)
            yield from self._list(data[len(inode.body) :], inode.number)
            return
        for at in range(0, len(data), self.block):
            yield from self._list(data[at : at + self.block], inode.number)

    def capability(self, inode: Inode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        return self.xattr(inode, _SECURITY, b"capability")

    def xattr(self, inode: Inode, index: int, name: bytes) -> bytes:
        """The value of an extended attribute, b"" without it."""
        if len(inode.rest) >= 4 and struct.unpack_from("<I", inode.rest)[0] == _XATTR_MAGIC:
            value = self._search(inode.rest[4:], 0, index, name)
            if value is not None:
                return value
        if inode.acl:
            block = self._bytes(inode.acl, 1)
            if struct.unpack_from("<I", block)[0] != _XATTR_MAGIC:
                raise self._damaged(f"the attributes of inode {inode.number} are none")
            return self._search(block, 32, index, name) or b""
        return b""

    def _search(self, area: bytes, at: int, index: int, name: bytes) -> bytes | None:
        for _ in range(_MOST_XATTRS):
            if area[at : at + 4] in (bytes(4), b"") or len(area) < at + 16:
                return None
            length, kind, offset, inode, size = struct.unpack_from("<BBHII", area, at)
            if kind == index and area[at + 16 : at + 16 + length] == name:
                if inode:
                    return self.read(self._bounded(self.inode(inode)))
                value = area[offset : offset + size]
                if len(value) < size:
                    raise self._damaged("an extended attribute is cut short")
                return value
            at += 16 + (length + 3 & ~3)
        return None

    def _bounded(self, inode: Inode) -> Inode:
        if inode.size > 1 << 20:
            raise self._damaged("an extended attribute is larger than the kernel allows")
        return inode

    def _list(self, data: bytes, inode: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a block; those of a hash tree's own nodes are empty. Source: "Linear"."""
        at = 0
        while at + 8 <= len(data):
            number, length, named, kind = struct.unpack_from("<IHBB", data, at)
            if self.block >= 1 << 16:
                length = 1 << 16 if length in (0, 65535) else length & 65532 | (length & 3) << 16
            if not self._incompat & _FILETYPE:
                named |= kind << 8
            if length < 8 or length % 4 or at + length > len(data) or 8 + named > length:
                raise self._damaged(f"directory {inode} cannot be read")
            name = data[at + 8 : at + 8 + named]
            at += length
            if number and name not in (b".", b".."):
                if not name or b"/" in name or b"\0" in name or named > 255:
                    raise self._damaged(f"a name in directory {inode} cannot be")
                yield name, number

    def _is_fast(self, inode: Inode) -> bool:
        """Whether a link's text stands in its inode. Source: ext4_inode_is_fast_symlink."""
        return inode.blocks - (self.block >> 9 if inode.acl else 0) <= 0

    def _runs(self, inode: Inode, last: int) -> Iterator[tuple[int, int, int]]:
        """Logical block, physical block and length of what is written before block `last`."""
        if inode.flags & _EXTENTS:
            before = 0
            for logical, physical, count in self._extents(inode.body, None, inode.number):
                if logical >= last:
                    return
                if logical < before or not count:
                    raise self._damaged(f"the extents of inode {inode.number} are out of order")
                before = logical + count
                yield logical, physical, count
            return
        words = struct.unpack("<15I", inode.body)
        for logical, physical in enumerate(words[: min(12, last)]):
            if physical:
                yield logical, physical, 1
        first, per = 12, self.block // 4
        for depth, physical in enumerate(words[12:], 1):
            if physical and first < last:
                yield from self._indirect(physical, depth, first, last)
            first += per**depth

    def _indirect(
        self, physical: int, depth: int, first: int, last: int
    ) -> Iterator[tuple[int, int, int]]:
        per = self.block // 4
        step = per ** (depth - 1)
        for number, inner in enumerate(struct.unpack(f"<{per}I", self._bytes(physical, 1))):
            logical = first + number * step
            if logical >= last:
                return
            if inner and depth == 1:
                yield logical, inner, 1
            elif inner:
                yield from self._indirect(inner, depth - 1, logical, last)

    def _extents(
        self, node: bytes, level: int | None, inode: int
    ) -> Iterator[tuple[int, int, int]]:
        """What a node of a tree holds; a node below the top has a known level and is not empty."""
        magic, count, _, depth = struct.unpack_from("<4H", node)
        if (
            magic != _EXTENT_MAGIC
            or 12 * (count + 1) > len(node)
            or depth > _DEEPEST
            or (level is not None and (depth != level or not count))
        ):
            raise self._damaged(f"the extents of inode {inode} cannot be read")
        for number in range(1, count + 1):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, 12 * number)
                yield from self._extents(self._bytes(high << 32 | low, 1), depth - 1, inode)
                continue
            logical, length, high, low = struct.unpack_from("<IHHI", node, 12 * number)
            if length <= _UNWRITTEN:
                yield logical, high << 32 | low, length
            else:
                yield logical, 0, length - _UNWRITTEN

    def _bytes(self, block: int, count: int) -> bytes:
        if not 0 < block < self._blocks:
            raise self._damaged(f"block {block} lies outside of it")
        at = self._start + block * self.block
        piece = self._data[at : at + count * self.block]
        if len(piece) < count * self.block:
            raise self._damaged("it is cut short")
        return piece

    def _table(self, group: int) -> int:
        """The first block of a group's inode table."""
        if group not in self._tables:
            per = self.block // self._descriptor
            block, index = divmod(group, per)
            at = self._start + self._descriptors(block, per) * self.block
            raw = self._data[at + index * self._descriptor :][: self._descriptor]
            if len(raw) < self._descriptor:
                raise self._damaged("its group descriptors are cut short")
            (table,) = struct.unpack_from("<I", raw, 8)
            if self._descriptor >= 64:
                table |= struct.unpack_from("<I", raw, 40)[0] << 32
            if not 0 < table < self._blocks:
                raise self._damaged(f"group {group} has no inodes")
            self._tables[group] = int(table)
        return self._tables[group]

    def _descriptors(self, number: int, per: int) -> int:
        """Where a block of group descriptors lies. Source: ext2fs_descriptor_block_loc2."""
        shifted = int(self.block == 1024 and self._first == 0)
        if not self._incompat & _META_BG or number < self._first_meta:
            return int(self._first + shifted + number + 1)
        group = per * number
        at = self._first + group * self._per_group + int(self._has_super(group))
        return int(at + (shifted if not number else 0))

    def _has_super(self, group: int) -> bool:
        if group == 0:
            return True
        if self._compat & _SPARSE_SUPER2:
            return group in self._backups
        if group == 1 or not self._ro_compat & _SPARSE_SUPER:
            return True
        return any(group == base**power for base in (3, 5, 7) for power in range(1, 21))

    def _damaged(self, why: str) -> ToolError:
        return damaged(f"its file system cannot be read: {why}", self._where)


def is_ext4(data: mmap | bytes, start: int) -> bool:
    """Tell an ext2, ext3 or ext4 file system by its superblock."""
    head = data[start + 1024 : start + 2048]
    return len(head) == 1024 and struct.unpack_from("<H", head, 56)[0] == MAGIC
