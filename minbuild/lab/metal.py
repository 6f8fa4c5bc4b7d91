"""QEMU's devices of a server that is not virtual: the machine `metal`.

The image is a SATA disk, the data disk an NVMe one; further disks are a stick on USB, one behind a
MegaRAID controller, a SATA and an NVMe one, and so on. Source: QEMU, docs/system/device-emulation.rst;
hw/ipmi/ipmi_bmc_sim.c (a simulated BMC, which ACPI and SMBIOS announce).
"""

from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.lab.drives import build_device_args, detect_drive_format
from minbuild.lab.model import BootRequest

CARD_MODELS = ("e1000e", "igb")
"""Network cards, one after the other."""
METAL_ARGS = (
    *("-device", "VGA"),
    *("-device", "qemu-xhci,id=usb"),
    *("-device", "usb-kbd,bus=usb.0"),
    *("-device", "megasas-gen2,id=raid"),
    *("-device", "ipmi-bmc-sim,id=bmc"),
    *("-device", "isa-ipmi-kcs,bmc=bmc"),
)
"""Screen, USB keyboard, RAID controller, and the board's management controller."""
DISK_DEVICES = (
    "usb-storage,bus=usb.0,removable=on",
    "scsi-hd,bus=raid.0",
    "ide-hd,bus=ide.{port}",
    "nvme,serial=minbuild-{name}",
)
"""Devices of further disks, one after the other."""
NO_DISK = "driver=null-co,node-name={name},size=16777216,read-zeroes=on,read-only=on"
"""A stick with nothing on it."""


def build_metal_disk_args(data_disk: Path | None, disks: Sequence[Path]) -> tuple[str, ...]:
    """Build the arguments of all disks but the image's own; without further ones an empty stick.

    Raises: UsageError for an image that names another file.
    """
    args: tuple[str, ...] = ()
    if data_disk is not None:
        args += build_device_args(
            "data", data_disk.absolute(), "raw", "nvme,serial=minbuild-data", snapshot=False
        )
    for number, path in enumerate(disks):
        name = f"disk{number}"
        port = number // len(DISK_DEVICES) + 1  # of AHCI; the image is on 0
        device = DISK_DEVICES[number % len(DISK_DEVICES)].format(name=name, port=port)
        args += build_device_args(name, path.absolute(), detect_drive_format(path), device)
    if not disks:
        stick = DISK_DEVICES[0]
        args += ("-blockdev", NO_DISK.format(name="stick"), "-device", f"{stick},drive=stick")
    return args


def require_metal_boot(request: BootRequest) -> None:
    """Refuse what the machine `metal` has no devices for.

    Raises: UsageError for a boot from the network: its cards have no boot ROM here.
    """
    if request.firmware.is_netboot:
        raise UsageError(
            f"the machine metal cannot start by {request.firmware.upper()}: its network "
            "cards have no boot ROM",
            fix="boot with --machine virtio, or from the disk",
        )
