"""A build folder read back as the tree that it was made from, each file checked."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.types import Kind
from minbuild.footprint import document
from minbuild.footprint.types import FileRow, Footprint
from minbuild.image.unpack import members
from minbuild.lab.uki import split
from minbuild.tree.types import Node

FOOTPRINT = "footprint.json"


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one build."""

    footprint: Footprint
    nodes: tuple[Node, ...]
    """Sorted by path."""
    content: Callable[[str], bytes]
    """The bytes of a digest."""


def read(directory: Path) -> Folder:
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
    footprint = document.read(text, str(directory / FOOTPRINT))
    held = _held(directory / f"{footprint.name}.efi")
    wanted = {row.sha256 for row in footprint.files if row.type == Kind.FILE}
    if not wanted <= held.keys():
        raise UsageError(
            f"{footprint.name}.efi does not hold the files that {FOOTPRINT} lists",
            where=str(directory),
            fix="the two are of different builds: build again (minbuild make)",
        )
    return Folder(footprint, tuple(map(node_of, footprint.files)), held.__getitem__)


def _held(image: Path) -> dict[str, bytes]:
    kernel, initramfs, _ = split(image)
    contents = [kernel]
    contents += [member.content for member in members(initramfs, where=str(image)).values()]
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


def node_of(row: FileRow) -> Node:
    """The node that a footprint's row was made from."""
    kind = Kind(row.type)
    return Node(
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
