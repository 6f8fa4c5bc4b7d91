"""The lab's data disk: an ext4 file system with one guest and what the host shall look up."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import efi_guest
from minbuild.lab.linux_guest import format_ready_line, make_guest_initramfs
from minbuild.lab.model import BootRequest, Tools
from minbuild.process import run_program

DATA_LABEL = "minbuild-data"
GUEST_NAME = "tiny"
GUEST_MEMORY = 128
"""MiB of the tiny guest."""
SPARE_BYTES = 8 << 20
"""Bytes left free for what the host writes."""
BLOCK_SIZE = 4096


GUEST_PROBES = ("guest", "confined")
"""Probes that a host can only meet with a guest."""
UEFI_PROBE = "ovmf"
"""The probe that a host can only meet with a guest that starts by UEFI."""


@dataclass(frozen=True, slots=True)
class LabGuest:
    """The virtual machine that the host shall run."""

    kernel: Path
    initramfs: Path | None = None
    """None: the lab's own."""
    ready: str = ""
    """What it says on its console when it is up; "" for what the lab's own says."""
    cpus: int = 1


def make_data_disk(
    work: Path,
    tools: Tools,
    lookups: Mapping[str, str],
    guest: LabGuest | None,
    *,
    uefi: bool = False,
) -> Path:
    """Make `work`/data.raw with probe.conf (`asked`, key=value), a guest, and one by UEFI.

    Raises: ToolError when a file of the guest cannot be read or mke2fs fails.
    """
    tree = work / "data"
    tree.mkdir()
    (tree / "probe.conf").write_text(format_conf(lookups), encoding="utf-8")
    if guest is not None:
        directory = tree / "guests" / GUEST_NAME
        directory.mkdir(parents=True)
        copy_user_file(guest.kernel, directory / "vmlinuz")
        if guest.initramfs is None:
            (directory / "initrd").write_bytes(make_guest_initramfs(guest.cpus))
        else:
            copy_user_file(guest.initramfs, directory / "initrd")
        (directory / "guest.conf").write_text(format_conf(make_guest_conf(guest)), encoding="utf-8")
    if uefi:
        directory = tree / "guests" / "uefi"
        directory.mkdir(parents=True)
        efi_guest.make_efi_disk(
            directory / "boot.raw", efi_guest.make_efi_program(efi_guest.EFI_READY), work, tools
        )
        (directory / "guest.conf").write_text(format_conf(UEFI_GUEST_CONF), encoding="utf-8")
    disk = work / "data.raw"
    with disk.open("wb") as file:
        file.truncate(compute_filesystem_size(tree))
    argv = [*tools.build_argv("mke2fs"), "-t", "ext4", "-F", "-q", "-b", str(BLOCK_SIZE), "-m", "0"]
    argv += ["-L", DATA_LABEL, "-E", "root_owner=0:0", "-d", str(tree), str(disk)]
    # a file that is not there: mke2fs then keeps to its built-in profile, whatever this machine has
    mke2fs_environment = {"MKE2FS_CONFIG": str(work / "mke2fs.conf")}
    run_program(
        argv,
        purpose="making the lab's data disk",
        env={**mke2fs_environment, **tools.build_environment()},
    )
    shutil.rmtree(tree)
    return disk


def find_unavailable_probes(request: BootRequest, guest: LabGuest | None) -> dict[str, str]:
    """Probes that the data disk of this boot does not ask for, and why."""
    if request.data_disk is not None:
        return {}
    if request.faults.no_disk:
        names = (*GUEST_PROBES, UEFI_PROBE, "dns", "tcp")
        return dict.fromkeys(names, "there is no data disk that asks for it")
    reason = "no kernel for a guest beside the disk: host.efi"
    return {} if guest else dict.fromkeys(GUEST_PROBES, reason)


def make_guest_conf(guest: LabGuest) -> dict[str, str]:
    """The guest's settings, as docs/reference/console.md has them; without a network card."""
    return {
        "cpus": str(guest.cpus),
        "memory": str(GUEST_MEMORY + 8 * (guest.cpus - 1)),
        "kernel": "vmlinuz",
        "initrd": "initrd",
        "cmdline": "console=ttyS0 reboot=t panic=-1",
        "ready": guest.ready or format_ready_line(guest.cpus),
        "stop-wait": "1",
    }


UEFI_GUEST_CONF = {
    "machine": "q35",
    "firmware": "uefi",
    "memory": str(GUEST_MEMORY),
    "disk": "boot.raw",
    "ready": efi_guest.EFI_READY,
    "stop-wait": "0",
}
"""The settings of the guest that starts by UEFI: a PC with one disk."""


def has_uefi_probe(request: BootRequest) -> bool:
    """Whether the data disk shall hold a guest that starts by UEFI."""
    return any(probe.name == UEFI_PROBE for probe in request.probes)


def format_conf(values: Mapping[str, str]) -> str:
    """Write key=value lines in the given order."""
    return "".join(f"{key}={value}\n" for key, value in values.items())


def compute_filesystem_size(tree: Path) -> int:
    """Bytes for a file system that holds `tree`, its journal and some spare room."""
    content_size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    blocks = -(-(content_size * 21 // 20 + SPARE_BYTES + (16 << 20)) // BLOCK_SIZE)
    return blocks * BLOCK_SIZE


def copy_user_file(source: Path, target: Path) -> None:
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
