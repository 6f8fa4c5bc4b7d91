"""The machine that QEMU makes: its firmware, disks, card and console."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.formats.uki import read_cmdline, read_kernel_release
from minbuild.formats.uki import read_uki_parts as parts
from minbuild.lab import kprobes
from minbuild.lab.accel import ACCEL_ARGS, build_data_directory_args
from minbuild.lab.drives import (
    build_boot_drive_args,
    build_disk_args,
    detect_drive_format,
    escape_commas,
    read_first_bytes,
)
from minbuild.lab.model import BootRequest, Decision, Firmware, Network, Tools
from minbuild.lab.ovmf import build_efi_stick_args, prepare_ovmf_args
from minbuild.lab.worker import echo_pipe
from minbuild.lab.worker.network import SERVER_ADDRESS, build_netdev_arg, make_mac
from minbuild.manifest.kernel_cmdline import MAX_LENGTH, append_words, split_cmdline

BOOT_FILE = "host.efi"
SERVED_DIRECTORY = "net"

NO_PXE_ARGS = tuple(
    word
    for version in (4, 6)
    for word in ("-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=n")
)
"""Leaves HTTP as the only way to the network. Source: edk2, OvmfPkg/Library/PxeBcPcdProducerLib."""


def make_served_directory(image: Path, work: Path) -> Path:
    """Make the directory that the lab's servers hand out, with the UKI in it."""
    directory = work / SERVED_DIRECTORY
    directory.mkdir()
    (directory / BOOT_FILE).symlink_to(image)
    return directory


def require_http_support(firmware: Firmware, network: Decision) -> None:
    """Refuse HTTP boot where the lab has no server of its own.

    Raises: UsageError.
    """
    if firmware is Firmware.HTTP and network.name != Network.NAMESPACE:
        raise UsageError(
            f"HTTP boot needs the lab's own DHCP server: {network.reason}",
            fix="boot with --pxe, which QEMU's own network can do, or allow user namespaces",
        )


def build_netboot_dnsmasq_args(firmware: Firmware, directory: Path) -> tuple[str, ...]:
    """dnsmasq's arguments for a machine that starts from the network. Source: dnsmasq(8)."""
    if firmware is Firmware.PXE:
        return ("--enable-tftp", f"--tftp-root={directory}", f"--dhcp-boot={BOOT_FILE}")
    if firmware is Firmware.HTTP:
        # UEFI 2.10, 24.7.3: the answer's class must say HTTPClient too
        return (
            "--dhcp-vendorclass=set:http,HTTPClient",
            "--dhcp-option-force=tag:http,60,HTTPClient",
            f"--dhcp-boot=tag:http,http://{SERVER_ADDRESS}/{BOOT_FILE}",
        )
    return ()


def build_netboot_netdev_arg(firmware: Firmware, directory: Path | None) -> str:
    """What QEMU's own network hands out."""
    if firmware is Firmware.PXE and directory is not None:
        return f",tftp={str(directory).replace(',', ',,')},bootfile={BOOT_FILE}"
    return ""


STUB_CMDLINE_KEY = "io.systemd.stub.kernel-cmdline-extra"
"""What systemd's stub adds to the command line in the UKI. Source: systemd-stub(7), smbios-type-11(7)."""

BOOT_CODE_SIZE = 440
"""Bytes of a disk's first sector that are no table."""
ECHO_PORT = 7
USER_NETWORK_ADDRESS = "10.0.2.100"
"""All that a machine on QEMU's own network reaches: one port here. Source: qemu(1), "-netdev user"."""
SERIAL_PORT = b"\xf8\x03"
"""COM1. Source: SeaBIOS, docs/Runtime_config.md, etc/sercon-port."""


@dataclass(frozen=True, slots=True)
class BootSource:
    """What the machine starts from, and QEMU's words for it."""

    args: tuple[str, ...]
    kernel: Path | None
    """The image's kernel as a file of its own; None for a disk with no UKI of its name beside it."""
    served_directory: Path | None = None
    """What the lab's servers hand out, for a machine that starts from the network."""


