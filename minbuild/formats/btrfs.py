"""The file system btrfs on one device, read as the kernel reads it, without mounting.

Source: btrfs documentation, "On-disk format"; the kernel's include/uapi/linux/btrfs_tree.h.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from mmap import mmap

from zstandard import ZstdDecompressor, ZstdError

from minbuild.errors import ToolError
from minbuild.formats.filesystem import MAX_FILE_SIZE, DiskFileSystem, DiskInode
from minbuild.formats.magic import Format, has_magic
from minbuild.formats.qemu_image import FREE_SIZE, MAX_RATIO

_SUPERBLOCK_OFFSET = 0x10000
_KNOWN_FEATURES = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""MIXED_BACKREF … METADATA_UUID: none of them changes where files lie on one device."""
_MULTI_DEVICE_PROFILES = 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400
"""Profiles of several devices."""
_INODE_ITEM, _XATTR, _INDEX, _EXTENT, _ROOT_ITEM, _ENTRY, _CHUNK = 1, 24, 96, 108, 132, 84, 228
TOP_SUBVOLUME, _ROOT_TREE_DIRECTORY = 5, 6
_NODE_HEADER, _MAX_DEPTH = 101, 7
_MAX_EXTENT = 1 << 20
_ZLIB, _ZSTD = 1, 3
_ROOT_REF = 156
_INODE_BITS, _STUB_BIT = 64, 200
"""Bits of an inode's number, a subvolume's stands above them; the bit of a place without either."""
_CAPABILITY = b"security.capability"

TreeKey = tuple[int, int, int]


