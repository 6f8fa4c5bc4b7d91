"""The file system xfs, read as its kernel reads it, without mounting it.

Source: XFS Algorithms & Data Structures, 3rd edition; the kernel's fs/xfs/libxfs/xfs_format.h,
xfs_da_format.h, xfs_log_format.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from minbuild.errors import ToolError
from minbuild.facts.root.tarball import damaged

_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""FTYPE, SPINODES, META_UUID, BIGTIME, NREXT64, EXCHRANGE, PARENT."""
_FTYPE, _FTYPE_4 = 0x1, 0x200
_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
_REALTIME, _MANY_EXTENTS = 0x1, 0x10
_LEAF_OFFSET = 32 << 30
"""Byte of a directory where the index of its names begins."""
_HOLES = 1 << 30
"""Bytes of holes that its files may have in all."""
_LARGEST = 1 << 30
_SECURE = 4
_MOST_ATTR_BLOCKS = 1024
_LINK = 0o12
_DEEPEST = 9
_RECORD, _UNMOUNT = 0xFEEDBABE, 0x20


@dataclass(frozen=True, slots=True)
class Inode:
    """One file, directory, link, device."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    form: int
    extents: int
    fork: bytes
    """Content, extents, or the root of a tree of them."""
    attr_form: int
    attr_extents: int
    attrs: bytes
    """The same of its extended attributes."""

    @property
    def kind(self) -> int:
        """S_IFREG >> 12 and so on."""
        return self.mode >> 12


class Xfs:
    """A file system that begins at some byte of an image."""

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read the superblock. Raises: ToolError when it is damaged or has unknown features."""
        self._data, self._start, self._where = data, start, where
        head = data[start : start + 264]
        if len(head) < 264 or head[:4] != b"XFSB":
            raise self._damaged("it has no superblock")
        self.block, blocks = struct.unpack_from(">IQ", head, 4)
        self._log, self.root = struct.unpack_from(">QQ", head, 48)
        self._per_group, groups = struct.unpack_from(">II", head, 84)
        (self._log_blocks, version, _, self._inode_size) = struct.unpack_from(">IHHH", head, 96)
        self._block_log, _, _, self._inodes_log, self._group_log = head[120:125]
        (features2,) = struct.unpack_from(">I", head, 200)
        (incompat,) = struct.unpack_from(">I", head, 216)
        self._is_5 = version & 15 == 5
        self._has_types = bool(incompat & _FTYPE if self._is_5 else features2 & _FTYPE_4)
        if version & 15 not in (4, 5) or (self._is_5 and incompat & ~_KNOWN):
            raise ToolError(
                f"the xfs has features that are not read ({version & 15}, {incompat:#x})",
                where=where, fix="mount it and name its root directory",
            )  # fmt: skip
        self._directory = self.block << head[192]
        self.size = blocks * self.block
        sound = (
            512 <= self.block <= 65536
            and self.block == 1 << self._block_log
            and 256 <= self._inode_size <= min(self.block, 2048)
            and self._inode_size << self._inodes_log == self.block
            and 0 < self._per_group <= 1 << self._group_log <= 1 << 31
            and self._directory <= 65536
            and blocks <= self._per_group * groups
        )
        if not sound:
            raise self._damaged("its superblock says what cannot be")
        if self.size > min(size, len(data) - start):
            raise self._damaged("it is larger than where it lies")

    @property
    def most(self) -> int:
        """Bytes that all files together may say to have."""
        return int(self.size + _HOLES)

    @property
    def is_dirty(self) -> bool:
        """Whether its log holds changes that are not in place: it was not unmounted.

        Source: xlog_find_tail: the last record of a log that is empty is that of an unmount.
        """
        if not self._log:
            return False  # it lies on another device
        at, end = self._place(self._log), self._log_blocks * self.block
        log = self._bytes(at, end)
        last, place = (-1, -1), -1
        for sector in range(0, end - 511, 512):
            magic, cycle = struct.unpack_from(">II", log, sector)
            if magic == _RECORD and (cycle, sector) > last:
                last, place = (cycle, sector), sector
        if place < 0:
            return False
        (version, _, _, _, _, _, count) = struct.unpack_from(">IIQQIII", log, place + 8)
        (size,) = struct.unpack_from(">I", log, place + 320)
        headers = -(-size // 32768) if version & 2 and size > 32768 else 1
        body = log[place + 512 * headers : place + 512 * headers + 12]
        return not (count == 1 and len(body) == 12 and body[9] & _UNMOUNT)

    def inode(self, number: int) -> Inode:
        """Raises: ToolError for a number that cannot be."""
        group, rest = number >> self._group_log + self._inodes_log, number
        rest &= (1 << self._group_log + self._inodes_log) - 1
        block, index = rest >> self._inodes_log, rest & (1 << self._inodes_log) - 1
        place = (group * self._per_group + block) * self.block
        raw = self._bytes(place + index * self._inode_size, self._inode_size)
        magic, mode, version, form = struct.unpack_from(">HHBB", raw)
        if magic != 0x494E or version not in (2, 3):
            raise self._damaged(f"inode {number} cannot be read")
        uid, gid = struct.unpack_from(">II", raw, 8)
        (size,) = struct.unpack_from(">Q", raw, 56)
        extents, attr_extents, offset, attr_form = struct.unpack_from(">IHBB", raw, 76)
        (flags,) = struct.unpack_from(">H", raw, 90)
        core = 176 if version == 3 else 100
        if version == 3 and struct.unpack_from(">Q", raw, 120)[0] & _MANY_EXTENTS:
            (extents,) = struct.unpack_from(">Q", raw, 24)
            (attr_extents,) = struct.unpack_from(">I", raw, 76)
        if flags & _REALTIME:
            raise self._damaged(f"inode {number} lies on another device")
        split = core + offset * 8 if offset else self._inode_size
        return Inode(
            number, mode, uid, gid, size, form, extents, raw[core:split],
            attr_form if offset else _LOCAL, attr_extents, raw[split:],
        )  # fmt: skip

    def read(self, inode: Inode, most: int = _LARGEST) -> bytes:
        """The first bytes of a file or a link's text, holes as zeros."""
        size = min(inode.size, most)
        if inode.form == _LOCAL:
            return inode.fork[:size]
        if inode.kind == _LINK:
            return self._remote_link(inode, size)
        out = bytearray(size)
        for logical, physical, count in self._extents(inode.form, inode.extents, inode.fork):
            at = logical * self.block
            if at >= size:
                break
            end = min(at + count * self.block, size)
            if physical:
                out[at:end] = self._bytes(self._place(physical), end - at)
        return bytes(out)

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes, without `.` and `..`."""
        for name, number in self._listed(inode):
            if name not in (b".", b".."):
                if not name or b"/" in name or b"\0" in name:
                    raise self._damaged(f"a name in directory {inode.number} cannot be")
                yield name, number

    def capability(self, inode: Inode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        if not inode.attrs:
            return b""
        if inode.attr_form == _LOCAL:
            return self._short_attr(inode.attrs)
        left = _MOST_ATTR_BLOCKS
        for _, physical, count in self._extents(inode.attr_form, inode.attr_extents, inode.attrs):
            for number in range(count):
                left -= 1
                if left < 0:
                    raise self._damaged(f"inode {inode.number} has too many attributes")
                block = self._bytes(self._place(physical) + number * self.block, self.block)
                value = self._leaf_attr(block)
                if value:
                    return value
        return b""

    def _short_attr(self, area: bytes) -> bytes:
        at = 4
        for _ in range(area[2] if len(area) > 2 else 0):
            if at + 3 > len(area):
                raise self._damaged("an extended attribute is cut short")
            length, size, flags = area[at : at + 3]
            name = area[at + 3 : at + 3 + length]
            if flags & _SECURE and name == b"capability":
                return area[at + 3 + length : at + 3 + length + size]
            at += 3 + length + size
        return b""

    def _leaf_attr(self, block: bytes) -> bytes:
        magic = struct.unpack_from(">H", block, 8)[0]
        head = {0x3BEE: 80, 0xFBEE: 32}.get(magic)
        if head is None:
            return b""
        (count,) = struct.unpack_from(">H", block, 56 if head == 80 else 12)
        for row in range(min(count, (len(block) - head) // 8)):
            place, flags = struct.unpack_from(">4xHB", block, head + 8 * row)
            if not flags & 1 or not flags & _SECURE or place + 3 > len(block):
                continue  # a value elsewhere is longer than a capability
            size, length = struct.unpack_from(">HB", block, place)
            if block[place + 3 : place + 3 + length] == b"capability":
                return block[place + 3 + length : place + 3 + length + size]
        return b""

    def _remote_link(self, inode: Inode, size: int) -> bytes:
        parts, left = [], size
        for _, physical, count in self._extents(inode.form, inode.extents, inode.fork):
            for number in range(min(count, left)):
                block = self._bytes(self._place(physical) + number * self.block, self.block)
                piece = block[56:] if self._is_5 else block
                parts.append(piece[:left])
                left -= len(parts[-1])
        return b"".join(parts)

    def _listed(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        if inode.form == _LOCAL:
            yield from self._short_list(inode.fork, inode.number)
            return
        step = self._directory // self.block
        pieces: dict[int, bytes] = {}
        for logical, physical, count in self._extents(inode.form, inode.extents, inode.fork):
            for number in range(count):
                block = logical + number
                if block * self.block >= min(inode.size, _LEAF_OFFSET):
                    return
                pieces[block] = self._bytes(self._place(physical + number), self.block)
                if block % step == step - 1:
                    first = block - step + 1
                    data = b"".join(pieces.pop(one, b"") for one in range(first, block + 1))
                    yield from self._list(data, inode.number)

    def _short_list(self, area: bytes, inode: int) -> Iterator[tuple[bytes, int]]:
        if len(area) < 6:
            raise self._damaged(f"directory {inode} cannot be read")
        count, wide = area[0], area[1] > 0
        at, width = 2 + (8 if wide else 4), 8 if wide else 4
        for _ in range(count):
            if at + 3 > len(area):
                raise self._damaged(f"directory {inode} cannot be read")
            length = area[at]
            name = area[at + 3 : at + 3 + length]
            at += 3 + length + self._has_types
            number = int.from_bytes(area[at : at + width])
            at += width
            if at > len(area):
                raise self._damaged(f"directory {inode} cannot be read")
            yield name, number

    def _list(self, data: bytes, inode: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a block of a directory, which may hold its own index at the end."""
        heads = {b"XDB3": 64, b"XDD3": 64, b"XD2B": 16, b"XD2D": 16}
        at, end = heads.get(data[:4], 0), len(data)
        if not at:
            raise self._damaged(f"directory {inode} cannot be read")
        if data[:4] in (b"XDB3", b"XD2B"):
            (count,) = struct.unpack_from(">I", data, len(data) - 8)
            end = len(data) - 8 - 8 * count
        while at + 8 <= end:
            tag, length = struct.unpack_from(">HH", data, at)
            if tag == 0xFFFF:
                if length < 8 or length % 8:
                    raise self._damaged(f"directory {inode} cannot be read")
                at += length
                continue
            number, named = struct.unpack_from(">QB", data, at) if at + 9 <= end else (0, 0)
            name = data[at + 9 : at + 9 + named]
            at += 8 + 1 + named + self._has_types + 2 + 7 & ~7
            if not named or at > end:
                raise self._damaged(f"directory {inode} cannot be read")
            yield name, number

    def _extents(self, form: int, count: int, fork: bytes) -> Iterator[tuple[int, int, int]]:
        """Logical block, physical block (0: zeros) and length, in order."""
        if form == _BTREE:
            level, records = struct.unpack_from(">HH", fork)
            place = 4 + (len(fork) - 4) // 16 * 8
            found = self._tree(fork, level, records, place)
        elif form == _EXTENTS:
            found = self._records(fork, 0, count)
        else:
            raise self._damaged("the content of an inode is of no kind that is known")
        before = 0
        for logical, physical, length in found:
            if logical < before or not length:
                raise self._damaged("the extents of an inode are out of order")
            before = logical + length
            yield logical, physical, length

    def _records(self, data: bytes, at: int, count: int) -> Iterator[tuple[int, int, int]]:
        if at + 16 * count > len(data):
            raise self._damaged("the extents of an inode cannot be read")
        for number in range(count):
            high, low = struct.unpack_from(">QQ", data, at + 16 * number)
            physical = (high & 0x1FF) << 43 | low >> 21
            yield high >> 9 & (1 << 54) - 1, 0 if high >> 63 else physical, low & 0x1FFFFF

    def _tree(
        self, data: bytes, level: int, count: int, place: int
    ) -> Iterator[tuple[int, int, int]]:
        """What lies below a node, whose pointers begin at `place`."""
        if not 0 < level <= _DEEPEST or not count or place + 8 * count > len(data):
            raise self._damaged("the extents of an inode cannot be read")
        for pointer in struct.unpack_from(f">{count}Q", data, place):
            block = self._bytes(self._place(pointer), self.block)
            magic, below, records = struct.unpack_from(">4sHH", block)
            head = {b"BMA3": 72, b"BMAP": 24}.get(magic)
            if head is None or below != level - 1 or not records:
                raise self._damaged("the extents of an inode cannot be read")
            if below:
                inner = head + (self.block - head) // 16 * 8
                yield from self._tree(block, below, records, inner)
            else:
                yield from self._records(block, head, records)

    def _place(self, block: int) -> int:
        """The byte of a block, whose number holds its group's."""
        group, inside = block >> self._group_log, block & (1 << self._group_log) - 1
        return int((group * self._per_group + inside) * self.block)

    def _bytes(self, at: int, size: int) -> bytes:
        if at < 0 or at + size > self.size:
            raise self._damaged("a part of it lies outside of it")
        return self._data[self._start + at : self._start + at + size]

    def _damaged(self, why: str) -> ToolError:
        return damaged(f"its xfs cannot be read: {why}", self._where)
