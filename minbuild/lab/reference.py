"""Disk images that name other files: QEMU would open those, so they are refused before.

QEMU itself refuses a VHDX with a parent and a VDI with one. Whatever a header says, QEMU is told the
format, and to have no backing file: see `media.node`.
"""

import re
import struct
from pathlib import Path

from minbuild.errors import UsageError

QCOW2 = struct.Struct(">4sIQIIQIIQQIIQQQQII")
"""Source: QEMU, docs/interop/qcow2.rst, "Header"; the fields from 72 on are those of version 3."""
OLD = 72
EXTERNAL = 1 << 2
"""Bit of the incompatible features: the contents are in another file."""
DATA_FILE = 0x44415441
"""Type of the header extension that names it."""
VMDK = struct.Struct("<4sIIQQQQIQQQB4sH")
"""Source: VMware, Virtual Disk Format 5.0, "Hosted Sparse Extent Header"."""
SECTOR = 512
DESCRIPTOR = 64 << 10
"""Bytes of a descriptor at most; it has about 500."""
WHOLE = frozenset({"monolithicSparse", "streamOptimized"})
"""Kinds of VMDK that are one file."""
ROOT = "ffffffff"
"""The parent of a disk without one."""


def check(path: Path, kind: str) -> None:
    """Refuse an image that names another file.

    Raises: UsageError.
    """
    why = {"qcow2": _qcow2, "vmdk": _vmdk}.get(kind, lambda _: "")(path)
    if why:
        raise UsageError(
            f"this image {why}, which the machine could then read",
            where=str(path),
            fix="boot only one that is whole: qemu-img convert, by whom you trust to have made it",
        )


def _read(path: Path, at: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(count)


def _qcow2(path: Path) -> str:
    head = _read(path, 0, 4096).ljust(QCOW2.size, b"\0")
    fields = QCOW2.unpack_from(head)
    version, backing, length = fields[1], fields[2], fields[3]
    if backing or length:
        name = _read(path, backing, min(length, 1023)).decode("utf-8", "replace")
        return f"has a backing file, {name!r}"
    if version < 3:
        return ""
    if fields[13] & EXTERNAL or DATA_FILE in _extensions(head, fields[17]):
        return "keeps its contents in another file"
    return ""


def _extensions(head: bytes, at: int) -> set[int]:
    """Types of the header extensions. Source: the same, "Header extensions"."""
    found = set[int]()
    while OLD <= at <= len(head) - 8:
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0:
            break
        found.add(kind)
        at += 8 + length + -length % 8
    return found


def _vmdk(path: Path) -> str:
    head = _read(path, 0, SECTOR).ljust(VMDK.size, b"\0")
    fields = VMDK.unpack_from(head)
    capacity, offset, sectors = fields[3], fields[5], fields[6]
    if fields[0] != b"KDMV" or not capacity:
        return "is only a description of other files"
    size = min(max(sectors * SECTOR, SECTOR), DESCRIPTOR)
    texts = [_read(path, offset * SECTOR, size)] if offset else []
    texts.append(_read(path, SECTOR, DESCRIPTOR))  # where QEMU looks whatever the header says
    for text in texts:
        words = dict(
            re.findall(r'(?m)^[ \t]*(\w+)[ \t]*=[ \t]*"?([^"\r\n]*)', text.decode("latin-1"))
        )
        if "parentFileNameHint" in words or words.get("parentCID", ROOT).lower() != ROOT:
            return f"has a backing file, {words.get('parentFileNameHint', 'unnamed')!r}"
        if words.get("createType", "monolithicSparse") not in WHOLE:
            return f"is {words['createType']}: its contents are in other files"
    return ""