class Btrfs(DiskFileSystem[DiskInode]):
    """A btrfs file system on one device.

    The number of an inode has that of its subvolume above bit 64.
    """

    label = "btrfs"

    def __init__(self, data: mmap | bytes, start: int, size: int, where: str) -> None:
        """Read superblock, chunks and roots.

        Raises: ToolError when it is damaged, has unknown features or several devices.
        """
        super().__init__(data, start, size, where)
        head = data[start + _SUPERBLOCK_OFFSET : start + _SUPERBLOCK_OFFSET + 4096]
        if len(head) < 4096 or not has_magic(data, Format.BTRFS, start):
            raise self._damage_error("it has no superblock")
        self._root_tree, chunks, self._log_tree = struct.unpack_from("<3Q", head, 0x50)
        self.size, _, _, devices = struct.unpack_from("<4Q", head, 0x70)
        self.block_size, self._node_size = struct.unpack_from("<II", head, 0x90)
        (length,) = struct.unpack_from("<I", head, 0xA0)
        (incompat,) = struct.unpack_from("<Q", head, 0xBC)
        if incompat & ~_KNOWN_FEATURES or devices != 1:
            raise self._make_unsupported_error(
                f"features that are not read ({incompat:#x}, {devices} devices)"
            )
        is_sound = (
            512 <= self.block_size <= 65536 and 1024 <= self._node_size <= 65536 and length <= 2048
        )
        if not is_sound or self.size > self._available_size:
            raise self._damage_error("its superblock says what cannot be")
        self._chunks: list[tuple[int, int, int]] = []
        self._read_system_chunks(head[0x32B : 0x32B + length])
        self._decode_cached = lru_cache(maxsize=1024)(self._decode_node)
        for (_, _, logical), item in self._walk_tree(
            chunks, (256, _CHUNK, 0), (256, _CHUNK, 1 << 64)
        ):
            self._add_chunk(logical, item)
        self._subvolume_trees: dict[int, tuple[int, int]] = {}
        self.root_number = self._choose_root()

    @property
    def size_limit(self) -> int:
        """Bytes that all files together may say to have."""
        return int(MAX_RATIO * min(self.size, self._available_size) + FREE_SIZE)

    @property
    def subvolume(self) -> int:
        """The one that is read; 5 for the top."""
        return self.root_number >> _INODE_BITS

    @property
    def is_dirty(self) -> bool:
        """Whether its log holds changes that are not in place."""
        return bool(self._log_tree)

    def read_inode(self, number: int) -> DiskInode:
        """Raises: ToolError for a number that cannot be."""
        if number >> _STUB_BIT:
            return DiskInode(number, 0o040755, 0, 0, 0)
        tree, objectid = number >> _INODE_BITS, number & (1 << _INODE_BITS) - 1
        for _, item in self._find_in_subvolume(tree, objectid, _INODE_ITEM):
            if len(item) < 160:
                break
            (size,) = struct.unpack_from("<Q", item, 16)
            uid, gid, mode = struct.unpack_from("<III", item, 44)
            return DiskInode(number, mode, uid, gid, size)
        raise self._damage_error(f"there is no inode {objectid}")

    def read(self, inode: DiskInode, limit: int = MAX_FILE_SIZE) -> bytes:
        """The first bytes of a file or a link's text, holes as zeros."""
        size = min(inode.size, limit)
        out = bytearray(size)
        tree, objectid = inode.number >> _INODE_BITS, inode.number & (1 << _INODE_BITS) - 1
        for offset, item in self._find_in_subvolume(tree, objectid, _EXTENT):
            if offset >= size:
                break
            piece = self._read_extent(item, size - offset)
            out[offset : offset + len(piece)] = piece
        return bytes(out[:size])

    def list_directory(self, inode: DiskInode) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inodes; subvolumes are directories, as in a mount."""
        if inode.number >> _STUB_BIT:
            return
        tree, objectid = inode.number >> _INODE_BITS, inode.number & (1 << _INODE_BITS) - 1
        for index, item in self._find_in_subvolume(tree, objectid, _INDEX):
            target, kind, name, _ = self._parse_directory_item(item)
            self._check_name(b"" if name in (b".", b"..") else name, objectid)
            if kind == _ROOT_ITEM and self._is_within(tree, objectid, target, name):
                yield name, target << _INODE_BITS | self._find_subvolume(target)[1]
            elif kind == _ROOT_ITEM:
                # in a snapshot: what lies there is another subvolume's, the kernel shows nothing
                yield (
                    name,
                    1 << _STUB_BIT | tree << 2 * _INODE_BITS | objectid << _INODE_BITS | index,
                )
            else:
                yield name, tree << _INODE_BITS | target

    def read_capability(self, inode: DiskInode) -> bytes:
        """The extended attribute security.capability, b"" without one."""
        tree, objectid = inode.number >> _INODE_BITS, inode.number & (1 << _INODE_BITS) - 1
        for _, item in self._find_in_subvolume(tree, objectid, _XATTR):
            while len(item) >= 30:
                length, name_length = struct.unpack_from("<HH", item, 25)
                if item[30 : 30 + name_length] == _CAPABILITY:
                    return item[30 + name_length : 30 + name_length + length]
                item = item[30 + name_length + length :]  # noqa: PLW2901 - several of one hash
        return b""

    def _is_within(self, tree: int, directory: int, inner: int, name: bytes) -> bool:
        """Whether a subvolume belongs to this place. Source: fixup_tree_root_location."""
        for key, item in self._walk_tree(
            self._root_tree, (tree, _ROOT_REF, inner), (tree, _ROOT_REF, inner + 1)
        ):
            if len(item) >= 18 and key[2] == inner:
                (parent, _, length) = struct.unpack_from("<QQH", item)
                return bool(parent == directory and item[18 : 18 + length] == name)
        return False

    def _choose_root(self) -> int:
        """The top directory of the default subvolume; where that is no root, of the one that is."""
        default = TOP_SUBVOLUME
        for _, item in self._find_items(self._root_tree, _ROOT_TREE_DIRECTORY, _ENTRY):
            target, _, name, _ = self._parse_directory_item(item)
            default = target if name == b"default" else default
        top = default << _INODE_BITS | self._find_subvolume(default)[1]
        if self._holds_root(top):
            return top
        subvolumes = [
            number
            for _, number in self.list_directory(self.read_inode(top))
            if number >> _INODE_BITS != default
        ]
        roots = [number for number in subvolumes if self._holds_root(number)]
        return roots[0] if len(roots) == 1 else top

    def _holds_root(self, top: int) -> bool:
        """Whether it has /etc and /usr."""
        names = {name for name, _ in self.list_directory(self.read_inode(top))}
        return {b"etc", b"usr"} <= names

    def _parse_directory_item(self, item: bytes) -> tuple[int, int, bytes, bytes]:
        """Target, kind, name and data of a directory's item."""
        if len(item) < 30:
            raise self._damage_error("an item of a directory is cut short")
        target, kind = struct.unpack_from("<QB", item)
        length, name_length = struct.unpack_from("<HH", item, 25)
        return (
            target,
            kind,
            item[30 : 30 + name_length],
            item[30 + name_length : 30 + name_length + length],
        )

    def _find_subvolume(self, number: int) -> tuple[int, int]:
        """Where a subvolume's tree begins, and the inode of its top directory."""
        if number not in self._subvolume_trees:
            for _, item in self._find_items(self._root_tree, number, _ROOT_ITEM):
                if len(item) >= 239:
                    top, address = struct.unpack_from("<QQ", item, 168)
                    self._subvolume_trees[number] = address, top
        if number not in self._subvolume_trees:
            raise self._damage_error(f"there is no subvolume {number}")
        return self._subvolume_trees[number]

    def _read_extent(self, item: bytes, limit: int) -> bytes:
        """What an extent holds of a file, no more than `limit` bytes."""
        if len(item) < 21:
            raise self._damage_error("an extent is cut short")
        unpacked_size, compression, kind = struct.unpack_from("<8xQBxxxB", item)
        if kind == 0:
            return self._decompress(item[21:], compression, unpacked_size)[:limit]
        if len(item) < 53:
            raise self._damage_error("an extent is cut short")
        address, length, skip, size = struct.unpack_from("<4Q", item, 21)
        if not address or kind == 2:
            return b""
        if not compression:
            return self._read_logical(address + skip, min(size, limit))
        if length > _MAX_EXTENT or unpacked_size > _MAX_EXTENT:
            raise self._damage_error("a compressed extent is larger than the kernel allows")
        return self._decompress(self._read_logical(address, length), compression, unpacked_size)[
            skip : skip + size
        ][:limit]

    def _decompress(self, data: bytes, compression: int, size: int) -> bytes:
        if not compression:
            return data
        if size > _MAX_EXTENT:
            raise self._damage_error("a compressed extent is larger than the kernel allows")
        if not size:
            return b""  # zlib takes 0 for "no limit"
        try:
            if compression == _ZLIB:
                return zlib.decompressobj().decompress(data, size)
            if compression == _ZSTD:
                try:
                    with ZstdDecompressor().stream_reader(data) as reader:
                        return reader.read(size)
                except ZstdError as error:
                    raise self._damage_error(f"an extent cannot be unpacked: {error}") from error
        except zlib.error as error:
            raise self._damage_error(f"an extent cannot be unpacked: {error}") from error
        raise ToolError(
            "the btrfs has files that are compressed by lzo, which are not read",
            where=self._where, fix="mount it and name its root directory",
        )  # fmt: skip

    def _find_in_subvolume(
        self, tree: int, objectid: int, kind: int
    ) -> Iterator[tuple[int, bytes]]:
        return self._find_items(self._find_subvolume(tree)[0], objectid, kind)

    def _find_items(self, address: int, objectid: int, kind: int) -> Iterator[tuple[int, bytes]]:
        """The items of one kind of an object by their offsets, in order."""
        items = self._walk_tree(address, (objectid, kind, 0), (objectid, kind, 1 << 64))
        return ((key[2], item) for key, item in items)

    def _walk_tree(
        self, address: int, first: TreeKey, end: TreeKey
    ) -> Iterator[tuple[TreeKey, bytes]]:
        """What lies in a tree from one key up to another."""
        pending: list[tuple[int, int, TreeKey | None]] = [(address, _MAX_DEPTH + 1, None)]
        previous_key: TreeKey = (-1, 0, 0)
        while pending:
            node_address, parent_level, expected_key = pending.pop()
            level, keys, values = self._decode_cached(node_address)
            # a node begins with the key that names it above: so none is met twice
            if (
                level >= parent_level
                or (not keys and level)
                or (expected_key and keys[:1] != [expected_key])
            ):
                raise self._damage_error("a tree cannot be read")
            first_index = max(bisect_right(keys, first) - 1, 0)
            if not level:
                for key, value in zip(keys[first_index:], values[first_index:], strict=True):
                    if first <= key < end:
                        if key <= previous_key:
                            raise self._damage_error("a tree is out of order")
                        previous_key = key
                        yield key, value
                continue
            children = [
                (int.from_bytes(value, "little"), level, key)
                for key, value in zip(keys[first_index:], values[first_index:], strict=True)
                if key < end
            ]
            pending += children[::-1]

    def _decode_node(self, address: int) -> tuple[int, list[TreeKey], list[bytes]]:
        """The level of a node, its keys, and its items' data or the places of the nodes below."""
        node = self._read_logical(address, self._node_size)
        (count, level) = struct.unpack_from("<IB", node, 96)
        width = 33 if level else 25
        if struct.unpack_from("<Q", node, 48)[0] != address or _NODE_HEADER + width * count > len(
            node
        ):
            raise self._damage_error("a node of a tree cannot be read")
        keys, values = [], []
        for number in range(count):
            key_offset = _NODE_HEADER + width * number
            keys.append(struct.unpack_from("<QBQ", node, key_offset))
            if level:
                values.append(node[key_offset + 17 : key_offset + 25])
                continue
            offset, size = struct.unpack_from("<II", node, key_offset + 17)
            value = node[_NODE_HEADER + offset : _NODE_HEADER + offset + size]
            if len(value) < size:
                raise self._damage_error("an item of a tree is cut short")
            values.append(value)
        if sorted(keys) != keys:
            raise self._damage_error("a node of a tree is out of order")
        return level, keys, values

    def _read_system_chunks(self, table: bytes) -> None:
        offset = 0
        while offset + 17 + 80 <= len(table):
            (logical,) = struct.unpack_from("<9xQ", table, offset)
            (stripes,) = struct.unpack_from("<H", table, offset + 17 + 44)
            self._add_chunk(logical, table[offset + 17 :])
            offset += 17 + 48 + 32 * stripes

    def _add_chunk(self, logical: int, item: bytes) -> None:
        if len(item) < 80:
            raise self._damage_error("a chunk is cut short")
        length, _, _, profile = struct.unpack_from("<4Q", item)
        (physical,) = struct.unpack_from("<8xQ", item, 48)
        if profile & _MULTI_DEVICE_PROFILES:
            raise self._damage_error("it lies on several devices")
        index = bisect_right(self._chunks, (logical, 0, 0))
        if index == len(self._chunks) or self._chunks[index][0] != logical:
            self._chunks.insert(index, (logical, length, physical))

    def _read_logical(self, logical: int, size: int) -> bytes:
        """A stretch of the file system by its logical address, which lies in one chunk."""
        index = bisect_right(self._chunks, (logical, 1 << 64, 0)) - 1
        if index >= 0:
            start, length, physical = self._chunks[index]
            offset = physical + logical - start
            if logical + size <= start + length and offset + size <= self._available_size:
                return self._data[self._start + offset : self._start + offset + size]
        raise self._damage_error("a part of it lies outside of it")
