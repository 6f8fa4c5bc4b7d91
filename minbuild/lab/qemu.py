"""QEMU's command line for the machine of a boot: processor, disks, network cards, console, and the
part that an image is started from."""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.formats.uki import is_xen, read_cmdline, read_kernel_release, read_uki_parts
from minbuild.lab import kprobes
from minbuild.lab.accel import build_accel_args, build_data_directory_args
from minbuild.lab.drives import (
    build_boot_drive_args,
    build_disk_args,
    build_efi_stick_args,
    detect_drive_format,
    escape_commas,
    prepare_ovmf_args,
    read_first_bytes,
)
from minbuild.lab.metal import (
    CARD_MODELS,
    METAL_ARGS,
    build_metal_disk_args,
    require_metal_boot,
)
from minbuild.lab.model import BootRequest, Decision, Firmware, Machine, Network, Tools
from minbuild.lab.worker import echo_pipe
from minbuild.lab.worker.network import SERVER_ADDRESS, build_netdev_arg, make_mac
from minbuild.manifest.kernel_cmdline import MAX_LENGTH, append_words, split_cmdline

STUB_CMDLINE_KEY = "io.systemd.stub.kernel-cmdline-extra"
"""SMBIOS string whose value systemd's stub adds to the command line in the UKI.

Source: systemd-stub(7), smbios-type-11(7).
"""
BOOT_CODE_SIZE = 440
"""Bytes of code in a disk's first sector; the partition table follows."""
SERIAL_PORT = b"\xf8\x03"
"""COM1. Source: SeaBIOS, docs/Runtime_config.md, etc/sercon-port."""

DEFAULT_CPUS = 2
BOOT_FILE = "host.efi"
SERVED_DIRECTORY = "net"
"""Directory of files that the lab's servers offer, below the working directory."""
NO_PXE_ARGS = tuple(
    arg
    for version in (4, 6)
    for arg in ("-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=n")
)
"""Switch off PXE in OVMF, so that it boots by HTTP.

Source: edk2, OvmfPkg/Library/PxeBcPcdProducerLib.
"""


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
    image = request.image.absolute()
    if request.initramfs is not None:
        kprobe_cmdline = _build_kprobe_cmdline(request, "")
        cmdline = _extend_cmdline(request.cmdline, kprobe_cmdline, parameters)
        return _boot_directly(image, request.initramfs.absolute(), cmdline)
    kind = detect_drive_format(image)
    if starts_xen(image):
        _require_plain_boot(request)
        return replace(_boot_by_firmware(request, tools, image, kind, work, ""), xen=True)
    if request.firmware is Firmware.DIRECT:
        _require_uki(image, kind, "--direct")
        kernel, initramfs, own_cmdline = _extract_uki(image, work)
        trace_cmdline = _build_trace_cmdline(request, image, kind)
        cmdline = _extend_cmdline(own_cmdline, request.cmdline, trace_cmdline, parameters)
        return _boot_directly(kernel, initramfs, cmdline)
    if request.cmdline:
        raise UsageError(
            "the kernel command line is part of the image",
            fix="boot with --direct, or put it into the manifest: kernel.cmdline",
        )
    return _boot_by_firmware(request, tools, image, kind, work, parameters)


def _boot_by_firmware(
    request: BootRequest, tools: Tools, image: Path, kind: str, work: Path, parameters: str
) -> BootSource:
    if request.firmware is Firmware.BIOS:
        return _boot_by_bios(request, image, kind, work)
    ovmf_args = prepare_ovmf_args(tools, work, request.certificate)
    smbios_args = () if starts_xen(image) else _build_smbios_args(request, image, kind, parameters)
    return _boot_by_uefi(request, image, kind, (*ovmf_args, *smbios_args), work)


def starts_xen(image: Path) -> bool:
    """Whether an EFI file, or a disk with its EFI file beside it, starts Xen.

    A damaged one does not; who needs what is in it says so.
    """
    uki = image if detect_drive_format(image) == "efi" else _find_sibling_uki(image)
    try:
        return uki.is_file() and is_xen(uki)
    except ToolError:
        return False


