"""Which format a disk image has, and QEMU's words for it as a disk, a CD or a stick."""

import json
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.lab import reference
from minbuild.lab.types import Attach

MARKS = (
    ("efi", 0, b"MZ"),
    ("qcow2", 0, b"QFI\xfb"),
    ("vhdx", 0, b"vhdxfile"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("iso", 0x8001, b"CD001"),
)
"""What stands where in a file of each format; a file without any is raw."""
HEAD = 0x8006
BACKED = frozenset({"qcow2", "vmdk"})
"""Formats whose driver takes a backing file."""


def kind_of(path: Path) -> str:
    """The format of a file that the user named, by its content.

    Raises: ToolError when it cannot be read.
    """
    head = first_bytes(path, HEAD)
    return next((kind for kind, at, mark in MARKS if head[at:].startswith(mark)), "raw")


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file that the user named.

    Raises: ToolError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise ToolError(
            f"cannot read what shall be booted: {error.strerror}",
            where=str(path),
            fix="check the name, or build it: minbuild make",
        ) from error


def medium(path: Path, kind: str, attach: Attach | None) -> tuple[str, ...]:
    """QEMU's words for the image that is booted; what the machine writes to it is forgotten.

    Raises: UsageError for a CD that is no ISO image.
    """
    if attach is None:
        attach = Attach.CD if kind == "iso" else Attach.DISK
    format_ = "raw" if kind == "iso" else kind
    match attach:
        case Attach.DISK:
            return disk(path, format_, written=False)
        case Attach.CD if kind != "iso":
            raise UsageError(f"{path.name} is no ISO image: it fits no CD", fix="leave out --as cd")
        case Attach.CD:
            drive = f"if=none,id=medium,media=cdrom,readonly=on,file={node(path, 'raw')}"
            return ("-drive", drive, "-device", "ide-cd,drive=medium")
        case Attach.STICK:
            drive = f"if=none,id=medium,snapshot=on,file={node(path, format_)}"
            stick = ("-device", "qemu-xhci", "-device", "usb-storage,drive=medium,removable=on")
            return ("-drive", drive, *stick)


def disk(path: Path, kind: str, *, written: bool) -> tuple[str, ...]:
    """QEMU's words for a disk; without `written`, what the machine writes is forgotten.

    Raises: UsageError for an image that names another file.
    """
    keep = "off" if written else "on"
    return ("-drive", f"if=virtio,snapshot={keep},file={node(path, kind)}")


def node(path: Path, kind: str) -> str:
    """A disk image as the value of QEMU's option `file`: of this format, with nothing behind it.

    Raises: UsageError for an image that names another file.
    """
    reference.check(path, kind)
    driver = "host_device" if path.is_block_device() else "file"
    found: dict[str, object] = {"driver": kind, "file": {"driver": driver, "filename": str(path)}}
    if kind in BACKED:
        found["backing"] = None
    return f"json:{json.dumps(found)}".replace(",", ",,")


def comma(path: Path) -> str:
    """Write a path as the value of a QEMU option. Source: qemu(1), "-drive": double each comma."""
    return str(path).replace(",", ",,")
