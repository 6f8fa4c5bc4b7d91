"""Data disk of the lab: an ext4 file system with probe.conf and the guests that the host runs."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import guest_images
from minbuild.lab.guest_images import format_ready_line, make_guest_initramfs
from minbuild.lab.model import BootRequest, Tools
from minbuild.process import run_program

DATA_LABEL = "minbuild-data"
GUEST_NAME = "tiny"
GUEST_MEMORY = 128
"""MiB of memory for a guest of one processor."""
GUEST_CMDLINE = "console=ttyS0 reboot=t panic=-1 quiet"
"""Quiet: each character on a serial port is some exits of the guest, a sixth of an emulated boot."""
XEN_GUEST_CMDLINE = "console=hvc0 panic=-1 quiet"
SPARE_BYTES = 8 << 20
"""Bytes left free for what the host writes."""
BLOCK_SIZE = 4096


GUEST_PROBES = ("guest", "confined")
"""Probes that need a guest on the data disk."""
UEFI_PROBE = "ovmf"
"""The probe that needs a UEFI guest on the data disk."""


@dataclass(frozen=True, slots=True)
class LabGuest:
    """The virtual machine that the host runs."""

    kernel: Path
    initramfs: Path | None = None
    """None: the lab's own."""
    ready: str = ""
    """The text on its console when it is up; "" for that of the lab's own initramfs."""
    cpus: int = 1
    xen: bool = False
    """True: the host runs it as a domain of Xen."""


def make_data_disk(
    work: Path,
    tools: Tools,
    lookups: Mapping[str, str],
    guest: LabGuest | None,
    *,
    uefi: bool = False,
) -> Path:
    """Make `work`/data.raw with probe.conf of `lookups`, a guest, and with `uefi` a UEFI guest.

    Raises: ToolError when a file of the guest cannot be read or mke2fs fails.
    """
    tree = work / "data"
    tree.mkdir()
    (tree / "probe.conf").write_text(format_conf(lookups), encoding="utf-8")
    if guest is not None:
        _write_guest(guest, tree / "guests" / GUEST_NAME)
    if uefi:
        _write_uefi_guest(tree / "guests" / "uefi", work, tools)
    disk = work / "data.raw"
    _make_ext4(tree, disk, work, tools)
    shutil.rmtree(tree)
    return disk


def _write_guest(guest: LabGuest, directory: Path) -> None:
    directory.mkdir(parents=True)
    copy_user_file(guest.kernel, directory / "vmlinuz")
    if guest.initramfs is None:
        (directory / "initrd").write_bytes(make_guest_initramfs(guest.cpus))
    else:
        copy_user_file(guest.initramfs, directory / "initrd")
    (directory / "guest.conf").write_text(format_conf(make_guest_conf(guest)), encoding="utf-8")


def _write_uefi_guest(directory: Path, work: Path, tools: Tools) -> None:
    directory.mkdir(parents=True)
    program = guest_images.make_efi_program(guest_images.EFI_READY)
    guest_images.make_efi_disk(directory / "boot.raw", program, work, tools)
    (directory / "guest.conf").write_text(format_conf(UEFI_GUEST_CONF), encoding="utf-8")


def _make_ext4(tree: Path, disk: Path, work: Path, tools: Tools) -> None:
    """Write an ext4 file system with the files of `tree` to the new file `disk`."""
    with disk.open("wb") as file:
        file.truncate(compute_filesystem_size(tree))
    argv = [*tools.build_argv("mke2fs"), "-t", "ext4", "-F", "-q", "-b", str(BLOCK_SIZE), "-m", "0"]
    argv += ["-L", DATA_LABEL, "-E", "root_owner=0:0", "-d", str(tree), str(disk)]
    # a file that does not exist: mke2fs then uses its built-in profile, not that of this machine
    mke2fs_environment = {"MKE2FS_CONFIG": str(work / "mke2fs.conf")}
    run_program(
        argv,
        purpose="making the lab's data disk",
        env={**mke2fs_environment, **tools.build_environment()},
    )


def find_unavailable_probes(request: BootRequest, guest: LabGuest | None) -> dict[str, str]:
    """Find the probes that the data disk of this boot does not request, with the reason."""
    if request.data_disk is not None:
        return {}
    if request.faults.no_disk:
        names = (*GUEST_PROBES, UEFI_PROBE, "dns", "tcp")
        return dict.fromkeys(names, "needs the data disk, which this boot does not have")
    reason = "no kernel for a guest: there is no host.efi in the directory of the disk"
    return {} if guest else dict.fromkeys(GUEST_PROBES, reason)


def make_guest_conf(guest: LabGuest) -> dict[str, str]:
    """Make the content of guest.conf (docs/reference/console.md), without a network card."""
    return {
        "cpus": str(guest.cpus),
        "memory": str(GUEST_MEMORY + 8 * (guest.cpus - 1)),
        "kernel": "vmlinuz",
        "initrd": "initrd",
        "cmdline": XEN_GUEST_CMDLINE if guest.xen else GUEST_CMDLINE,
        "ready": guest.ready or format_ready_line(guest.cpus),
        "stop-wait": "1",
    }


UEFI_GUEST_CONF = {
    "machine": "q35",
    "firmware": "uefi",
    "memory": str(GUEST_MEMORY),
    "disk": "boot.raw",
    "ready": guest_images.EFI_READY,
    "stop-wait": "0",
}
"""guest.conf of the UEFI guest: a PC with one disk."""


def has_uefi_probe(request: BootRequest) -> bool:
    """Whether the request has the probe that needs a UEFI guest."""
    return any(probe.name == UEFI_PROBE for probe in request.probes)


def format_conf(values: Mapping[str, str]) -> str:
    """Format key=value lines in the given order."""
    return "".join(f"{key}={value}\n" for key, value in values.items())


def compute_filesystem_size(tree: Path) -> int:
    """Compute the bytes of a file system for `tree`, a journal and spare room."""
    content_size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    blocks = -(-(content_size * 21 // 20 + SPARE_BYTES + (16 << 20)) // BLOCK_SIZE)
    return blocks * BLOCK_SIZE


def copy_user_file(source: Path, target: Path) -> None:
    """Copy a file that the user named.

    Raises: ToolError when it cannot be read.
    """
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ToolError(
            f"cannot copy to the lab's data disk: {error.strerror}",
            where=str(source),
            fix="check that the file exists and is readable",
        ) from error
