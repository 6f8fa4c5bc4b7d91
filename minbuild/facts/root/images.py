"""Disk images of hypervisors as raw files: qemu-img reads them, in a sandbox, each as what it is.

An image that names another file is refused: what it shows would not be its own.
Source: QEMU, docs/interop/qcow2.txt; qemu-img(1).
"""

import json
import struct
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from minbuild.errors import ToolError, UsageError
from minbuild.facts.root.types import Programs

MOST = 64 << 30
"""Bytes of the largest disk that is unpacked, as a file with holes."""
RATIO, FREE = 64, 64 << 20
"""An image may unpack to so many times its own size, and so many bytes."""
_HEAD = 1 << 16


class Format(StrEnum):
    """What an image is, by its magic number; the words are qemu-img's."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHDX = "vhdx"
    VDI = "vdi"
    VPC = "vpc"


_MAGIC = (
    (0, b"QFI\xfb", Format.QCOW2),
    (0, b"KDMV", Format.VMDK),
    (0, b"# Disk DescriptorFile", Format.VMDK),
    (0, b"vhdxfile", Format.VHDX),
    (64, b"\x7f\x10\xda\xbe", Format.VDI),
    (0, b"conectix", Format.VPC),
)


def format_of(head: bytes) -> Format:
    """What an image is, by its first bytes; raw for all else."""
    return next(
        (kind for at, word, kind in _MAGIC if head[at : at + len(word)] == word), Format.RAW
    )


def as_raw(path: Path, work: Path, programs: Programs) -> tuple[Path, bool]:
    """Give a disk as a raw file, and whether its own file is packed; `work` must last as long.

    Raises: UsageError for an image that names other files, is encrypted or unpacks to more than
    its size allows; ToolError when it is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    kind = format_of(head)
    if kind is Format.RAW:
        return path, False
    _refuse_others(head, kind, path)
    image = work / "image"
    image.symlink_to(path.resolve())
    tool, reads = programs("qemu-img"), [image]
    try:
        said = tool(["info", "-f", kind, "--output=json", image], reads=reads, what=_READING)
        about = _document(said, path)
        _refuse_named(about, path)
        whole = int(about["virtual-size"])
        said = tool(["map", "-f", kind, "--output=json", image], reads=reads, what=_READING)
        kept, packed = _kept(_document(said, path))
    except ToolError as error:
        raise _damaged(error, path) from error
    if whole > MOST or kept > RATIO * size + FREE:
        raise _unfit(f"its {size} bytes unpack to {kept} of {whole}, more than is unpacked", path)
    out = work / "out"
    out.mkdir()
    raw = out / "disk.raw"
    words: list[str | Path] = ["convert", "-q", "-f", kind, "-O", "raw", "-S", "4k", "-m", "1"]
    try:
        tool([*words, image, raw], reads=reads, writes=out, file=whole, what=_READING)
    except ToolError as error:
        raise _damaged(error, path) from error
    return raw, packed


_READING = "reading the disk image"


def _refuse_others(head: bytes, kind: Format, path: Path) -> None:
    """Refuse what is told by the first bytes, before any program looks at them."""
    if head.startswith(b"# Disk DescriptorFile"):
        raise _unfit("its content lies in other files", path)
    if kind is Format.QCOW2 and len(head) >= 104:
        version, backing = struct.unpack_from(">IQ", head, 4)
        crypt = struct.unpack_from(">I", head, 32)[0]
        features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
        if backing or features & 4:
            raise _unfit("it names another file, which is not read", path)
        if crypt:
            raise _unfit("it is encrypted", path)


def _refuse_named(about: Mapping[str, Any], path: Path) -> None:
    data = about.get("format-specific", {}).get("data", {})
    extents = data.get("extents", ())
    names = {one.get("filename", "") for one in extents} - {about.get("filename")}
    if about.get("backing-filename") or data.get("data-file") or len(extents) > 1 or names:
        raise _unfit("it names another file, which is not read", path)
    if about.get("encrypted"):
        raise _unfit("it is encrypted", path)


def _document(said: bytes, path: Path) -> Any:
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        raise _unfit(f"qemu-img says what cannot be read: {error}", path) from error


def _kept(rows: list[dict[str, Any]]) -> tuple[int, bool]:
    """Bytes of the disk that the file holds, and whether any are compressed."""
    held = [row for row in rows if row.get("data") and not row.get("zero")]
    return sum(int(row["length"]) for row in held), any(row.get("compressed") for row in held)


def _damaged(error: ToolError, path: Path) -> UsageError:
    return _unfit(f"it is damaged: {error.what.partition(chr(10))[2].strip() or error.what}", path)


def _unfit(why: str, path: Path) -> UsageError:
    return UsageError(
        f"the disk image cannot be read: {why}", where=str(path),
        fix="write it as raw first, as whoever made it: qemu-img convert -O raw",
    )  # fmt: skip
