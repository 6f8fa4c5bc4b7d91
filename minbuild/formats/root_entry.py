"""One path of a root, and its path in an image with merged /usr."""

from dataclasses import dataclass
from enum import StrEnum

from minbuild.errors import ToolError
from minbuild.paths import USRMERGED, RootPath, to_root_path


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
