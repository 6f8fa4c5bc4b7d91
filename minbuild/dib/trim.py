"""What is cut from an installed root so that a tree is left, and how it is done in place."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.root.types import Found
from minbuild.facts.types import Kind
from minbuild.paths import MERGED, RootPath, under, unspelled
from minbuild.tree.types import Node, Tree


@dataclass(frozen=True, slots=True)
class Cut:
    """The way from a root to a tree."""

    remove: tuple[str, ...]
    """Raw paths, what a directory holds before the directory."""
    lay: tuple[Node, ...]
    """What the root has not, or not so; a directory before what it holds."""


def plan(
    found: Mapping[RootPath, Found], raw: Iterable[str], tree: Tree, keep: Sequence[str]
) -> Cut:
    """Say what is to go and what is to come.

    `found`: the root's paths that the tree was resolved from; `raw`: all of its paths; `keep`:
    directories that stay with all they hold, relative to the top.
    """
    stays: set[str] = set()
    lay: list[Node] = []
    for node in tree.nodes:
        here = found.get(node.path)
        if here is not None and (node.package or _is_same(here, node)):
            stays.add(here.raw)
        else:
            lay.append(node)
    for name in raw:
        if any(f"{name}/".startswith(f"{each}/") for each in keep):
            stays.add(name)
    for name in list(stays):
        parts = name.split("/")
        stays.update("/".join(parts[:count]) for count in range(1, len(parts)))
    gone = [name for name in raw if name not in stays]
    return Cut(tuple(sorted(gone, reverse=True)), tuple(lay))


def _is_same(here: Found, node: Node) -> bool:
    """Tell that a made directory or merged-/usr link is there already."""
    if here.kind is Kind.DIRECTORY:
        return node.kind is Kind.DIRECTORY or here.raw in MERGED
    return here.kind is Kind.LINK and node.kind is Kind.LINK and here.target == node.target


def apply(top: Path, cut: Cut, content: Callable[[str], bytes]) -> None:
    """Cut the root below `top` in place; what is mounted on it stays.

    Raises: ToolError when something cannot be removed or written.
    """
    try:
        for name in cut.remove:
            _remove(top / name)
        for node in cut.lay:
            _lay(top, node, content)
    except OSError as error:
        raise ToolError(
            f"the root cannot be trimmed: {error.strerror}",
            where=str(error.filename or top),
            fix="trim as the owner of its files: as root, or below sudo",
        ) from error


def _remove(path: Path) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        path.unlink()
        return
    try:
        path.rmdir()
    except OSError as error:
        # a mount point, or a directory that holds a device or a socket
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def _lay(top: Path, node: Node, content: Callable[[str], bytes]) -> None:
    path = _place(top, node)
    if node.kind is not Kind.DIRECTORY:
        path.unlink(missing_ok=True)
    match node.kind:
        case Kind.DIRECTORY:
            path.mkdir(exist_ok=True)
        case Kind.LINK:
            path.symlink_to(os.fsdecode(unspelled(node.target)))
        case Kind.HARDLINK:
            os.link(under(top, RootPath(node.target)), path)
        case Kind.FILE:
            path.write_bytes(content(node.sha256))
        case Kind.OTHER:
            raise ValueError(node)  # an image of ours holds none
    if os.geteuid() == 0:  # else all of the root is the user's, and so is this
        os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if node.kind is not Kind.LINK:
        path.chmod(node.mode)


def _place(top: Path, node: Node) -> Path:
    """Where a node is written. Raises: ToolError where a link would lead elsewhere."""
    path = top
    for part in os.fsdecode(unspelled(node.path)).strip("/").split("/")[:-1]:
        path /= part
        if path.is_symlink():
            raise ToolError(
                "the root has a link where the host needs a directory",
                where=str(path),
                fix="install that root with merged /usr, or change the path in the manifest",
            )
        if not path.exists():
            path.mkdir()
    return path / os.fsdecode(unspelled(node.path.rpartition("/")[2]))