def complete_request(request: BootRequest) -> BootRequest:
    """Choose what the request leaves open, by what the image starts.

    Xen gets one processor: of several emulated ones, those that do not run hold locks that the
    others wait for. No ports are recorded: the words that trace them reach systemd's stub alone.
    """
    if request.initramfs is None and starts_xen(request.image):
        return replace(request, cpus=request.cpus or 1, ports=False)
    return replace(request, cpus=request.cpus or DEFAULT_CPUS)


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


def _boot_by_uefi(
    request: BootRequest, image: Path, kind: str, firmware_args: tuple[str, ...], work: Path
) -> BootSource:
    if request.firmware.is_netboot:
        _require_uki(image, kind, f"--{request.firmware}")
        netboot_args = NO_PXE_ARGS if request.firmware is Firmware.HTTP else ()
        directory = make_served_directory(image, work)
        kernel, _, _ = _extract_uki(image, work)
        return BootSource((*firmware_args, *netboot_args), kernel, directory)
    if kind != "efi":
        drive_args = build_boot_drive_args(image, kind, request.attach, request.machine)
        return BootSource((*firmware_args, *drive_args), _extract_sibling_kernel(image, work))
    stick_args = build_efi_stick_args(image, work, request.machine)
    kernel, _, _ = _extract_uki(image, work)
    return BootSource((*firmware_args, *stick_args), kernel)


def _boot_by_bios(request: BootRequest, image: Path, kind: str, work: Path) -> BootSource:
    """Start the disk by SeaBIOS, whose output is sent to the serial line, too."""
    if kind in {"efi", "iso"} or (
        kind == "raw" and not any(read_first_bytes(image, BOOT_CODE_SIZE))
    ):
        raise UsageError(
            f"{image.name} cannot be started by a BIOS: its first sector has no boot loader",
            fix="boot host.raw, built with the component boot/bios",
        )
    if request.certificate is not None or request.trace:
        feature = "Secure Boot" if request.certificate else "--trace"
        raise UsageError(f"{feature} requires UEFI", fix="boot without --bios")
    port = work / "sercon-port"
    port.write_bytes(SERIAL_PORT)
    port_args = ("-fw_cfg", f"name=etc/sercon-port,file={escape_commas(port)}")
    drive_args = build_boot_drive_args(image, kind, request.attach, request.machine)
    return BootSource((*port_args, *drive_args), _extract_sibling_kernel(image, work))


def _require_uki(image: Path, kind: str, option: str) -> None:
    if kind != "efi":
        raise UsageError(
            f"{option} requires a UKI, and {image.name} is a disk image",
            fix=f"boot host.efi with {option}, or the disk by UEFI",
        )


def _extract_uki(image: Path, work: Path) -> tuple[Path, Path, str]:
    """Write kernel and initramfs of a UKI to `work`; return their paths and the command line."""
    kernel, initramfs, cmdline = read_uki_parts(image)
    (work / "vmlinuz").write_bytes(kernel)
    (work / "initrd").write_bytes(initramfs)
    return work / "vmlinuz", work / "initrd", cmdline


def _extract_sibling_kernel(disk: Path, work: Path) -> Path | None:
    uki = _find_sibling_uki(disk)
    return _extract_uki(uki, work)[0] if uki.is_file() else None


def _find_sibling_uki(disk: Path) -> Path:
    """Path of the UKI on a disk: host.efi for host.raw and for dib's host-dib.qcow2."""
    sibling = disk.with_suffix(".efi")
    dib_sibling = disk.with_name(f"{disk.name.rpartition('-dib')[0]}.efi")
    return sibling if sibling.is_file() else dib_sibling