def prepare_boot_source(
    request: BootRequest, tools: Tools, work: Path, settings: str = ""
) -> BootSource:
    """Lay out in `work` what QEMU starts from; its kernel is told `settings` where that can be.

    Raises: UsageError for what cannot be booted this way, ToolError for a damaged image.
    """
    for path in (request.image, request.initramfs, request.data_disk, *request.disks):
        if path is not None:
            read_first_bytes(path, 1)
    image = request.image.absolute()
    if request.initramfs is not None:
        extended_cmdline = _extend_cmdline(
            request.cmdline, _build_kprobe_cmdline(request, ""), settings
        )
        return _boot_directly(image, request.initramfs.absolute(), extended_cmdline)
    kind = detect_drive_format(image)
    if request.firmware is Firmware.DIRECT:
        _require_efi(image, kind, "a direct boot needs a kernel", "--direct")
        kernel, initramfs, cmdline = _extract_uki(image, work)
        extended_cmdline = _extend_cmdline(
            cmdline, request.cmdline, _build_trace_cmdline(request, image, kind), settings
        )
        return _boot_directly(kernel, initramfs, extended_cmdline)
    if request.cmdline:
        raise UsageError(
            "the command line is part of the image",
            fix="boot with --direct, or put it into the manifest: kernel.cmdline",
        )
    if request.firmware is Firmware.BIOS:
        return _boot_by_bios(request, image, kind, work)
    flash_args = prepare_ovmf_args(tools, work, request.certificate)
    extra_cmdline = _build_trace_cmdline(request, image, kind)
    if request.certificate is None:
        extra_cmdline = f"{extra_cmdline} {settings}".strip()
    uki = image if kind == "efi" else _find_sibling_uki(image)
    if (
        extra_cmdline
        and uki.is_file()
        and _extend_cmdline(read_cmdline(uki), extra_cmdline)
        != f"{read_cmdline(uki)} {extra_cmdline}".lstrip()
    ):
        raise UsageError(
            "the image's command line has words for init (--), and what the lab adds follows them",
            fix="boot with --direct, or with --no-ports",
        )
    smbios_args = (
        ("-smbios", f"type=11,value={STUB_CMDLINE_KEY}={extra_cmdline.replace(',', ',,')}")
        if extra_cmdline
        else ()
    )
    return _boot_by_uefi(request, image, kind, (*flash_args, *smbios_args), work)


def _extend_cmdline(line: str, *additions: str) -> str:
    """A command line with more words, which the kernel sees last.

    Raises: UsageError when the kernel does not read all of it.
    """
    extended = append_words(line, split_cmdline(" ".join(additions)))
    limit = MAX_LENGTH["amd64"] - 1
    if len(extended.encode()) > limit:
        count = len(extended.encode()) - len(line.encode())
        raise UsageError(
            f"the command line has {len(line.encode()):,} bytes, and the lab adds {count:,}: the "
            f"kernel reads {limit:,}",
            fix="shorten kernel.cmdline in the manifest, or boot with --no-ports and no trace",
        )
    return extended


def _build_trace_cmdline(request: BootRequest, image: Path, kind: str) -> str:
    """The kernel parameters for tracing, by the release that the UKI or the one beside it names."""
    if request.certificate is not None and request.firmware is not Firmware.DIRECT:
        if not request.trace:
            return ""
        raise UsageError(
            "under Secure Boot the image takes no further command line, which tracing needs",
            fix="trace without the certificate, or with --direct",
        )
    uki = image if kind == "efi" else _find_sibling_uki(image)
    return _build_kprobe_cmdline(
        request, read_kernel_release(uki) if request.trace and uki.is_file() else ""
    )


def _build_kprobe_cmdline(request: BootRequest, release: str) -> str:
    """The kernel parameters by which it tells what is opened; "" when nobody asked."""
    file_probes = kprobes.build_file_kprobes(release) if request.trace else ()
    port_probes = kprobes.build_port_kprobes() if request.ports else ()
    probes = ";".join((*file_probes, *port_probes))
    return f"tp_printk kprobe_event={probes}" if probes else ""


def _boot_by_uefi(
    request: BootRequest, image: Path, kind: str, firmware: tuple[str, ...], work: Path
) -> BootSource:
    if request.firmware.by_network:
        _require_efi(image, kind, "the network hands out one file", f"--{request.firmware}")
        firmware_args = NO_PXE_ARGS if request.firmware is Firmware.HTTP else ()
        directory = make_served_directory(image, work)
        return BootSource((*firmware, *firmware_args), _extract_uki(image, work)[0], directory)
    if kind != "efi":
        drive = build_boot_drive_args(image, kind, request.attach)
        return BootSource((*firmware, *drive), _extract_sibling_kernel(image, work))
    return BootSource((*firmware, *build_efi_stick_args(image, work)), _extract_uki(image, work)[0])


