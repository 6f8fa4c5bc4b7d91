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

USRMERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
"""Directories that are links into /usr. Source: Debian Policy 4.6.2, usrmerge (file-hierarchy(7))."""


def to_root_path(text: str) -> RootPath:
    """Normalise `text` ("./usr/bin/", "bin", "/usr/bin") to "/usr/bin"; `..` stops at the root."""
    clean = posixpath.normpath("/" + text.lstrip("/"))
    first, slash, remainder = clean[1:].partition("/")
    if first in USRMERGED and slash:
        return RootPath(f"/{USRMERGED[first]}/{remainder}")
    return RootPath(clean)


_AMBIGUOUS_BACKSLASH = re.compile(rb"\\(?=x(?:[89a-f][0-9a-f]|5c))")
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f]|5c)")


def escape_name(raw: str | bytes) -> str:
    r"""Write a name or a link's text so that it is text: bytes that are no UTF-8 as `\xe9`.

    `raw`: bytes, or what Python makes of them (surrogates). A backslash of the name itself that
    begins what looks like such a byte is written `\x5c`, so that `unescape_name` gives the same bytes.
    """
    if isinstance(raw, str) and "\\" not in raw and raw.isascii():
        return raw
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogateescape")
    return _AMBIGUOUS_BACKSLASH.sub(rb"\\x5c", data).decode("utf-8", "backslashreplace")


def unescape_name(text: str) -> bytes:
    """Give the bytes that `escape_name` was given."""
    data = text.encode("utf-8", "surrogateescape")
    if b"\\x" not in data:
        return data
    return _ESCAPED_BYTE.sub(lambda found: chr(int(found[1], 16)), data.decode("latin-1")).encode(
        "latin-1"
    )


def list_parents(path: RootPath) -> list[RootPath]:
    """Proper ancestors of `path` below the root, outermost first: /usr, /usr/bin for /usr/bin/ls."""
    parts = path.split("/")[1:-1]
    return [RootPath("/" + "/".join(parts[: n + 1])) for n in range(len(parts))]


def to_host_path(root: Path, path: RootPath) -> Path:
    """Where image `path` lies below `root` on the build machine; no link is followed."""
    return root / os.fsdecode(unescape_name(path.lstrip("/")))
