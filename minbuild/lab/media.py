"""Which format a disk image has, and QEMU's words for it as a disk, a CD or a stick."""

from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.lab.types import Attach

MARKS = (
    ("efi", 0, b"MZ"),
    ("qcow2", 0, b"QFI\xfb"),
    ("vhdx", 0, b"vhdxfile"),
    ("vmdk", 0, b"KDMV"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("iso", 0x8001, b"CD001"),
)
"""What stands where in a file of each format; a file without any is raw."""
HEAD = 0x8006


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
            drive = f"if=none,id=medium,media=cdrom,readonly=on,format=raw,file={comma(path)}"
            return ("-drive", drive, "-device", "ide-cd,drive=medium")
        case Attach.STICK:
            drive = f"if=none,id=medium,snapshot=on,format={format_},file={comma(path)}"
            stick = ("-device", "qemu-xhci", "-device", "usb-storage,drive=medium,removable=on")
            return ("-drive", drive, *stick)


def disk(path: Path, kind: str, *, written: bool) -> tuple[str, ...]:
    """QEMU's words for a disk; without `written`, what the machine writes is forgotten."""
    keep = "off" if written else "on"
    return ("-drive", f"if=virtio,format={kind},snapshot={keep},file={comma(path)}")


def comma(path: Path) -> str:
    """Write a path as the value of a QEMU option. Source: qemu(1), "-drive": double each comma."""
    return str(path).replace(",", ",,")
