"""Path of a root, and its path in an image with merged /usr, where /bin and /usr/bin are one.

What we make, and the rules about it, say /usr/bin for /bin. A root in which /usr/bin is a link back
to /bin is told so too: each path has both names there. Else each path keeps its own name, but for
kernel modules and firmware, which are looked for below /usr/lib.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from minbuild.errors import ToolError
from minbuild.paths import USRMERGED, RootPath, escape_name, to_root_path


class FileType(StrEnum):
    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"
    HARDLINK = "hardlink"
    OTHER = "other"
    """A device, a socket, a FIFO: in what somebody made, never in a package or an image of ours."""


@dataclass(frozen=True, slots=True)
class RootEntry:
    """One path of a root."""

    path: RootPath
    """Where it lies in an image: usr-merged."""
    native_path: str
    """Where it lies in the root, relative to its top: `bin/sh`."""
    kind: FileType
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    """A link's text, spelled; a hard link's first name, as `raw`; a device's numbers: `c 1:3`."""
    capability: bytes = b""
    """Extended attribute security.capability of a file, whatever its reader had it from."""


def resolve_usrmerge(native_path: str, kind: FileType) -> RootPath:
    """The usr-merged path of `raw`; a directory /bin of an older root is the one behind it."""
    if kind is FileType.DIRECTORY and native_path in USRMERGED:
        return RootPath("/" + USRMERGED[native_path])
    return to_root_path(native_path)


def unusable_root(reason: str, where: str) -> ToolError:
    """The error for a root that cannot be used."""
    return ToolError(
        f"the root cannot be used: {reason}",
        where=where,
        fix="name a directory, a tar, a container image or a disk image that holds a root",
    )


_KERNEL_DIRECTORIES = ("lib/modules", "lib/firmware")
"""What is looked for below /usr/lib, even where /lib and /usr/lib are two directories."""


@dataclass(frozen=True, slots=True)
class UsrMergeLayout:
    """How the paths of one root are told."""

    moves: Mapping[str, str]
    """Directory → where it is told to be: bin → usr/bin."""
    replaced_links: frozenset[str]
    """Links back that such a directory takes the place of."""

    @property
    def links(self) -> dict[RootPath, str]:
        """The links that lead to what is told elsewhere: path → text."""
        return {
            RootPath(f"/{old}"): posixpath.relpath(new, posixpath.dirname(old) or ".")
            for old, new in self.moves.items()
        }

    def image_path(self, native_path: str) -> RootPath:
        """The path of what stands at `raw`."""
        for old, new in self.moves.items():
            if native_path == old or native_path.startswith(f"{old}/"):
                return RootPath(f"/{new}{escape_name(native_path[len(old) :])}")
        return RootPath(f"/{escape_name(native_path)}")

    def relocate_entry(self, entry: RootEntry) -> RootEntry:
        """What was found, with its path; a link's text leads where it leads in the root."""
        path, target = self.image_path(entry.native_path), entry.target
        if entry.kind is FileType.LINK and path != f"/{escape_name(entry.native_path)}":
            target = self._relocate_target(entry.native_path, target)
        if path == entry.path and target == entry.target:
            return entry
        return replace(entry, path=path, target=target)

    def _relocate_target(self, native_path: str, target: str) -> str:
        moved_directory = next(
            old for old in self.moves if native_path.startswith(f"{old}/") or native_path == old
        )
        directory = posixpath.dirname(native_path)
        climbs = 0
        for part in target.split("/"):
            if part != "..":
                break
            climbs += 1
        depth = 0 if directory == moved_directory else directory[len(moved_directory) :].count("/")
        return (
            target if climbs <= depth else posixpath.normpath(f"/{escape_name(directory)}/{target}")
        )


def detect_layout(by_native_path: Mapping[str, RootEntry]) -> UsrMergeLayout:
    """Learn how the paths of a root are told."""
    merges = plan_full_merge(by_native_path).moves
    moves = {old: new for old, new in merges.items() if _is_link_back(by_native_path.get(new), old)}
    if "lib" in merges and "lib" not in moves:
        moves |= {
            old: f"usr/{old}"
            for old in _KERNEL_DIRECTORIES
            if old in by_native_path and f"usr/{old}" not in by_native_path
        }
    return UsrMergeLayout(moves, frozenset(moves.values()) & by_native_path.keys())


def plan_full_merge(by_native_path: Mapping[str, RootEntry]) -> UsrMergeLayout:
    """How the paths of a root are told that becomes one with merged /usr, whatever is hidden."""
    moves = {
        old: new
        for old, new in USRMERGED.items()
        if (top := by_native_path.get(old)) is not None and top.kind is FileType.DIRECTORY
    }
    return UsrMergeLayout(moves, frozenset())


def _is_link_back(entry: RootEntry | None, old: str) -> bool:
    """Tell whether a link in /usr leads to a directory of the top."""
    if entry is None or entry.kind is not FileType.LINK:
        return False
    return posixpath.normpath(posixpath.join("/usr", entry.target)) == f"/{old}"
