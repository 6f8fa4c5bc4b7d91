"""The sections of a Unified Kernel Image, read from a file that nobody vouches for."""

import struct
from pathlib import Path

from minbuild.errors import ToolError

FIX = "build the image again: minbuild make"
MOST = 64
"""Sections that are looked at; a UKI has about 15."""


def sections(data: bytes, where: str) -> dict[str, bytes]:
    """Split a PE file into its sections, each cut to its true size.

    Source: Microsoft PE Format, "COFF File Header" and "Section Table".
    Raises: ToolError when it is no PE file or is damaged.
    """
    try:
        if data[:2] != b"MZ":
            raise ToolError("this is not a UKI: it has no MZ header", where=where, fix=FIX)
        (offset,) = struct.unpack_from("<I", data, 0x3C)
        magic, count, optional = struct.unpack_from("<4s2xH12xH", data, offset)
        if magic != b"PE\0\0" or count > MOST:
            raise ToolError("this is not a UKI: it has no PE header", where=where, fix=FIX)
        table = offset + 24 + optional
        rows = [struct.unpack_from("<8sIIII", data, table + 40 * n) for n in range(count)]
    except struct.error as error:
        raise ToolError("the UKI is cut short", where=where, fix=FIX) from error
    found = {}
    for name, size, _address, stored, start in rows:
        if start + stored > len(data):
            raise ToolError(f"the UKI is cut short in section {_text(name)}", where=where, fix=FIX)
        found[_text(name)] = data[start : start + min(size, stored)]
    return found


def split(image: Path) -> tuple[bytes, bytes, str]:
    """Give the kernel, the initramfs and the command line of the UKI `image`.

    Raises: ToolError when it cannot be read, is damaged or lacks one of them.
    """
    found = _read(image)
    for name in (".linux", ".initrd"):
        if not found.get(name):
            raise ToolError(f"the UKI has no section {name}", where=str(image), fix=FIX)
    return found[".linux"], found[".initrd"], _line(found, ".cmdline")


def line(image: Path) -> str:
    """Give the command line of the UKI `image`.

    Raises: ToolError when it cannot be read or is damaged.
    """
    return _line(_read(image), ".cmdline")


def release(image: Path) -> str:
    """Give the kernel's release that the UKI `image` names; "" when it names none.

    Raises: ToolError when it cannot be read or is damaged.
    """
    return _line(_read(image), ".uname")


def _read(image: Path) -> dict[str, bytes]:
    try:
        data = image.read_bytes()
    except OSError as error:
        raise ToolError(
            f"cannot read the image: {error.strerror}", where=str(image), fix=FIX
        ) from error
    return sections(data, str(image))


def _line(found: dict[str, bytes], name: str) -> str:
    return found.get(name, b"").rstrip(b"\0\n").decode("utf-8", "replace")


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode("ascii", "replace")
