"""Drives of the machine, the flash of OVMF (its UEFI firmware) too: formats of images, QEMU's
arguments, enrolled keys.

QEMU would open files that an image names (a backing file), so such images are refused: qcow2 and
VMDK here, VHDX and VDI with a parent by QEMU itself. QEMU also gets the format, and that there is
no backing file, whatever the header says: see `build_file_option`.

Source: PI 1.8 volume 3, 3.2.1 (firmware volume header); edk2, VariableFormat.h (authenticated
variables); UEFI 2.10, 32.4.1 (signature lists).
"""

import json
import re
import shutil
import ssl
import struct
import uuid
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.formats import magic
from minbuild.formats.magic import HEAD_SIZE, Format, detect_format
from minbuild.lab.model import AttachAs, Machine, Tools
from minbuild.paths import RootPath

QCOW2_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
"""Source: QEMU, docs/interop/qcow2.rst, "Header"; the fields from 72 on are those of version 3."""
QCOW2_V2_SIZE = 72
EXTERNAL_DATA_FLAG = 1 << 2
"""Bit of the incompatible features: the contents are in another file."""
DATA_FILE_EXTENSION = 0x44415441
"""Type of the header extension with the name of that file."""
VMDK_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
"""Source: VMware, Virtual Disk Format 5.0, "Hosted Sparse Extent Header"."""
SECTOR = 512
MAX_DESCRIPTOR = 64 << 10
"""Bytes of a descriptor at most; it has about 500."""
SINGLE_FILE_TYPES = frozenset({"monolithicSparse", "streamOptimized"})
"""Kinds of VMDK that are one file."""
NO_PARENT = "ffffffff"
"""parentCID of a VMDK without a parent."""


def refuse_external_files(path: Path, kind: str) -> None:
    """Refuse an image that names another file.

    Raises: UsageError.
    """
    fault = {"qcow2": _find_qcow2_reference, "vmdk": _find_vmdk_reference}.get(kind, lambda _: "")(
        path
    )
    if fault:
        raise UsageError(
            f"this image {fault}, which the machine could then read",
            where=str(path),
            fix="if you trust its author, convert it to an image in one file: qemu-img convert",
        )


