"""OVMF, the UEFI firmware of the machine: QEMU's arguments, and variables with enrolled keys.

Source: PI 1.8 volume 3, 3.2.1 (firmware volume header); edk2, VariableFormat.h (authenticated
variables); UEFI 2.10, 32.4.1 (signature lists).
"""

import shutil
import ssl
import struct
import uuid
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.lab.drives import escape_commas, read_first_bytes
from minbuild.lab.model import Tools
from minbuild.paths import RootPath

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


def build_efi_stick_args(application: Path, work: Path) -> tuple[str, ...]:
    """Build QEMU's arguments for a FAT stick from which UEFI starts an application."""
    esp = work / "esp" / "EFI" / "BOOT"
    esp.mkdir(parents=True)
    (esp / "BOOTX64.EFI").symlink_to(application)
    stick = f"if=virtio,format=raw,file=fat:{escape_commas(work / 'esp')},readonly=on"
    return ("-drive", stick)
