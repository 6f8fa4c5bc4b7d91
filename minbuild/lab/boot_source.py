"""The image in the machine: the files that QEMU starts from, and its arguments for them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.formats.uki import Uki, read_uki_file
from minbuild.lab.added_parameters import (
    build_kprobe_cmdline,
    build_smbios_args,
    build_trace_cmdline,
    extend_cmdline,
)
from minbuild.lab.credentials import require_esp, write_esp_credentials
from minbuild.lab.drives import (
    build_boot_drive_args,
    build_efi_stick_args,
    detect_drive_format,
    escape_commas,
    prepare_ovmf_args,
    read_first_bytes,
)
from minbuild.lab.metal import require_metal_boot
from minbuild.lab.model import BootRequest, Firmware, Machine, Tools
from minbuild.lab.netboot import NO_PXE_ARGS, make_served_directory

BOOT_CODE_SIZE = 440
"""Bytes of code in a disk's first sector; the partition table follows."""
SERIAL_PORT = b"\xf8\x03"
"""COM1. Source: SeaBIOS, docs/Runtime_config.md, etc/sercon-port."""


@dataclass(frozen=True, slots=True)
class BootSource:
    """The image in the machine, as QEMU's arguments."""

    args: tuple[str, ...]
    """`-kernel` and `-initrd`, or the firmware and a drive."""
    kernel: Path | None
    """The image's kernel as a file; None for a disk without its UKI in the same directory."""
    served_directory: Path | None = None
    """The files that the lab's servers offer; None unless the firmware boots from the network."""
    xen: bool = False
    """True: the image starts the hypervisor Xen."""


@dataclass(frozen=True)
class _BootImage:
    """The image of a request, and what its EFI file holds."""

    path: Path
    kind: str
    """As `detect_drive_format` says it."""

    @cached_property
    def uki(self) -> Uki | None:
        """The EFI file itself, or the one beside a disk: host.efi for host.raw and for dib's
        host-dib.qcow2. None for a disk without one. Raises: ToolError for a damaged one.
        """
        if self.kind == "efi":
            return read_uki_file(self.path)
        sibling = self.path.with_suffix(".efi")
        dib_sibling = self.path.with_name(f"{self.path.name.rpartition('-dib')[0]}.efi")
        uki_path = next((path for path in (sibling, dib_sibling) if path.is_file()), None)
        return read_uki_file(uki_path) if uki_path is not None else None

    @property
    def starts_xen(self) -> bool:
        """Whether it starts the hypervisor Xen."""
        return self.uki is not None and bool(self.uki.xen)

    def write_kernel(self, work: Path) -> Path | None:
        """Write the kernel to `work`; None for a disk without an EFI file."""
        if self.uki is None:
            return None
        (work / "vmlinuz").write_bytes(self.uki.linux)
        return work / "vmlinuz"


def prepare_boot_source(
    request: BootRequest, tools: Tools, work: Path, parameters: str = ""
) -> BootSource:
    """Write the files that QEMU starts from to `work`, and build its arguments.

    `parameters` are added to the kernel's command line where that is possible.
    Raises: UsageError for what cannot be booted this way, ToolError for a damaged image.
    """
    if request.machine is Machine.METAL:
        require_metal_boot(request)
    for path in (request.image, request.initramfs, request.data_disk, *request.disks):
        if path is not None:
            read_first_bytes(path, 1)
    path = request.image.absolute()
    if request.initramfs is not None:
        require_esp(request.credentials, has_esp=False)
        cmdline = extend_cmdline(request.cmdline, build_kprobe_cmdline(request, ""), parameters)
        return _boot_directly(path, request.initramfs.absolute(), cmdline)
    image = _BootImage(path, detect_drive_format(path))
    has_esp = image.kind == "efi" and request.firmware is Firmware.UEFI
    require_esp(request.credentials, has_esp=has_esp)
    if request.firmware is Firmware.BIOS:
        _require_bios_boot(request, image)
    if image.starts_xen:
        _require_plain_boot(request)
    elif request.firmware is Firmware.DIRECT:
        return _boot_uki_directly(request, image, work, parameters)
    elif request.cmdline:
        raise UsageError(
            "the kernel command line is part of the image",
            fix="boot with --direct, or put it into the manifest: kernel.cmdline",
        )
    if request.firmware is Firmware.BIOS:
        return _boot_by_bios(request, image, work)
    return _boot_by_uefi(request, tools, image, work, parameters)