def _read_at(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


def _find_qcow2_reference(path: Path) -> str:
    head = _read_at(path, 0, 4096).ljust(QCOW2_HEADER.size, b"\0")
    fields = QCOW2_HEADER.unpack_from(head)
    version, backing, length = fields[1], fields[2], fields[3]
    if backing or length:
        name = _read_at(path, backing, min(length, 1023)).decode("utf-8", "replace")
        return f"has a backing file, {name!r}"
    if version < 3:
        return ""
    if fields[13] & EXTERNAL_DATA_FLAG or DATA_FILE_EXTENSION in _read_extension_types(
        head, fields[17]
    ):
        return "keeps its contents in another file"
    return ""


def _read_extension_types(head: bytes, at: int) -> set[int]:
    """Read the types of the header extensions. Source: the same, "Header extensions"."""
    extension_types = set[int]()
    while QCOW2_V2_SIZE <= at <= len(head) - 8:
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0:
            break
        extension_types.add(kind)
        at += 8 + length + -length % 8
    return extension_types


def _find_vmdk_reference(path: Path) -> str:
    head = _read_at(path, 0, SECTOR).ljust(VMDK_HEADER.size, b"\0")
    fields = VMDK_HEADER.unpack_from(head)
    capacity, offset, sectors = fields[3], fields[5], fields[6]
    if fields[0] != magic.VMDK or not capacity:
        return "only describes other files"
    size = min(max(sectors * SECTOR, SECTOR), MAX_DESCRIPTOR)
    texts = [_read_at(path, offset * SECTOR, size)] if offset else []
    texts.append(
        _read_at(path, SECTOR, MAX_DESCRIPTOR)
    )  # where QEMU looks whatever the header says
    for text in texts:
        descriptor = dict(
            re.findall(r'(?m)^[ \t]*(\w+)[ \t]*=[ \t]*"?([^"\r\n]*)', text.decode("latin-1"))
        )
        if (
            "parentFileNameHint" in descriptor
            or descriptor.get("parentCID", NO_PARENT).lower() != NO_PARENT
        ):
            return f"has a backing file, {descriptor.get('parentFileNameHint', 'unnamed')!r}"
        if descriptor.get("createType", "monolithicSparse") not in SINGLE_FILE_TYPES:
            return f"is {descriptor['createType']}: its contents are in other files"
    return ""


DRIVE_FORMATS = {
    Format.PE: "efi",
    Format.QCOW2: "qcow2",
    Format.VHDX: "vhdx",
    Format.VMDK: "vmdk",
    Format.VDI: "vdi",
    Format.ISO: "iso",
}
"""Formats that QEMU starts from; any other file is a raw disk."""
BACKING_FORMATS = frozenset({"qcow2", "vmdk"})
"""Formats whose driver supports a backing file."""


def detect_drive_format(path: Path) -> str:
    """Detect the format of an image by its magic number.

    Raises: ToolError when the file cannot be read.
    """
    head = read_first_bytes(path, HEAD_SIZE)
    kind = detect_format(head, DRIVE_FORMATS)
    return "raw" if kind is None else DRIVE_FORMATS[kind]


def read_first_bytes(path: Path, count: int) -> bytes:
    """Read the first bytes of a file that the user named.

    Raises: ToolError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise ToolError(
            f"cannot read a file of the boot: {error.strerror}",
            where=str(path),
            fix="check the name, or build the image: minbuild make",
        ) from error


BOOT_DRIVE = "medium"
"""Name of the drive that the machine starts from, where its device has options of its own."""
STICK_DEVICE = "usb-storage,removable=on"
XHCI_ARGS = ("-device", "qemu-xhci")
"""The USB controller that a stick needs."""


def build_boot_drive_args(
    path: Path, kind: str, attach: AttachAs | None, machine: Machine = Machine.VIRTIO
) -> tuple[str, ...]:
    """Build QEMU's arguments for the image to boot; what the machine writes is discarded.

    Raises: UsageError for a CD that is not an ISO image.
    """
    if attach is None:
        attach = AttachAs.CD if kind == "iso" else AttachAs.DISK
    format_ = "raw" if kind == "iso" else kind
    match attach:
        case AttachAs.DISK if machine is Machine.METAL:
            return build_device_args(BOOT_DRIVE, path, format_, "ide-hd,bus=ide.0,bootindex=1")
        case AttachAs.DISK:
            return build_disk_args(path, format_, writable=False)
        case AttachAs.CD if kind != "iso":
            raise UsageError(
                f"--as cd requires an ISO image, and {path.name} is none", fix="leave out --as cd"
            )
        case AttachAs.CD:
            disc = f"media=cdrom,readonly=on,file={build_file_option(path, 'raw')}"
            return _attach_drive(BOOT_DRIVE, disc, "ide-cd")
        case AttachAs.STICK:
            return (*XHCI_ARGS, *build_device_args(BOOT_DRIVE, path, format_, STICK_DEVICE))


def build_device_args(
    name: str, path: Path, kind: str, device: str, *, snapshot: bool = True
) -> tuple[str, ...]:
    """Build the arguments of a drive and its device; with `snapshot`, what is written is discarded.

    Raises: UsageError for an image that names another file.
    """
    written = "on" if snapshot else "off"
    return _attach_drive(name, f"snapshot={written},file={build_file_option(path, kind)}", device)


def _attach_drive(name: str, options: str, device: str) -> tuple[str, ...]:
    return ("-drive", f"if=none,id={name},{options}", "-device", f"{device},drive={name}")


def build_disk_args(path: Path, kind: str, *, writable: bool) -> tuple[str, ...]:
    """Build QEMU's arguments for a disk; unless `writable`, what the machine writes is discarded.

    Raises: UsageError for an image that names another file.
    """
    snapshot = "off" if writable else "on"
    return ("-drive", f"if=virtio,snapshot={snapshot},file={build_file_option(path, kind)}")


def build_file_option(path: Path, kind: str) -> str:
    """Build the value of QEMU's option `file`: an image of this format without a backing file.

    Raises: UsageError for an image that names another file.
    """
    refuse_external_files(path, kind)
    driver = "host_device" if path.is_block_device() else "file"
    block_node: dict[str, object] = {
        "driver": kind,
        "file": {"driver": driver, "filename": str(path)},
    }
    if kind in BACKING_FORMATS:
        block_node["backing"] = None
    return f"json:{json.dumps(block_node)}".replace(",", ",,")


def escape_commas(path: Path) -> str:
    """Escape a path for a QEMU option. Source: qemu(1), "-drive": double each comma."""
    return str(path).replace(",", ",,")


_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")
_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_ENABLE = uuid.UUID("f0a30bc7-af08-4556-99c4-001009c93a44")
_OWNER = uuid.UUID("6d696e62-7569-8c64-8000-6f6e6c796c61")
_AUTHENTICATED, _PLAIN = 0x27, 0x03
"""Non-volatile, seen at boot and run time, authenticated by time; non-volatile, seen at boot."""
_HEADER = struct.Struct("<HBxIQ16sIII16s")
_MARK, _ADDED = 0x55AA, 0x3F
_TIME = struct.pack("<HBBBBBxIhBx", 2020, 1, 1, 0, 0, 0, 0, 0, 0)


def enrol_keys(template: bytes, certificate: str, where: str) -> bytes:
    """Add a PEM certificate to an empty variable store of OVMF: as PK, as KEK and in db.

    Secure Boot is then on from the first start.
    Raises: UsageError when it is not a certificate, or the template not an empty store.
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.strip())
    except ValueError as error:
        raise UsageError(
            f"this is not a PEM certificate: {error}",
            where=where,
            fix="name a PEM file with one certificate",
        ) from error
    keys = _encode_signature_list(der)
    variables = (
        ("PK", _GLOBAL, _AUTHENTICATED, keys),
        ("KEK", _GLOBAL, _AUTHENTICATED, keys),
        ("db", _DATABASE, _AUTHENTICATED, keys),
        ("SecureBootEnable", _ENABLE, _PLAIN, b"\1"),
    )
    at, end = _find_free_space(template, where)
    body = b""
    for name, vendor, attributes, data in variables:
        body += _encode_variable(name, vendor, attributes, data)
        body += b"\xff" * (-len(body) % 4)
    if at + len(body) > end:
        raise UsageError(
            "the certificate is too large for OVMF", where=where, fix="use a smaller one"
        )
    return template[:at] + body + template[at + len(body) :]


