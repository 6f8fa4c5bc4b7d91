"""A tree written as a tar: the form in which it enters a root that another program owns."""

import io
import tarfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

from minbuild.formats.root_entry import FileType
from minbuild.image.tar_cpio import CAPABILITY_HEADER, to_tar_name
from minbuild.rootfs.model import RootfsNode

_TAR_TYPES = {
    FileType.FILE: tarfile.REGTYPE,
    FileType.HARDLINK: tarfile.LNKTYPE,
    FileType.LINK: tarfile.SYMTYPE,
    FileType.DIRECTORY: tarfile.DIRTYPE,
}


def write_root_tar(
    nodes: Iterable[RootfsNode], content: Callable[[str], bytes], out: BinaryIO
) -> None:
    """Write `nodes` as a GNU tar, or pax where files have capabilities; times are 0.

    So the same nodes give the same bytes. `content` gives the bytes of a digest. A hard link comes after its first name.
    """
    ordered = sorted(nodes, key=lambda node: (node.kind is FileType.HARDLINK, node.path))
    has_more = any(node.capability for node in ordered)
    kind = tarfile.PAX_FORMAT if has_more else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=out, mode="w|", format=kind) as tar:
        for node in ordered:
            tar.addfile(_make_header(node), io.BytesIO(_read_body(node, content)))


def _make_header(node: RootfsNode) -> tarfile.TarInfo:
    info = tarfile.TarInfo(to_tar_name(f".{node.path}"))
    info.type = _TAR_TYPES[node.kind]
    info.mode, info.uid, info.gid, info.size = node.mode, node.uid, node.gid, node.size
    if node.kind is FileType.LINK:
        info.linkname = to_tar_name(node.target)
    elif node.kind is FileType.HARDLINK:
        info.linkname, info.size = to_tar_name(f".{node.target}"), 0
    if node.capability:
        value = bytes.fromhex(node.capability).decode("utf-8", "surrogateescape")
        info.pax_headers = {CAPABILITY_HEADER: value}
    return info


def _read_body(node: RootfsNode, content: Callable[[str], bytes]) -> bytes:
    return content(node.sha256) if node.kind is FileType.FILE else b""
