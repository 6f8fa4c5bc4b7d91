"""Archives of the host's files: a tar with the kernel, and cpio for the initramfs."""

import io
import stat
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from minbuild.formats.cpio import HEADER_SIZE, TRAILER, align, append_member, encode_name
from minbuild.formats.root_entry import FileType
from minbuild.paths import unescape_name
from minbuild.rootfs.model import RootfsNode, RootfsTree

CAPABILITY_HEADER = "SCHILY.xattr.security.capability"
TAR_TYPES = {
    FileType.FILE: tarfile.REGTYPE,
    FileType.HARDLINK: tarfile.LNKTYPE,
    FileType.DIRECTORY: tarfile.DIRTYPE,
    FileType.LINK: tarfile.SYMTYPE,
}


def write_cpio(tree: RootfsTree, content: Callable[[str], bytes], output: Path) -> None:
    """Write the uncompressed initramfs: every file but the kernel and Xen, in one newc archive."""
    nodes = [node for node in tree.nodes if not tree.is_boot_image(node)]
    output.write_bytes(encode_cpio(_sort_hard_links_last(nodes), content))


def write_tar(tree: RootfsTree, content: Callable[[str], bytes], output: Path) -> None:
    """Write every file of the host with its capabilities, and the kernel; times are 0.

    Source: pax(1), POSIX; star(5), SCHILY.xattr.
    """
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as archive:
        for node in _sort_hard_links_last(tree.nodes):
            body = content(node.sha256) if node.kind is FileType.FILE else b""
            archive.addfile(_make_tar_info(node), io.BytesIO(body))


def _sort_hard_links_last(nodes: tuple[RootfsNode, ...] | list[RootfsNode]) -> list[RootfsNode]:
    """Sort hard links after the files that they name."""
    return sorted(nodes, key=lambda node: node.kind is FileType.HARDLINK)


def _make_tar_info(node: RootfsNode) -> tarfile.TarInfo:
    info = tarfile.TarInfo(to_tar_name(node.path[1:]))
    info.type = TAR_TYPES[node.kind]
    info.mode = 0o777 if node.kind is FileType.LINK else node.mode
    info.uid, info.gid = node.uid, node.gid
    info.size = node.size if node.kind is FileType.FILE else 0
    info.linkname = to_tar_name(node.target[1:] if node.kind is FileType.HARDLINK else node.target)
    if node.capability:
        value = bytes.fromhex(node.capability).decode("utf-8", "surrogateescape")
        info.pax_headers = {CAPABILITY_HEADER: value}
    return info


def to_tar_name(escaped_name: str) -> str:
    """Convert an escaped name to tarfile's form: bytes that are not UTF-8 as surrogates."""
    return unescape_name(escaped_name).decode("utf-8", "surrogateescape")


CPIO_WRITER_VERSION = "newc/1"
"""Version of the archive's bytes: increase it when the same nodes give other bytes."""


CPIO_TYPES = {
    FileType.FILE: stat.S_IFREG,
    FileType.HARDLINK: stat.S_IFREG,
    FileType.DIRECTORY: stat.S_IFDIR,
    FileType.LINK: stat.S_IFLNK,
}


def encode_cpio(nodes: Sequence[RootfsNode], content: Callable[[str], bytes]) -> bytes:
    """Encode `nodes` in their order as a cpio archive; `content` reads the bytes of a digest.

    Times are 0 and inodes count from 1, so the archive depends on the nodes alone. The content of
    hard links is in the first of them; all others must be in the same archive.
    """
    out = bytearray()
    inodes: dict[str, int] = {}
    links: dict[str, int] = {}
    bodies: dict[str, str] = {}
    for node in nodes:
        first = _get_inode_path(node)
        inodes.setdefault(first, len(inodes) + 1)
        links[first] = links.get(first, 0) + 1
        if node.kind is FileType.FILE:
            bodies[first] = node.sha256
    for node in nodes:
        first = _get_inode_path(node)
        body = unescape_name(node.target) if node.kind is FileType.LINK else b""
        if first in bodies:
            body = content(bodies.pop(first))
        mode = CPIO_TYPES[node.kind] | (0o777 if node.kind is FileType.LINK else node.mode)
        count = 2 if node.kind is FileType.DIRECTORY else links[first]
        append_member(out, node.path[1:], (inodes[first], mode, node.uid, node.gid, count), body)
    append_member(out, TRAILER, (0, 0, 0, 0, 1), b"")
    return bytes(out)


def compute_cpio_size(nodes: Sequence[RootfsNode]) -> int:
    """Compute the bytes of the archive from `encode_cpio`, without reading contents."""
    total = align(HEADER_SIZE + len(TRAILER) + 1)
    for node in nodes:
        body = len(unescape_name(node.target)) if node.kind is FileType.LINK else node.size
        total += align(HEADER_SIZE + len(encode_name(node.path[1:]))) + align(body)
    return total


def _get_inode_path(node: RootfsNode) -> str:
    return node.target if node.kind is FileType.HARDLINK else node.path