def _encode_signature_list(der: bytes) -> bytes:
    size = 16 + len(der)
    head = _X509.bytes_le + struct.pack("<III", 28 + size, 0, size)
    return head + _OWNER.bytes_le + der


def _encode_variable(name: str, vendor: uuid.UUID, attributes: int, data: bytes) -> bytes:
    text = f"{name}\0".encode("utf-16-le")
    time = _TIME if attributes == _AUTHENTICATED else bytes(16)
    numbers = (_MARK, _ADDED, attributes, 0, time, 0, len(text), len(data), vendor.bytes_le)
    return _HEADER.pack(*numbers) + text + data


def _find_free_space(template: bytes, where: str) -> tuple[int, int]:
    """Find the first free byte of the variable store, and its end."""
    error = UsageError("unrecognised variable store of OVMF", where=where, fix="update the lock")
    if template[40:44] != b"_FVH":
        raise error
    (start,) = struct.unpack_from("<H", template, 48)
    if template[start : start + 16] != _STORE.bytes_le:
        raise error
    (size,) = struct.unpack_from("<I", template, start + 16)
    at = start + 28
    while struct.unpack_from("<H", template, at) == (_MARK,):
        fields = _HEADER.unpack_from(template, at)
        at += _HEADER.size + fields[6] + fields[7]
        at += -at % 4
    return at, start + size


OVMF_CODE = RootPath("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_SECURE_CODE = RootPath("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
OVMF_VARS = RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")


def prepare_ovmf_args(tools: Tools, work: Path, certificate: Path | None) -> tuple[str, ...]:
    """Write OVMF's variables to `work` and build QEMU's arguments; a certificate: Secure Boot."""
    flash = work / "vars.fd"
    if certificate is None:
        shutil.copyfile(tools.find_path(OVMF_VARS), flash)
    else:
        template = tools.find_path(OVMF_VARS).read_bytes()
        text = read_first_bytes(certificate, 1 << 16).decode("utf-8", "replace")
        flash.write_bytes(enrol_keys(template, text, str(certificate)))
    return build_ovmf_args(tools, flash, secure=certificate is not None)


def build_ovmf_args(tools: Tools, variables: Path, *, secure: bool) -> tuple[str, ...]:
    """Build QEMU's arguments for OVMF with these variables; `secure`: its Secure Boot build."""
    # only code in system management mode may write the variables
    smm_args = ("-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
    code = tools.find_path(OVMF_SECURE_CODE if secure else OVMF_CODE)
    return (
        *(smm_args if secure else ()),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={escape_commas(code)}"),
        *("-drive", f"if=pflash,format=raw,file={escape_commas(variables)}"),
    )


def build_efi_stick_args(
    application: Path, work: Path, machine: Machine = Machine.VIRTIO
) -> tuple[str, ...]:
    """Build QEMU's arguments for a FAT disk from which UEFI starts an application."""
    esp = work / "esp" / "EFI" / "BOOT"
    esp.mkdir(parents=True)
    (esp / "BOOTX64.EFI").symlink_to(application)
    disk = f"format=raw,file=fat:{escape_commas(work / 'esp')},readonly=on"
    if machine is Machine.METAL:
        # a SATA disk can be written to, a memory stick may be read alone
        return (*XHCI_ARGS, *_attach_drive(BOOT_DRIVE, disk, STICK_DEVICE))
    return ("-drive", f"if=virtio,{disk}")
