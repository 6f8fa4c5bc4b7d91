"""Credentials of the machine of a boot: what is told to one machine, as systemd names it.

Source: systemd.system-credentials(7); systemd-stub(7), /loader/credentials; qemu(1), -smbios, -fw_cfg.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from minbuild.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,200}")
_PLAIN = re.compile(r"[ -~]*")
"""A value that is text of one line."""


class CredentialWay(StrEnum):
    """How a credential comes to the machine."""

    SMBIOS = "smbios"
    """A string of SMBIOS, type 11."""
    FW_CFG = "fw_cfg"
    """A file of QEMU's fw_cfg."""
    ESP = "esp"
    """A file of the EFI system partition, where an EFI file is started."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A name, a value, and how the machine gets it."""

    name: str
    """`minbuild.hostname`."""
    value: str
    way: CredentialWay = CredentialWay.SMBIOS


def parse_credential(text: str) -> Credential:
    """Parse [WAY:]NAME=VALUE.

    Raises: UsageError.
    """
    head, equals, value = text.partition("=")
    way, colon, name = head.rpartition(":")
    if not equals or not _NAME.fullmatch(name) or (colon and way not in set(CredentialWay)):
        ways = ", ".join(f"{way}:" for way in CredentialWay)
        raise UsageError(
            f"{text!r} is no credential",
            fix=f"write --credential minbuild.hostname=rack7, with one of {ways} before it or none",
        )
    return Credential(name, value, CredentialWay(way) if way else CredentialWay.SMBIOS)


def build_credential_args(credentials: Sequence[Credential], work: Path) -> tuple[str, ...]:
    """Build QEMU's arguments for those of SMBIOS and fw_cfg; files of the latter are in `work`."""
    args: list[str] = []
    for number, credential in enumerate(credentials):
        match credential.way:
            case CredentialWay.SMBIOS:
                value = _format_string(credential).replace(",", ",,")
                args += ["-smbios", f"type=11,value={value}"]
            case CredentialWay.FW_CFG:
                file = work / f"credential{number}"
                file.write_text(credential.value, encoding="utf-8")
                path = str(file).replace(",", ",,")
                name = f"opt/io.systemd.credentials/{credential.name}"
                args += ["-fw_cfg", f"name={name},file={path}"]
            case CredentialWay.ESP:
                pass
    return tuple(args)


def require_esp(credentials: Sequence[Credential], *, has_esp: bool) -> None:
    """Refuse those of the EFI system partition where the lab writes none. Raises: UsageError."""
    if not has_esp and any(credential.way is CredentialWay.ESP for credential in credentials):
        raise UsageError(
            "credentials of the EFI system partition need an EFI file that UEFI starts",
            fix="boot host.efi without --direct, --bios, --pxe and --http, or leave out esp:",
        )


def write_esp_credentials(credentials: Sequence[Credential], esp: Path) -> None:
    """Write those of the EFI system partition to /loader/credentials of the directory `esp`."""
    for credential in credentials:
        if credential.way is CredentialWay.ESP:
            directory = esp / "loader" / "credentials"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{credential.name}.cred").write_text(credential.value, encoding="utf-8")


def _format_string(credential: Credential) -> str:
    if _PLAIN.fullmatch(credential.value):
        return f"io.systemd.credential:{credential.name}={credential.value}"
    encoded = base64.b64encode(credential.value.encode()).decode()
    return f"io.systemd.credential.binary:{credential.name}={encoded}"
