"""Reader of an initramfs, archive by archive as the kernel unpacks it.

Source: Linux, init/initramfs.c.
"""

import re
import stat
from collections.abc import Iterable

from minbuild.formats.cpio import (
    HEADER_SIZE,
    TRAILER,
    CpioHeader,
    CpioMember,
    make_initramfs_error,
    read_header,
)
from minbuild.formats.initramfs_compression import (
    CompressedSegment,
    UnpackedBytes,
    UnpackTool,
    find_decompressor,
)
from minbuild.formats.ramfs import MAX_PATH, Ramfs, RamfsInode
from minbuild.formats.root_entry import FileType, RootEntry, UsrMergeLayout, detect_layout
from minbuild.paths import USRMERGED, RootPath, escape_name, unescape_name

MAX_UNPACKED = 1 << 30
"""Bytes that an initramfs may unpack to before it counts as a bomb."""
MAX_MEMBERS = 1 << 18
"""Members of all its archives."""
DEVICE_TYPES = (stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK)
_NON_ZERO = re.compile(rb"[^\0]")
_TRAILER = TRAILER.encode()


def unpack_members(
    data: bytes,
    *,
    where: str = "",
    limit: int = MAX_UNPACKED,
    unpack_tool: UnpackTool | None = None,
    machine: int = 0,
) -> dict[str, CpioMember]:
    """Every path of the tree that the kernel makes of an initramfs, without its first slash; sorted.

    Each name of a file with several has its inode, its mode and its content. `tool` unpacks lz4
    and lzo; `machine` is PE's number of the kernel's, 0 where nobody knows it.
    Raises: ToolError when it is damaged, holds what makes the kernel stop, or unpacks to more than
    `most` bytes.
    """
    return list_members(
        unpack_initramfs(data, where=where, limit=limit, unpack_tool=unpack_tool, machine=machine)
    )


def unpack_initramfs(
    data: bytes,
    *,
    where: str = "",
    limit: int = MAX_UNPACKED,
    unpack_tool: UnpackTool | None = None,
    machine: int = 0,
) -> Ramfs:
    """The kernel's root after it unpacked an initramfs. Raises: ToolError, as `members`."""
    unpacker = _Unpacker(where, limit, unpack_tool, machine)
    unpacker.read(data)
    return unpacker.root


def list_members(root: Ramfs) -> dict[str, CpioMember]:
    """The paths of a root; none for a link back that a directory is told in the place of."""
    entries = [
        (path.decode("utf-8", "surrogateescape"), inode) for path, inode in root.iter_paths()
    ]
    layout = detect_root_layout(entries)
    entries = [(raw, inode) for raw, inode in entries if raw not in layout.replaced_links]
    numbers: dict[int, int] = {}
    counts: dict[int, int] = {}
    for _, inode in entries:
        numbers.setdefault(id(inode), len(numbers) + 1)
        counts[id(inode)] = counts.get(id(inode), 0) + 1
    return {
        raw: CpioMember(
            layout.image_path(raw), inode.mode, inode.uid, inode.gid, numbers[id(inode)], counts[id(inode)],
            0, _read_content(raw, inode, layout), inode.device,
        )
        for raw, inode in entries
    }  # fmt: skip


def detect_root_layout(entries: Iterable[tuple[str, RamfsInode]]) -> UsrMergeLayout:
    """Where the paths of a root are told to be."""
    top_entries = {
        raw: _make_entry(raw, inode)
        for raw, inode in entries
        if raw in USRMERGED
        or raw.removeprefix("usr/") in USRMERGED
        or (raw.count("/") <= 2 and "lib" in raw)
    }
    return detect_layout(top_entries)


def _make_entry(raw: str, inode: RamfsInode) -> RootEntry:
    if stat.S_ISLNK(inode.mode):
        return RootEntry(
            RootPath(f"/{raw}"), raw, FileType.LINK, 0o777, target=escape_name(inode.content)
        )
    kind = FileType.DIRECTORY if inode.is_directory else FileType.OTHER
    return RootEntry(RootPath(f"/{raw}"), raw, kind, 0)


def _read_content(raw: str, inode: RamfsInode, layout: UsrMergeLayout) -> bytes:
    """A file's bytes; a link's text as it leads where it leads in the root."""
    if stat.S_ISLNK(inode.mode) and layout.moves:
        return unescape_name(layout.relocate_entry(_make_entry(raw, inode)).target)
    return inode.content


