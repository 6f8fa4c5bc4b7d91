"""Disk images in hypervisors' formats, by qemu-img; its random identifiers are replaced.

Source: QEMU, block/vdi.c, block/vmdk.c; [MS-VHDX] 2.2.2 (header), 2.2.3 (region table), 2.6
(metadata).
"""

import re
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.image.boot_media import DerivedIds
from minbuild.manifest.image_settings import ImageFormat
from minbuild.toolbox.toolbox import Toolbox

IdPatch = Callable[[bytearray, DerivedIds], None]
HEAD_SIZE = 4 << 20
"""Bytes at the file's start, which contain every identifier."""

VMDK_DESCRIPTOR = 28
"""Offset in the header: first sector and size of the descriptor."""
VDI_IMAGE, VDI_SNAPSHOT = 0x188, 0x198
VHDX_HEADERS = (0x10000, 0x20000)
VHDX_REGIONS = 0x30000
VHDX_HEADER = 4096
VHDX_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
VHDX_PAGE83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le


def replace_random_ids(path: Path, patch: IdPatch, ids: DerivedIds) -> None:
    """Replace the random identifiers of an image by ones derived from the lock.

    Raises: ToolError when the header differs from what qemu-img is known to write.
    """
    with path.open("r+b") as file:
        head = bytearray(file.read(HEAD_SIZE))
        try:
            patch(head, ids)
        except (struct.error, ValueError) as error:
            raise ToolError(
                f"qemu-img wrote an image with an unexpected header: {error}",
                where=str(path),
                fix="lock another version of qemu-utils, or leave the format out",
            ) from error
        file.seek(0)
        file.write(head)


def patch_vdi(head: bytearray, ids: DerivedIds) -> None:
    """Patch VirtualBox's identifiers of the image and of its last snapshot."""
    for at, name in ((VDI_IMAGE, "vdi"), (VDI_SNAPSHOT, "vdi snapshot")):
        head[at : at + 16] = uuid.UUID(ids.make_guid(name)).bytes_le


def patch_vmdk(head: bytearray, ids: DerivedIds) -> None:
    """Patch VMware's content id (CID) in the descriptor."""
    start, size = (512 * number for number in struct.unpack_from("<QQ", head, VMDK_DESCRIPTOR))
    text = bytes(head[start : start + size]).rstrip(b"\0")
    # qemu-img writes the number without leading zeros
    cid = f"CID={ids.make_volume_id('vmdk')}".encode()
    text, count = re.subn(rb"^CID=[0-9a-f]{1,8}$", cid, text, flags=re.MULTILINE)
    if count != 1 or len(text) > size:
        raise ValueError("no CID")
    head[start : start + size] = text.ljust(size, b"\0")


def patch_vhdx(head: bytearray, ids: DerivedIds) -> None:
    """Patch Hyper-V's identifiers: file and data in both headers, the disk's in the metadata."""
    file_guid = uuid.UUID(ids.make_guid("vhdx file")).bytes_le
    data_guid = uuid.UUID(ids.make_guid("vhdx data")).bytes_le
    for at in VHDX_HEADERS:
        if head[at : at + 4] != b"head":
            raise ValueError(f"no header at {at:#x}")
        log, length, start = struct.unpack_from("<16s4xIQ", head, at + 48)
        if any(log) or start + length > len(head):
            raise ValueError("the log is in use")
        head[start : start + length] = bytes(length)
        # the second header is the newer one, as qemu-img leaves it
        struct.pack_into("<IQ", head, at + 4, 0, VHDX_HEADERS.index(at) + 1)
        head[at + 16 : at + 48] = file_guid + data_guid
        struct.pack_into("<I", head, at + 4, compute_crc32c(head[at : at + VHDX_HEADER]))
    table = _find_offset(head, VHDX_REGIONS + 16, VHDX_METADATA, "<QI")
    item = table + _find_offset(head, table + 32, VHDX_PAGE83, "<II")
    head[item : item + 16] = uuid.UUID(ids.make_guid("vhdx disk")).bytes_le


def _find_offset(head: bytearray, table: int, guid: bytes, numbers: str) -> int:
    """Find the offset in the row of `guid`, in a table of rows of 32 bytes."""
    at = head.find(guid, table, table + 2048)
    if at < 0 or (at - table) % 32:
        raise ValueError(f"no row {uuid.UUID(bytes_le=guid)}")
    return int(struct.unpack_from(numbers, head, at + 16)[0])


def compute_crc32c(data: bytes | bytearray) -> int:
    """Compute CRC-32C (Castagnoli). Source: RFC 9260, appendix A."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class QemuFormat:
    """How qemu-img writes a format."""

    options: str
    """Value of its option -o."""
    patch: IdPatch | None
    """Replaces the random identifiers; None for a format without any."""
    driver: str = ""
    """qemu-img's name of the format; "" where it is the same."""


QEMU_FORMATS: Mapping[ImageFormat, QemuFormat] = {
    ImageFormat.QCOW2: QemuFormat("compat=1.1,cluster_size=64k", None),
    ImageFormat.VHDX: QemuFormat("subformat=dynamic,block_size=1M,log_size=1M", patch_vhdx),
    ImageFormat.VMDK: QemuFormat("subformat=monolithicSparse", patch_vmdk),
    # for import into ESXi, which does not boot from IDE disks
    ImageFormat.VMDK_STREAM: QemuFormat(
        "subformat=streamOptimized,adapter_type=lsilogic", patch_vmdk, "vmdk"
    ),
    ImageFormat.VDI: QemuFormat("static=off", patch_vdi),
}


def convert_disk(
    kind: ImageFormat, raw: Path, ids: DerivedIds, output: Path, toolbox: Toolbox
) -> None:
    """Write the disk `raw` to `output` in a hypervisor's format.

    Raises: ToolError when qemu-img fails.
    """
    qemu_format = QEMU_FORMATS[kind]
    args: list[str | Path] = [
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        qemu_format.driver or str(kind),
        "-m",
        "1",
    ]
    # by its name alone: a VMDK contains the name of its file
    args += ["-o", qemu_format.options, raw, output.name]
    toolbox.run("qemu-img", args, purpose=f"writing {output.name}", cwd=output.parent)
    if qemu_format.patch is not None:
        replace_random_ids(output, qemu_format.patch, ids)