def _extend_cmdline(line: str, *additions: str) -> str:
    """Append parameters to a kernel command line, before the arguments of init.

    Raises: UsageError when the line becomes longer than the kernel reads.
    """
    extended = append_words(line, split_cmdline(" ".join(additions)))
    limit = MAX_LENGTH["amd64"] - 1
    if len(extended.encode()) > limit:
        count = len(extended.encode()) - len(line.encode())
        raise UsageError(
            f"the kernel command line is {len(line.encode()):,} bytes and the lab adds {count:,}; "
            f"the kernel reads at most {limit:,}",
            fix="shorten kernel.cmdline in the manifest, or boot with --no-ports and no trace",
        )
    return extended


def _build_smbios_args(
    request: BootRequest, image: Path, kind: str, parameters: str
) -> tuple[str, ...]:
    """Build the arguments that hand kernel parameters to systemd's stub in the UKI.

    Raises: UsageError when the stub would append them to the arguments of init.
    """
    added = _build_trace_cmdline(request, image, kind)
    if request.certificate is None:
        added = f"{added} {parameters}".strip()
    if not added:
        return ()
    uki = image if kind == "efi" else _find_sibling_uki(image)
    if uki.is_file():
        own_cmdline = read_cmdline(uki)
        if _extend_cmdline(own_cmdline, added) != f"{own_cmdline} {added}".lstrip():
            raise UsageError(
                "the image's command line has arguments for init (after --), and the lab's "
                "parameters would follow them",
                fix="boot with --direct, or with --no-ports",
            )
    return ("-smbios", f"type=11,value={STUB_CMDLINE_KEY}={added.replace(',', ',,')}")


def _build_trace_cmdline(request: BootRequest, image: Path, kind: str) -> str:
    """Build the kernel parameters that trace, for the kernel release of the image's UKI."""
    if request.certificate is not None and request.firmware is not Firmware.DIRECT:
        if not request.trace:
            return ""
        raise UsageError(
            "--trace adds kernel parameters, which Secure Boot does not allow",
            fix="trace without the certificate, or with --direct",
        )
    uki = image if kind == "efi" else _find_sibling_uki(image)
    release = read_kernel_release(uki) if request.trace and uki.is_file() else ""
    return _build_kprobe_cmdline(request, release)


def _build_kprobe_cmdline(request: BootRequest, release: str) -> str:
    """Build the kernel parameters that print opened files and ports; "" when none are traced."""
    file_probes = kprobes.build_file_kprobes(release) if request.trace else ()
    port_probes = kprobes.build_port_kprobes() if request.ports else ()
    probes = ";".join((*file_probes, *port_probes))
    return f"tp_printk kprobe_event={probes}" if probes else ""


def make_served_directory(image: Path, work: Path) -> Path:
    """Make the directory of files that the lab's servers offer: the UKI, as host.efi."""
    directory = work / SERVED_DIRECTORY
    directory.mkdir()
    (directory / BOOT_FILE).symlink_to(image)
    return directory


def require_http_support(firmware: Firmware, network: Decision) -> None:
    """Refuse HTTP boot on QEMU's user network, which has no HTTP server.

    Raises: UsageError.
    """
    if firmware is Firmware.HTTP and network.name != Network.NAMESPACE:
        raise UsageError(
            f"HTTP boot needs the lab's own DHCP server: {network.reason}",
            fix="boot with --pxe, which works on QEMU's user network, or allow user namespaces",
        )


def build_netboot_dnsmasq_args(firmware: Firmware, work: Path) -> tuple[str, ...]:
    """Build dnsmasq's arguments for a firmware that boots from the network.

    Source: dnsmasq(8).
    """
    if firmware is Firmware.PXE:
        return (
            "--enable-tftp",
            f"--tftp-root={work / SERVED_DIRECTORY}",
            f"--dhcp-boot={BOOT_FILE}",
        )
    if firmware is Firmware.HTTP:
        # UEFI 2.10, 24.7.3: the class in the answer must be HTTPClient, too
        return (
            "--dhcp-vendorclass=set:http,HTTPClient",
            "--dhcp-option-force=tag:http,60,HTTPClient",
            f"--dhcp-boot=tag:http,http://{SERVER_ADDRESS}/{BOOT_FILE}",
        )
    return ()


