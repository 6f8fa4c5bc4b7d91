"""The lab's data disk: an ext4 file system with one guest and what the host shall look up."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import efi
from minbuild.lab.guest import initramfs, ready
from minbuild.lab.types import BootRequest, Tools
from minbuild.run import run

LABEL = "minbuild-data"
GUEST = "tiny"
MEMORY = 128
"""MiB of the tiny guest."""
SPARE = 8 << 20
"""Bytes left free for what the host writes."""
BLOCK = 4096


OF_A_GUEST = ("guest", "confined")
"""Probes that a host can only meet with a guest."""
OF_UEFI = "ovmf"
"""The probe that a host can only meet with a guest that starts by UEFI."""


@dataclass(frozen=True, slots=True)
class Guest:
    """The virtual machine that the host shall run."""

    kernel: Path
    initramfs: Path | None = None
    """None: the lab's own."""
    ready: str = ""
    """What it says on its console when it is up; "" for what the lab's own says."""
    cpus: int = 1


def data_disk(
    work: Path, tools: Tools, asked: Mapping[str, str], guest: Guest | None, *, uefi: bool = False
) -> Path:
    """Make `work`/data.raw with probe.conf (`asked`, key=value), a guest, and one by UEFI.

    Raises: ToolError when a file of the guest cannot be read or mke2fs fails.
    """
    tree = work / "data"
    tree.mkdir()
    (tree / "probe.conf").write_text(lines(asked), encoding="utf-8")
    if guest is not None:
        place = tree / "guests" / GUEST
        place.mkdir(parents=True)
        copy(guest.kernel, place / "vmlinuz")
        if guest.initramfs is None:
            (place / "initrd").write_bytes(initramfs(guest.cpus))
        else:
            copy(guest.initramfs, place / "initrd")
        (place / "guest.conf").write_text(lines(guest_conf(guest)), encoding="utf-8")
    if uefi:
        place = tree / "guests" / "uefi"
        place.mkdir(parents=True)
        efi.disk(place / "boot.raw", efi.program(efi.READY), work, tools)
        (place / "guest.conf").write_text(lines(UEFI), encoding="utf-8")
    disk = work / "data.raw"
    with disk.open("wb") as file:
        file.truncate(room(tree))
    words = [*tools.argv("mke2fs"), "-t", "ext4", "-F", "-q", "-b", str(BLOCK), "-m", "0"]
    words += ["-L", LABEL, "-E", "root_owner=0:0", "-d", str(tree), str(disk)]
    # a file that is not there: mke2fs then keeps to its built-in profile, whatever this machine has
    setting = {"MKE2FS_CONFIG": str(work / "mke2fs.conf")}
    run(words, what="making the lab's data disk", env={**setting, **tools.environment()})
    shutil.rmtree(tree)
    return disk


def unasked(request: BootRequest, guest: Guest | None) -> dict[str, str]:
    """Probes that the data disk of this boot does not ask for, and why."""
    if request.data is not None:
        return {}
    if request.trouble.no_disk:
        asked = (*OF_A_GUEST, OF_UEFI, "dns", "tcp")
        return dict.fromkeys(asked, "there is no data disk that asks for it")
    why = "no kernel for a guest beside the disk: host.efi"
    return {} if guest else dict.fromkeys(OF_A_GUEST, why)


def guest_conf(guest: Guest) -> dict[str, str]:
    """The guest's settings, as docs/reference/console.md has them; without a network card."""
    return {
        "cpus": str(guest.cpus),
        "memory": str(MEMORY + 8 * (guest.cpus - 1)),
        "kernel": "vmlinuz",
        "initrd": "initrd",
        "cmdline": "console=ttyS0 reboot=t panic=-1",
        "ready": guest.ready or ready(guest.cpus),
        "stop-wait": "1",
    }


UEFI = {
    "machine": "q35",
    "firmware": "uefi",
    "memory": str(MEMORY),
    "disk": "boot.raw",
    "ready": efi.READY,
    "stop-wait": "0",
}
"""The settings of the guest that starts by UEFI: a PC with one disk."""


def by_uefi(request: BootRequest) -> bool:
    """Whether the data disk shall hold a guest that starts by UEFI."""
    return any(probe.name == OF_UEFI for probe in request.probes)


def lines(values: Mapping[str, str]) -> str:
    """Write key=value lines in the given order."""
    return "".join(f"{key}={value}\n" for key, value in values.items())


def room(tree: Path) -> int:
    """Bytes for a file system that holds `tree`, its journal and some spare room."""
    whole = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    blocks = -(-(whole * 21 // 20 + SPARE + (16 << 20)) // BLOCK)
    return blocks * BLOCK


def copy(source: Path, target: Path) -> None:
    """Copy a file of the user's.

    Raises: ToolError when it cannot be read.
    """
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ToolError(
            f"cannot copy for the lab's data disk: {error.strerror}",
            where=str(source),
            fix="check that the file is there and may be read",
        ) from error
