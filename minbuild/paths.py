"""Paths inside the image, kept apart from paths on the build machine."""

import posixpath
from pathlib import Path
from typing import NewType

RootPath = NewType("RootPath", str)
"""Absolute, normalised, usr-merged path inside the image: `/usr/bin/true`.

Paths on the build machine are `pathlib.Path`.
"""

MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
"""Directories that are links into /usr. Source: Debian Policy 4.6.2, usrmerge (file-hierarchy(7))."""


def rootpath(text: str) -> RootPath:
    """Normalise `text` ("./usr/bin/", "bin", "/usr/bin") to "/usr/bin"; `..` stops at the root."""
    clean = posixpath.normpath("/" + text.lstrip("/"))
    first, slash, rest = clean[1:].partition("/")
    if first in MERGED and slash:
        return RootPath(f"/{MERGED[first]}/{rest}")
    return RootPath(clean)


def parents(path: RootPath) -> list[RootPath]:
    """Proper ancestors of `path` below the root, outermost first: /usr, /usr/bin for /usr/bin/ls."""
    parts = path.split("/")[1:-1]
    return [RootPath("/" + "/".join(parts[: n + 1])) for n in range(len(parts))]


def under(directory: Path, path: RootPath) -> Path:
    """Where image `path` lies below `directory` on the build machine; no link is followed."""
    return directory / path.lstrip("/")