def _require_plain_boot(request: BootRequest) -> None:
    """Refuse what would change the command line of Xen's domain 0. Raises: UsageError."""
    asked = ""
    if request.firmware is Firmware.DIRECT:
        asked = "--direct starts Linux by itself"
    elif request.cmdline or request.trace:
        asked = "--trace and parameters change the kernel's command line"
    if asked:
        raise UsageError(
            f"the image starts Xen, which starts Linux as its domain 0, and {asked}",
            fix="boot it by UEFI, as it is",
        )


def _boot_directly(kernel: Path, initramfs: Path, cmdline: str) -> BootSource:
    args = ("-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline)
    return BootSource(args, kernel)


def _boot_uki_directly(
    request: BootRequest, image: _BootImage, work: Path, parameters: str
) -> BootSource:
    uki = _require_uki(image, "--direct")
    kernel, initramfs = work / "vmlinuz", work / "initrd"
    kernel.write_bytes(uki.linux)
    initramfs.write_bytes(uki.initrd)
    trace_cmdline = build_trace_cmdline(request, uki)
    cmdline = extend_cmdline(uki.cmdlines[0], request.cmdline, trace_cmdline, parameters)
    return _boot_directly(kernel, initramfs, cmdline)


def _boot_by_uefi(
    request: BootRequest, tools: Tools, image: _BootImage, work: Path, parameters: str
) -> BootSource:
    firmware_args = prepare_ovmf_args(tools, work, request.certificate)
    if not image.starts_xen:
        firmware_args += build_smbios_args(request, image.uki, parameters)
    directory = None
    if request.firmware.is_netboot:
        _require_uki(image, f"--{request.firmware}")
        medium_args = NO_PXE_ARGS if request.firmware is Firmware.HTTP else ()
        directory = make_served_directory(image.path, work)
    elif image.kind == "efi":
        write_esp_credentials(request.credentials, work / "esp")
        medium_args = build_efi_stick_args(image.path, work, request.machine)
    else:
        medium_args = build_boot_drive_args(image.path, image.kind, request.attach, request.machine)
    kernel = image.write_kernel(work)
    return BootSource((*firmware_args, *medium_args), kernel, directory, image.starts_xen)


def _require_bios_boot(request: BootRequest, image: _BootImage) -> None:
    if image.kind in {"efi", "iso"} or (
        image.kind == "raw" and not any(read_first_bytes(image.path, BOOT_CODE_SIZE))
    ):
        raise UsageError(
            f"{image.path.name} cannot be started by a BIOS: its first sector has no boot loader",
            fix="boot host.raw, built with the component boot/bios",
        )
    if request.certificate is not None or request.trace:
        feature = "Secure Boot" if request.certificate else "--trace"
        raise UsageError(f"{feature} requires UEFI", fix="boot without --bios")


def _boot_by_bios(request: BootRequest, image: _BootImage, work: Path) -> BootSource:
    """Start the disk by SeaBIOS, whose output is sent to the serial line, too."""
    port = work / "sercon-port"
    port.write_bytes(SERIAL_PORT)
    port_args = ("-fw_cfg", f"name=etc/sercon-port,file={escape_commas(port)}")
    drive_args = build_boot_drive_args(image.path, image.kind, request.attach, request.machine)
    return BootSource((*port_args, *drive_args), image.write_kernel(work), xen=image.starts_xen)


def _require_uki(image: _BootImage, option: str) -> Uki:
    if image.kind != "efi" or image.uki is None:
        raise UsageError(
            f"{option} requires a UKI, and {image.path.name} is a disk image",
            fix=f"boot host.efi with {option}, or the disk by UEFI",
        )
    return image.uki
