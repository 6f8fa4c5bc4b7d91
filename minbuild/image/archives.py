"""The host's files as an archive: tar with the kernel, cpio as the kernel unpacks it."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from minbuild.facts.types import Kind
from minbuild.image import cpio
from minbuild.paths import unspelled
from minbuild.tree.types import Node, Tree

CAPABILITY = "SCHILY.xattr.security.capability"
KINDS = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
}


def make_cpio(tree: Tree, content: Callable[[str], bytes], output: Path) -> None:
    """Write the initramfs, not packed: every file but the kernel, in one newc archive."""
    nodes = [node for node in tree.nodes if node.path != tree.kernel]
    output.write_bytes(cpio.write(_hard_links_last(nodes), content))


def make_tar(tree: Tree, content: Callable[[str], bytes], output: Path) -> None:
    """Write every file of the host, the kernel too, with times of 0, and capabilities.

    Source: pax(1), POSIX; star(5), SCHILY.xattr.
    """
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as archive:
        for node in _hard_links_last(tree.nodes):
            body = content(node.sha256) if node.kind is Kind.FILE else b""
            archive.addfile(_info(node), io.BytesIO(body))


def _hard_links_last(nodes: tuple[Node, ...] | list[Node]) -> list[Node]:
    """A hard link's file must stand before it."""
    return sorted(nodes, key=lambda node: node.kind is Kind.HARDLINK)


def _info(node: Node) -> tarfile.TarInfo:
    info = tarfile.TarInfo(text(node.path[1:]))
    info.type = KINDS[node.kind]
    info.mode = 0o777 if node.kind is Kind.LINK else node.mode
    info.uid, info.gid = node.uid, node.gid
    info.size = node.size if node.kind is Kind.FILE else 0
    info.linkname = text(node.target[1:] if node.kind is Kind.HARDLINK else node.target)
    if node.capability:
        value = bytes.fromhex(node.capability).decode("utf-8", "surrogateescape")
        info.pax_headers = {CAPABILITY: value}
    return info


def text(spelled: str) -> str:
    """A name as tarfile wants it: bytes that are no UTF-8 as surrogates."""
    return unspelled(spelled).decode("utf-8", "surrogateescape")