ECHO_PORT = 7
USER_NETWORK_ADDRESS = "10.0.2.100"
"""The only address that a machine reaches on QEMU's user network, and one port of it.

Source: qemu(1), "-netdev user".
"""
CONSOLE_ARGS = (
    *("-chardev", "stdio,id=c,mux=on,signal=off"),
    *("-serial", "chardev:c"),
    *("-mon", "chardev=c,mode=readline"),
)
"""Serial console and monitor on stdin and stdout."""


def build_qemu_args(
    request: BootRequest,
    tools: Tools,
    source: BootSource,
    data_disk: Path | None,
    accel: Decision,
    echo_reachable: bool | None,
) -> tuple[str, ...]:
    """Build QEMU's arguments for the whole machine, its console on stdin and stdout.

    `echo_reachable`: whether the lab's TCP server is reachable on QEMU's user network; None when
    the machine is on the lab's network.
    """
    size_args = ("-smp", str(request.cpus), "-m", str(request.memory))
    args = ["-M", "q35", *build_accel_args(accel.name, xen=source.xen), *size_args]
    args += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    args += [*build_data_directory_args(tools), *source.args]
    if request.faults.clock:
        args += ["-rtc", f"base={request.faults.clock}"]
    if request.machine is Machine.METAL:
        args += [*METAL_ARGS, *build_metal_disk_args(data_disk, request.disks)]
    else:
        args += _build_virtual_args(request, data_disk)
    for number in range(request.cards):
        args += _build_card_args(number, request, source.served_directory, echo_reachable)
    return (*args, *CONSOLE_ARGS)


def _build_virtual_args(request: BootRequest, data_disk: Path | None) -> tuple[str, ...]:
    """Build the arguments of a virtual machine's disks, watchdog and random numbers."""
    # the watchdog resets a machine that hangs, once the host uses it; any reset ends QEMU
    args = ["-device", "i6300esb"]
    if data_disk is not None:
        args += build_disk_args(data_disk.absolute(), "raw", writable=True)
    for path in request.disks:
        args += build_disk_args(path.absolute(), detect_drive_format(path), writable=False)
    # OVMF's network stack needs random numbers, too
    args += ["-object", "rng-random,id=r,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r"]
    return tuple(args)


def _build_card_args(
    number: int,
    request: BootRequest,
    served_directory: Path | None,
    echo_reachable: bool | None,
) -> tuple[str, ...]:
    """Build the arguments of a network card; a firmware boots from the first one."""
    firmware = request.firmware
    model = CARD_MODELS[number % len(CARD_MODELS)]
    if request.machine is Machine.VIRTIO:
        model = "virtio-net-pci"
    netdev_arg = build_netdev_arg(number)
    if echo_reachable is not None:
        tftp_arg = _build_tftp_arg(firmware, served_directory)
        netdev_arg = f"user,id=n{number},restrict=on{tftp_arg}"
        netdev_arg += _build_guestfwd_arg() if echo_reachable else ""
    # romfile= : without a boot ROM the firmware does not try the network first
    boot_index = ",bootindex=1" if firmware.is_netboot and not number else ""
    card = f"{model},netdev=n{number},mac={make_mac(number)},romfile={boot_index}"
    return ("-netdev", netdev_arg, "-device", card)


def _build_tftp_arg(firmware: Firmware, directory: Path | None) -> str:
    """Build the option by which QEMU's user network offers the image by TFTP."""
    if firmware is Firmware.PXE and directory is not None:
        return f",tftp={str(directory).replace(',', ',,')},bootfile={BOOT_FILE}"
    return ""


def _build_guestfwd_arg() -> str:
    """Forward the echo port to a program that QEMU starts for each connection.

    A character device instead of a program would serve the first connection only.
    """
    program = shlex.join((sys.executable, "-IS", echo_pipe.__file__))
    return f",guestfwd=tcp:{USER_NETWORK_ADDRESS}:{ECHO_PORT}-cmd:{program.replace(',', ',,')}"
