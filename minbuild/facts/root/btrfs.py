"""The file system btrfs on one device, read as its kernel reads it, without mounting it.

Source: btrfs documentation, "On-disk format"; the kernel's include/uapi/linux/btrfs_tree.h.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap

from minbuild.errors import ToolError
from minbuild.facts.root.images import FREE, RATIO
from minbuild.facts.root.tarball import damaged

MAGIC = b"_BHRfS_M"
_SUPER = 0x10000
_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""MIXED_BACKREF … METADATA_UUID: none of them changes where files lie on one device."""
_ONE_COPY = 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400
"""Profiles of several devices."""
_INODE, _XATTR, _INDEX, _EXTENT, _ROOT_ITEM, _ENTRY, _CHUNK = 1, 24, 96, 108, 132, 84, 228
TOP, _DEFAULT_DIRECTORY = 5, 6
_HEAD, _DEEPEST = 101, 7
_LARGEST, _LARGEST_EXTENT = 1 << 30, 1 << 20
_ZLIB, _ZSTD = 1, 3
_ROOT_REF = 156
_WIDE, _STUB = 64, 200
"""Bits of an inode's number, a subvolume's stands above them; the bit of a place without either."""
_CAPABILITY = b"security.capability"

Key = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Inode:
    """One file, directory, link, device of a subvolume."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int

    @property
    def kind(self) -> int:
        """S_IFREG >> 12 and so on."""
        return self.mode >> 12


class Btrfs:
    """A file system that begins at some byte of an image."""

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read superblock, chunks and roots.

        Raises: ToolError when it is damaged, has unknown features or several devices.
        """
        self._data, self._start, self._where = data, start, where
        self._size = min(size, len(data) - start)
        head = data[start + _SUPER : start + _SUPER + 4096]
        if len(head) < 4096 or head[0x40:0x48] != MAGIC:
            raise self._damaged("it has no superblock")
        self._root, chunks, self._log = struct.unpack_from("<3Q", head, 0x50)
        self.size, _, _, devices = struct.unpack_from("<4Q", head, 0x70)
        self.block, self._node = struct.unpack_from("<II", head, 0x90)
        (length,) = struct.unpack_from("<I", head, 0xA0)
        (incompat,) = struct.unpack_from("<Q", head, 0xBC)
        if incompat & ~_KNOWN or devices != 1:
            raise ToolError(
                f"the btrfs has features that are not read ({incompat:#x}, {devices} devices)",
                where=where, fix="mount it and name its root directory",
            )  # fmt: skip
        sound = 512 <= self.block <= 65536 and 1024 <= self._node <= 65536 and length <= 2048
        if not sound or self.size > self._size:
            raise self._damaged("its superblock says what cannot be")
        self._chunks: list[tuple[int, int, int]] = []
        self._read_first_chunks(head[0x32B : 0x32B + length])
        self._decoded = lru_cache(maxsize=1024)(self._decode)
        for (_, _, logical), item in self._items(chunks, (256, _CHUNK, 0), (256, _CHUNK, 1 << 64)):
            self._add_chunk(logical, item)
        self._trees: dict[int, tuple[int, int]] = {}
        self.root = self._chosen()

    @property
    def most(self) -> int:
        """Bytes that all files together may say to have."""
        return int(RATIO * min(self.size, self._size) + FREE)

    @property
    def subvolume(self) -> int:
        """The one that is read; 5 for the top."""
        return self.root >> _WIDE

    @property
    def is_dirty(self) -> bool:
        """Whether its log holds changes that are not in place."""
        return bool(self._log)

    def inode(self, number: int) -> Inode:
        """Raises: ToolError for a number that cannot be."""
        if number >> _STUB:
            return Inode(number, 0o040755, 0, 0, 0)
        tree, own = number >> _WIDE, number & (1 << _WIDE) - 1
        for _, item in self._of(tree, own, _INODE):
            if len(item) < 160:
                break
            (size,) = struct.unpack_from("<Q", item, 16)
            uid, gid, mode = struct.unpack_from("<III", item, 44)
            return Inode(number, mode, uid, gid, size)
        raise self._damaged(f"there is no inode {own}")

    def read(self, inode: Inode, most: int = _LARGEST) -> bytes:
        """The first bytes of a file or a link's text, holes as zeros."""
        size = min(inode.size, most)
        out = bytearray(size)
        tree, own = inode.number >> _WIDE, inode.number & (1 << _WIDE) - 1
        for at, item in self._of(tree, own, _EXTENT):
            if at >= size:
                break
            piece = self._extent(item, size - at)
            out[at : at + len(piece)] = piece
        return bytes(out[:size])

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes; subvolumes are directories, as in a mount."""
        if inode.number >> _STUB:
            return
        tree, own = inode.number >> _WIDE, inode.number & (1 << _WIDE) - 1
        for index, item in self._of(tree, own, _INDEX):
            target, kind, name, _ = self._entry(item)
            if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
                raise self._damaged(f"a name in directory {own} cannot be")
            if kind == _ROOT_ITEM and self._is_within(tree, own, target, name):
                yield name, target << _WIDE | self._tree(target)[1]
            elif kind == _ROOT_ITEM:
                # in a snapshot: what lies there is another subvolume's, the kernel shows nothing
                yield name, 1 << _STUB | tree << 2 * _WIDE | own << _WIDE | index
            else:
                yield name, tree << _WIDE | target

    def capability(self, inode: Inode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        tree, own = inode.number >> _WIDE, inode.number & (1 << _WIDE) - 1
        for _, item in self._of(tree, own, _XATTR):
            while len(item) >= 30:
                length, named = struct.unpack_from("<HH", item, 25)
                if item[30 : 30 + named] == _CAPABILITY:
                    return item[30 + named : 30 + named + length]
                item = item[30 + named + length :]  # noqa: PLW2901 - several of one hash
        return b""

    def _is_within(self, tree: int, directory: int, inner: int, name: bytes) -> bool:
        """Whether a subvolume belongs to this place. Source: fixup_tree_root_location."""
        for key, item in self._items(
            self._root, (tree, _ROOT_REF, inner), (tree, _ROOT_REF, inner + 1)
        ):
            if len(item) >= 18 and key[2] == inner:
                (above, _, length) = struct.unpack_from("<QQH", item)
                return bool(above == directory and item[18 : 18 + length] == name)
        return False

    def _chosen(self) -> int:
        """The top directory of the default subvolume; where that is no root, of the one that is."""
        default = TOP
        for _, item in self._items_of(self._root, _DEFAULT_DIRECTORY, _ENTRY):
            target, _, name, _ = self._entry(item)
            default = target if name == b"default" else default
        top = default << _WIDE | self._tree(default)[1]
        if self._holds_root(top):
            return top
        inner = [
            number for _, number in self.entries(self.inode(top)) if number >> _WIDE != default
        ]
        found = [number for number in inner if self._holds_root(number)]
        return found[0] if len(found) == 1 else top

    def _holds_root(self, top: int) -> bool:
        """Whether it has /etc and /usr."""
        names = {name for name, _ in self.entries(self.inode(top))}
        return {b"etc", b"usr"} <= names

    def _entry(self, item: bytes) -> tuple[int, int, bytes, bytes]:
        """Target, kind, name and data of a directory's item."""
        if len(item) < 30:
            raise self._damaged("an item of a directory is cut short")
        target, kind = struct.unpack_from("<QB", item)
        length, named = struct.unpack_from("<HH", item, 25)
        return target, kind, item[30 : 30 + named], item[30 + named : 30 + named + length]

    def _tree(self, number: int) -> tuple[int, int]:
        """Where a subvolume's tree begins, and the inode of its top directory."""
        if number not in self._trees:
            for _, item in self._items_of(self._root, number, _ROOT_ITEM):
                if len(item) >= 239:
                    top, place = struct.unpack_from("<QQ", item, 168)
                    self._trees[number] = place, top
        if number not in self._trees:
            raise self._damaged(f"there is no subvolume {number}")
        return self._trees[number]

    def _extent(self, item: bytes, most: int) -> bytes:
        """What an extent holds of a file, no more than `most` bytes."""
        if len(item) < 21:
            raise self._damaged("an extent is cut short")
        whole, packing, kind = struct.unpack_from("<8xQBxxxB", item)
        if kind == 0:
            return self._unpacked(item[21:], packing, whole)[:most]
        if len(item) < 53:
            raise self._damaged("an extent is cut short")
        place, length, skip, size = struct.unpack_from("<4Q", item, 21)
        if not place or kind == 2:
            return b""
        if not packing:
            return self._bytes(place + skip, min(size, most))
        if length > _LARGEST_EXTENT or whole > _LARGEST_EXTENT:
            raise self._damaged("a compressed extent is larger than the kernel allows")
        return self._unpacked(self._bytes(place, length), packing, whole)[skip : skip + size][:most]

    def _unpacked(self, data: bytes, packing: int, size: int) -> bytes:
        if not packing:
            return data
        if size > _LARGEST_EXTENT:
            raise self._damaged("a compressed extent is larger than the kernel allows")
        try:
            if packing == _ZLIB:
                return zlib.decompressobj().decompress(data, size)
            if packing == _ZSTD:
                from zstandard import ZstdDecompressor, ZstdError

                try:
                    return ZstdDecompressor().decompressobj().decompress(data)[:size]
                except ZstdError as error:
                    raise self._damaged(f"an extent cannot be unpacked: {error}") from error
        except zlib.error as error:
            raise self._damaged(f"an extent cannot be unpacked: {error}") from error
        raise ToolError(
            "the btrfs has files that are compressed by lzo, which are not read",
            where=self._where, fix="mount it and name its root directory",
        )  # fmt: skip

    def _of(self, tree: int, objectid: int, kind: int) -> Iterator[tuple[int, bytes]]:
        return self._items_of(self._tree(tree)[0], objectid, kind)

    def _items_of(self, place: int, objectid: int, kind: int) -> Iterator[tuple[int, bytes]]:
        """The items of one kind of an object by their offsets, in order."""
        found = self._items(place, (objectid, kind, 0), (objectid, kind, 1 << 64))
        return ((key[2], item) for key, item in found)

    def _items(self, place: int, first: Key, end: Key) -> Iterator[tuple[Key, bytes]]:
        """What lies in a tree from one key up to another."""
        left: list[tuple[int, int, Key | None]] = [(place, _DEEPEST + 1, None)]
        before: Key = (-1, 0, 0)
        while left:
            at, above, named = left.pop()
            level, keys, values = self._decoded(at)
            # a node begins with the key that names it above: so none is met twice
            if level >= above or (not keys and level) or (named and keys[:1] != [named]):
                raise self._damaged("a tree cannot be read")
            begin = max(bisect_right(keys, first) - 1, 0)
            if not level:
                for key, value in zip(keys[begin:], values[begin:], strict=True):
                    if first <= key < end:
                        if key <= before:
                            raise self._damaged("a tree is out of order")
                        before = key
                        yield key, value
                continue
            below = [
                (int.from_bytes(value, "little"), level, key)
                for key, value in zip(keys[begin:], values[begin:], strict=True)
                if key < end
            ]
            left += below[::-1]

    def _decode(self, place: int) -> tuple[int, list[Key], list[bytes]]:
        """The level of a node, its keys, and its items' data or the places of the nodes below."""
        node = self._bytes(place, self._node)
        (count, level) = struct.unpack_from("<IB", node, 96)
        width = 33 if level else 25
        if struct.unpack_from("<Q", node, 48)[0] != place or _HEAD + width * count > len(node):
            raise self._damaged("a node of a tree cannot be read")
        keys, values = [], []
        for number in range(count):
            at = _HEAD + width * number
            keys.append(struct.unpack_from("<QBQ", node, at))
            if level:
                values.append(node[at + 17 : at + 25])
                continue
            offset, size = struct.unpack_from("<II", node, at + 17)
            value = node[_HEAD + offset : _HEAD + offset + size]
            if len(value) < size:
                raise self._damaged("an item of a tree is cut short")
            values.append(value)
        if sorted(keys) != keys:
            raise self._damaged("a node of a tree is out of order")
        return level, keys, values

    def _read_first_chunks(self, table: bytes) -> None:
        at = 0
        while at + 17 + 80 <= len(table):
            (logical,) = struct.unpack_from("<9xQ", table, at)
            (stripes,) = struct.unpack_from("<H", table, at + 17 + 44)
            self._add_chunk(logical, table[at + 17 :])
            at += 17 + 48 + 32 * stripes

    def _add_chunk(self, logical: int, item: bytes) -> None:
        if len(item) < 80:
            raise self._damaged("a chunk is cut short")
        length, _, _, profile = struct.unpack_from("<4Q", item)
        (place,) = struct.unpack_from("<8xQ", item, 48)
        if profile & _ONE_COPY:
            raise self._damaged("it lies on several devices")
        at = bisect_right(self._chunks, (logical, 0, 0))
        if at == len(self._chunks) or self._chunks[at][0] != logical:
            self._chunks.insert(at, (logical, length, place))

    def _bytes(self, logical: int, size: int) -> bytes:
        """A stretch of the file system by its logical address, which lies in one chunk."""
        index = bisect_right(self._chunks, (logical, 1 << 64, 0)) - 1
        if index >= 0:
            start, length, place = self._chunks[index]
            at = place + logical - start
            if logical + size <= start + length and at + size <= self._size:
                return self._data[self._start + at : self._start + at + size]
        raise self._damaged("a part of it lies outside of it")

    def _damaged(self, why: str) -> ToolError:
        return damaged(f"its btrfs cannot be read: {why}", self._where)
