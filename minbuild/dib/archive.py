"""A tree written as a tar: the form in which it enters a root that another program owns."""

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from minbuild.facts.types import Kind
from minbuild.image.archives import CAPABILITY, text
from minbuild.records import full_disk
from minbuild.tree.types import Node

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
}


def write(nodes: Iterable[Node], content: Callable[[str], bytes], out: BinaryIO) -> None:
    """Write `nodes` as a GNU tar, or pax where files have capabilities; times are 0.

    So the same nodes give the same bytes. `content` gives the bytes of a digest. A hard link comes after its first name.
    """
    ordered = sorted(nodes, key=lambda node: (node.kind is Kind.HARDLINK, node.path))
    has_more = any(node.capability for node in ordered)
    kind = tarfile.PAX_FORMAT if has_more else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=out, mode="w|", format=kind) as tar:
        for node in ordered:
            tar.addfile(_header(node), io.BytesIO(_body(node, content)))


def _header(node: Node) -> tarfile.TarInfo:
    info = tarfile.TarInfo(text(f".{node.path}"))
    info.type = _TYPES[node.kind]
    info.mode, info.uid, info.gid, info.size = node.mode, node.uid, node.gid, node.size
    if node.kind is Kind.LINK:
        info.linkname = text(node.target)
    elif node.kind is Kind.HARDLINK:
        info.linkname, info.size = text(f".{node.target}"), 0
    if node.capability:
        value = bytes.fromhex(node.capability).decode("utf-8", "surrogateescape")
        info.pax_headers = {CAPABILITY: value}
    return info


def _body(node: Node, content: Callable[[str], bytes]) -> bytes:
    return content(node.sha256) if node.kind is Kind.FILE else b""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place when all is written, or not at all.

    Raises: ToolError when it cannot be written.
    """
    with full_disk(path.parent):
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
            Path(beside).chmod(0o644)
            os.replace(beside, path)
        finally:
            Path(beside).unlink(missing_ok=True)
