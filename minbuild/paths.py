"""Paths inside the image, kept apart from paths on the build machine."""

import os
import posixpath
import re
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


_AMBIGUOUS = re.compile(rb"\\(?=x(?:[89a-f][0-9a-f]|5c))")
_SPELLED = re.compile(r"\\x([89a-f][0-9a-f]|5c)")


def spelled(raw: str | bytes) -> str:
    r"""Write a name or a link's text so that it is text: bytes that are no UTF-8 as `\xe9`.

    `raw`: bytes, or what Python makes of them (surrogates). A backslash of the name itself that
    begins what looks like such a byte is written `\x5c`, so that `unspelled` gives the same bytes.
    """
    if isinstance(raw, str) and "\\" not in raw and raw.isascii():
        return raw
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogateescape")
    return _AMBIGUOUS.sub(rb"\\x5c", data).decode("utf-8", "backslashreplace")


def unspelled(text: str) -> bytes:
    """Give the bytes that `spelled` was given."""
    data = text.encode("utf-8", "surrogateescape")
    if b"\\x" not in data:
        return data
    return _SPELLED.sub(lambda found: chr(int(found[1], 16)), data.decode("latin-1")).encode(
        "latin-1"
    )


def parents(path: RootPath) -> list[RootPath]:
    """Proper ancestors of `path` below the root, outermost first: /usr, /usr/bin for /usr/bin/ls."""
    parts = path.split("/")[1:-1]
    return [RootPath("/" + "/".join(parts[: n + 1])) for n in range(len(parts))]


def under(directory: Path, path: RootPath) -> Path:
    """Where image `path` lies below `directory` on the build machine; no link is followed."""
    return directory / os.fsdecode(unspelled(path.lstrip("/")))