class _Unpacker:
    """What the kernel remembers from one member to the next."""

    def __init__(
        self, where: str, limit: int, unpack_tool: UnpackTool | None, machine: int
    ) -> None:
        self.root = Ramfs(where)
        self._where, self._remaining, self._unpack_tool, self._machine = (
            where,
            limit,
            unpack_tool,
            machine,
        )
        self._names: dict[tuple[int, int, int, int], bytes] = {}
        """The first name of files with several, until a trailer."""
        self._count = 0

    def read(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if data[at] == 0:
                at = _skip_zeros(data, at)
            elif data[at : at + 1] == b"0":
                at = self._apply_member(data, at, self._where, packed=False)
            else:
                at += self._unpack_segment(data, at)

    def _unpack_segment(self, data: bytes, at: int) -> int:
        """Unpack what is packed from a place on; how many bytes it took."""
        unpack = find_decompressor(data[at : at + 2])
        if unpack is None:
            raise make_initramfs_error(
                "there is neither a cpio archive nor one that is packed", at, self._where
            )
        packed = CompressedSegment(
            memoryview(data)[at:],
            at,
            self._where,
            self._remaining,
            self._unpack_tool,
            self._machine,
        )
        payload, consumed = unpack(packed)
        self._remaining -= len(payload)
        where = f"{self._where} (unpacked, from byte {at})".lstrip()
        if not self._count and not payload.startswith(b"0"):
            raise make_initramfs_error(
                "what is packed does not begin with a cpio archive", 0, where
            )
        position = 0
        while position < len(payload):
            if payload[position]:
                position = self._apply_member(payload, position, where, packed=True)
            else:
                position = _skip_zeros(payload, position)
        return consumed

    def _apply_member(self, data: UnpackedBytes, at: int, where: str, *, packed: bool) -> int:
        """Do one member; where the next byte stands."""
        if at % 4:
            raise make_initramfs_error("an archive begins at an odd place", at, where)
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise make_initramfs_error(f"it has more than {MAX_MEMBERS:,} members", at, where)
        head = read_header(data, at, where)
        start = at + HEADER_SIZE
        body = start + head.body_offset
        end = start + head.end_offset
        if body + head.size > len(data) or (packed and end > len(data)):
            raise make_initramfs_error("the cpio archive is cut short", at, where)
        if _is_skipped(head):
            if packed:
                raise make_initramfs_error(
                    "a member that the kernel may read in two ways", at, where
                )
            self.root.dropped.append(
                bytes(data[start : start + min(head.name_size, 80)]).rstrip(b"\0")
            )
            return end
        name = bytes(data[start : start + head.name_size])
        if name[-1]:
            raise make_initramfs_error("a name of a cpio archive does not end", at, where)
        name = name.partition(b"\0")[0]
        content = bytes(data[body : body + head.size])
        if stat.S_ISLNK(head.mode):
            self._apply_link(name, head, content)
        elif name == _TRAILER:
            self._names.clear()
        else:
            self._apply_entry(name, head, content, at, where)
        return end

    def _apply_link(self, name: bytes, head: CpioHeader, content: bytes) -> None:
        text = content.partition(b"\0")[0]
        self.root.remove_other_type(name, 0)
        if len(text) < MAX_PATH:
            self.root.make_node(name, stat.S_IFLNK | 0o777, text)
        inode = self.root.look_up(name)
        if inode is not None:
            self.root.set_owner(inode, head.uid, head.gid)
        if inode is None or inode.content != text:
            self.root.dropped.append(name)

    def _apply_entry(
        self, name: bytes, head: CpioHeader, content: bytes, at: int, where: str
    ) -> None:
        kind = stat.S_IFMT(head.mode)
        self.root.remove_other_type(name, head.mode)
        if kind == stat.S_IFREG:
            self._apply_file(name, head, content, at, where)
        elif kind == stat.S_IFDIR or (
            kind in DEVICE_TYPES and self._link_to_earlier(name, head) is None
        ):
            device = head.device if kind in (stat.S_IFBLK, stat.S_IFCHR) else (0, 0)
            self.root.make_node(name, head.mode, device=device)
            self._set_attributes(name, self.root.look_up(name, follow=True), head)

    def _apply_file(
        self, name: bytes, head: CpioHeader, content: bytes, at: int, where: str
    ) -> None:
        is_linked = self._link_to_earlier(name, head)
        inode = self.root.open_file(name) if is_linked is not False else None
        if inode is None:
            self.root.dropped.append(name)
            return
        if head.checksum is not None and sum(content) & 0xFFFFFFFF != head.checksum:
            raise make_initramfs_error("a member's checksum is not that of its bytes", at, where)
        self._set_attributes(name, inode, head)
        if content or not is_linked:
            inode.content = content

    def _link_to_earlier(self, name: bytes, head: CpioHeader) -> bool | None:
        """Whether a name became another one of an earlier file; None when there is no such file."""
        if head.links < 2:
            return None
        key = (head.inode, *head.disk, stat.S_IFMT(head.mode))
        if key not in self._names:
            self._names[key] = name
            return None
        self.root.remove_other_type(name, 0)
        return self.root.link(self._names[key], name)

    def _set_attributes(self, name: bytes, inode: RamfsInode | None, head: CpioHeader) -> None:
        if inode is None:
            self.root.dropped.append(name)
        else:
            self.root.set_owner(inode, head.uid, head.gid)
            inode.mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(head.mode)


def _is_skipped(head: CpioHeader) -> bool:
    """A member that the kernel skips by its header alone."""
    if not 0 < head.name_size <= MAX_PATH:
        return True
    if stat.S_ISLNK(head.mode):
        return head.size > MAX_PATH
    return not stat.S_ISREG(head.mode) and head.size > 0


def _skip_zeros(data: UnpackedBytes, at: int) -> int:
    """The next byte that is not zero."""
    match = _NON_ZERO.search(data, at)
    return match.start() if match else len(data)
