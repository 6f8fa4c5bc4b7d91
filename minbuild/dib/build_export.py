"""Export of a build: its tree read back from the images, each file checked, and written as a tar."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.model import FileRow, Footprint
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.root_entry import FileType
from minbuild.formats.uki import read_uki_file
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


FOOTPRINT = "footprint.json"


@dataclass(frozen=True, slots=True)
class BuildDirectory:
    """The files of one build."""

    footprint: Footprint
    nodes: tuple[RootfsNode, ...]
    """Sorted by path."""
    content: Callable[[str], bytes]
    """The bytes of a digest."""


def read_build_directory(directory: Path) -> BuildDirectory:
    """Read the host's files out of the image in a build folder.

    Raises: UsageError when it is no build folder, or image and footprint are not of one build;
    ToolError when the image is damaged.
    """
    try:
        text = (directory / FOOTPRINT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"this is no build folder: it has no {FOOTPRINT} that can be read",
            where=str(directory),
            fix="name a manifest, or a folder that minbuild make wrote: build/host",
        ) from error
    footprint = document.read_footprint(text, str(directory / FOOTPRINT))
    contents = _read_contents(directory / f"{footprint.name}.efi")
    digests = {row.sha256 for row in footprint.files if row.type == FileType.FILE}
    if not digests <= contents.keys():
        raise UsageError(
            f"{footprint.name}.efi does not hold the files that {FOOTPRINT} lists",
            where=str(directory),
            fix="the two are of different builds: build again (minbuild make)",
        )
    return BuildDirectory(
        footprint, tuple(map(node_from_row, footprint.files)), contents.__getitem__
    )


def _read_contents(image: Path) -> dict[str, bytes]:
    uki = read_uki_file(image)
    members = unpack_members(uki.initrd, where=str(image)).values()
    contents = [uki.linux, *(member.content for member in members)]
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


def node_from_row(row: FileRow) -> RootfsNode:
    """The node that a footprint's row was made from."""
    kind = FileType(row.type)
    return RootfsNode(
        path=row.path,
        kind=kind,
        mode=row.mode,
        uid=row.uid,
        gid=row.gid,
        size=row.size,
        sha256=row.sha256,
        target=row.target,
        package=row.package,
        component=row.component,
    )