def _boot_by_bios(request: BootRequest, image: Path, kind: str, work: Path) -> BootSource:
    """SeaBIOS starts the disk; what it prints comes to the serial line too."""
    if kind in {"efi", "iso"} or (
        kind == "raw" and not any(read_first_bytes(image, BOOT_CODE_SIZE))
    ):
        raise UsageError(
            f"{image.name} is nothing that a BIOS starts: its first sector has no boot loader",
            fix="boot host.raw, built with the component boot/bios",
        )
    if request.certificate is not None or request.trace:
        feature = "Secure Boot" if request.certificate else "a traced boot, with its command line,"
        raise UsageError(f"{feature} is nothing that a BIOS can do", fix="boot by UEFI")
    port = work / "sercon-port"
    port.write_bytes(SERIAL_PORT)
    args = ("-fw_cfg", f"name=etc/sercon-port,file={escape_commas(port)}")
    return BootSource(
        (*args, *build_boot_drive_args(image, kind, request.attach)),
        _extract_sibling_kernel(image, work),
    )


def _extract_sibling_kernel(image: Path, work: Path) -> Path | None:
    uki = _find_sibling_uki(image)
    return _extract_uki(uki, work)[0] if uki.is_file() else None


def _find_sibling_uki(disk: Path) -> Path:
    """The UKI that a disk was made of: host.efi for host.raw and for dib's host-dib.qcow2."""
    sibling = disk.with_suffix(".efi")
    dib_sibling = disk.with_name(f"{disk.name.rpartition('-dib')[0]}.efi")
    return sibling if sibling.is_file() else dib_sibling


def _require_efi(image: Path, kind: str, reason: str, option: str) -> None:
    if kind != "efi":
        raise UsageError(
            f"{image.name} is a disk: {reason}",
            fix=f"boot host.efi with {option}, or the disk by UEFI",
        )


def build_qemu_args(
    request: BootRequest,
    tools: Tools,
    source: BootSource,
    data: Path | None,
    accel: Decision,
    echo_reachable: bool | None,
) -> tuple[str, ...]:
    """QEMU's arguments for the whole machine, its console on stdin and stdout.

    `door`: whether it reaches the lab's server on QEMU's own network; None where it is on the lab's.
    """
    args = [
        "-M",
        "q35",
        *ACCEL_ARGS[accel.name],
        "-smp",
        str(request.cpus),
        "-m",
        str(request.memory),
    ]
    args += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    # what resets a machine that hangs, if the host feeds it; any reset ends QEMU
    args += [*build_data_directory_args(tools), *source.args, "-device", "i6300esb"]
    if request.faults.clock:
        args += ["-rtc", f"base={request.faults.clock}"]
    if data is not None:
        args += build_disk_args(data.absolute(), "raw", writable=True)
    for path in request.disks:
        args += build_disk_args(path.absolute(), detect_drive_format(path), writable=False)
    for number in range(request.cards):
        args += _build_card_args(number, request.firmware, source.served_directory, echo_reachable)
    # OVMF's network also wants the random numbers
    args += ["-object", "rng-random,id=r,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r"]
    return (
        *args,
        "-chardev",
        "stdio,id=c,mux=on,signal=off",
        "-serial",
        "chardev:c",
        "-mon",
        "chardev=c,mode=readline",
    )


def _build_card_args(
    number: int, firmware: Firmware, served_directory: Path | None, echo_reachable: bool | None
) -> tuple[str, ...]:
    """A network card; the firmware starts from the first one, if from any."""
    netdev_arg = build_netdev_arg(number)
    if echo_reachable is not None:
        netdev_arg = (
            f"user,id=n{number},restrict=on{build_netboot_netdev_arg(firmware, served_directory)}"
        )
        netdev_arg += _build_guestfwd_arg() if echo_reachable else ""
    # romfile= : without a boot ROM the firmware does not try the network first
    boot_index = ",bootindex=1" if firmware.by_network and not number else ""
    card = f"virtio-net-pci,netdev=n{number},mac={make_mac(number)},romfile={boot_index}"
    return ("-netdev", netdev_arg, "-device", card)


def _build_guestfwd_arg() -> str:
    """Have QEMU run a program for each connection: one that it keeps itself serves only the first."""
    program = shlex.join((sys.executable, "-IS", echo_pipe.__file__))
    return f",guestfwd=tcp:{USER_NETWORK_ADDRESS}:{ECHO_PORT}-cmd:{program.replace(',', ',,')}"


def _boot_directly(kernel: Path, initramfs: Path, cmdline: str) -> BootSource:
    args = ("-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline)
    return BootSource(args, kernel)


def _extract_uki(image: Path, work: Path) -> tuple[Path, Path, str]:
    kernel, initramfs, cmdline = parts(image)
    (work / "vmlinuz").write_bytes(kernel)
    (work / "initrd").write_bytes(initramfs)
    return work / "vmlinuz", work / "initrd", cmdline
