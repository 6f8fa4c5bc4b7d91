"""Conversion of a hypervisor's disk image to a raw file, by qemu-img in a sandbox.

An image that names another file is refused: what it shows would not be its own.
Source: QEMU, docs/interop/qcow2.txt; qemu-img(1).
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minbuild.errors import ToolError, UsageError
from minbuild.formats import magic
from minbuild.formats.magic import DISK_IMAGES, Format, detect_format
from minbuild.process import GetProgram

MAX_DISK_SIZE = 64 << 30
"""Bytes of the largest disk that is unpacked, as a file with holes."""
MAX_RATIO, FREE_SIZE = 64, 64 << 20
"""An image may unpack to so many times its own size, and so many bytes."""
_HEAD_SIZE = 1 << 16


def convert_to_raw(path: Path, work: Path, get_program: GetProgram) -> tuple[Path, bool]:
    """Give a disk as a raw file, and whether its own file is packed; `work` must last as long.

    Raises: UsageError for an image that names other files, is encrypted or unpacks to more than
    its size allows; ToolError when it is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD_SIZE)
    kind = detect_format(head, DISK_IMAGES)
    if kind is None:
        return path, False
    _refuse_unsafe_header(head, kind, path)
    image = work / "image"
    image.symlink_to(path.resolve())
    tool, reads = get_program("qemu-img"), [image]
    try:
        output = tool(["info", "-f", kind, "--output=json", image], reads=reads, purpose=_PURPOSE)
        info = _parse_json(output, path)
        _refuse_unsafe_info(info, path)
        virtual_size = int(info["virtual-size"])
        output = tool(["map", "-f", kind, "--output=json", image], reads=reads, purpose=_PURPOSE)
        stored_size, packed = _measure_map(_parse_json(output, path))
    except ToolError as error:
        raise _make_damage_error(error, path) from error
    if virtual_size > MAX_DISK_SIZE or stored_size > MAX_RATIO * size + FREE_SIZE:
        raise _unreadable_image_error(
            f"its {size} bytes unpack to {stored_size} of {virtual_size}, more than is unpacked",
            path,
        )
    out = work / "out"
    out.mkdir()
    raw_disk = out / "disk.raw"
    argv: list[str | Path] = ["convert", "-q", "-f", kind, "-O", "raw", "-S", "4k", "-m", "1"]
    try:
        tool([*argv, image, raw_disk], reads=reads, writes=out, file=virtual_size, purpose=_PURPOSE)
    except ToolError as error:
        raise _make_damage_error(error, path) from error
    return raw_disk, packed


_PURPOSE = "reading the disk image"


def _refuse_unsafe_header(head: bytes, kind: Format, path: Path) -> None:
    """Refuse what is told by the first bytes, before any program looks at them."""
    if head.startswith(magic.VMDK_DESCRIPTOR):
        raise _unreadable_image_error("its content lies in other files", path)
    if kind is Format.QCOW2 and len(head) >= 104:
        version, backing = struct.unpack_from(">IQ", head, 4)
        crypt = struct.unpack_from(">I", head, 32)[0]
        features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
        if backing or features & 4:
            raise _unreadable_image_error("it names another file, which is not read", path)
        if crypt:
            raise _unreadable_image_error("it is encrypted", path)


def _refuse_unsafe_info(info: Mapping[str, Any], path: Path) -> None:
    data = info.get("format-specific", {}).get("data", {})
    extents = data.get("extents", ())
    names = {extent.get("filename", "") for extent in extents} - {info.get("filename")}
    if info.get("backing-filename") or data.get("data-file") or len(extents) > 1 or names:
        raise _unreadable_image_error("it names another file, which is not read", path)
    if info.get("encrypted"):
        raise _unreadable_image_error("it is encrypted", path)


def _parse_json(output: bytes, path: Path) -> Any:
    try:
        return json.loads(output)
    except (ValueError, RecursionError) as error:
        raise _unreadable_image_error(
            f"qemu-img says what cannot be read: {error}", path
        ) from error


def _measure_map(rows: list[dict[str, Any]]) -> tuple[int, bool]:
    """Bytes of the disk that the file holds, and whether any are compressed."""
    stored_rows = [row for row in rows if row.get("data") and not row.get("zero")]
    return sum(int(row["length"]) for row in stored_rows), any(
        row.get("compressed") for row in stored_rows
    )


def _make_damage_error(error: ToolError, path: Path) -> UsageError:
    return _unreadable_image_error(
        f"it is damaged: {error.what.partition(chr(10))[2].strip() or error.what}", path
    )


def _unreadable_image_error(reason: str, path: Path) -> UsageError:
    return UsageError(
        f"the disk image cannot be read: {reason}", where=str(path),
        fix="write it as raw first, as whoever made it: qemu-img convert -O raw",
    )  # fmt: skip
