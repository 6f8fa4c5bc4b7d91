"""The machine that QEMU makes: its firmware, disks, card and console."""

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.lab import netboot, ports, relay, trace
from minbuild.lab.accel import WORDS, data_words
from minbuild.lab.link import mac, netdev
from minbuild.lab.media import comma, disk, first_bytes, kind_of, medium
from minbuild.lab.types import BootRequest, Choice, Firmware, Tools
from minbuild.lab.uki import line, release
from minbuild.lab.uki import split as parts
from minbuild.lab.varstore import enrolled
from minbuild.manifest.cmdline import LARGEST, add, split
from minbuild.paths import RootPath

OVMF_CODE = RootPath("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_SECURE = RootPath("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
OVMF_VARS = RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")

EXTRA = "io.systemd.stub.kernel-cmdline-extra"
"""What systemd's stub adds to the command line in the UKI. Source: systemd-stub(7), smbios-type-11(7)."""

BOOT_CODE = 440
"""Bytes of a disk's first sector that are no table."""
ECHO_PORT = 7
DOOR = "10.0.2.100"
"""All that a machine on QEMU's own network reaches: one port here. Source: qemu(1), "-netdev user"."""
SERIAL_PORT = b"\xf8\x03"
"""COM1. Source: SeaBIOS, docs/Runtime_config.md, etc/sercon-port."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What the machine starts from, and QEMU's words for it."""

    words: tuple[str, ...]
    kernel: Path | None
    """The image's kernel as a file of its own; None for a disk with no UKI of its name beside it."""
    folder: Path | None = None
    """What the lab's servers hand out, for a machine that starts from the network."""


def boot_from(request: BootRequest, tools: Tools, work: Path, settings: str = "") -> Boot:
    """Lay out in `work` what QEMU starts from; its kernel is told `settings` where that can be.

    Raises: UsageError for what cannot be booted this way, ToolError for a damaged image.
    """
    for given in (request.image, request.initramfs, request.data, *request.disks):
        if given is not None:
            first_bytes(given, 1)
    image = request.image.absolute()
    if request.initramfs is not None:
        longer = _longer(request.cmdline, _watching(request, ""), settings)
        return _direct(image, request.initramfs.absolute(), longer)
    kind = kind_of(image)
    if request.firmware is Firmware.DIRECT:
        _must_be_efi(image, kind, "a direct boot needs a kernel", "--direct")
        kernel, initramfs, cmdline = _taken_apart(image, work)
        longer = _longer(cmdline, request.cmdline, _traced(request, image, kind), settings)
        return _direct(kernel, initramfs, longer)
    if request.cmdline:
        raise UsageError(
            "the command line is part of the image",
            fix="boot with --direct, or put it into the manifest: kernel.cmdline",
        )
    if request.firmware is Firmware.BIOS:
        return _by_bios(request, image, kind, work)
    flash = flash_words(tools, work, request.certificate)
    added = _traced(request, image, kind)
    if request.certificate is None:
        added = f"{added} {settings}".strip()
    uki = image if kind == "efi" else _beside(image)
    if added and uki.is_file() and _longer(line(uki), added) != f"{line(uki)} {added}".lstrip():
        raise UsageError(
            "the image's command line has words for init (--), and what the lab adds follows them",
            fix="boot with --direct, or with --no-ports",
        )
    more = ("-smbios", f"type=11,value={EXTRA}={added.replace(',', ',,')}") if added else ()
    return _by_uefi(request, image, kind, (*flash, *more), work)


def _longer(line: str, *more: str) -> str:
    """A command line with more words, which the kernel sees last.

    Raises: UsageError when the kernel does not read all of it.
    """
    longer = add(line, split(" ".join(more)))
    most = LARGEST["amd64"] - 1
    if len(longer.encode()) > most:
        count = len(longer.encode()) - len(line.encode())
        raise UsageError(
            f"the command line has {len(line.encode()):,} bytes, and the lab adds {count:,}: the "
            f"kernel reads {most:,}",
            fix="shorten kernel.cmdline in the manifest, or boot with --no-ports and no trace",
        )
    return longer


def _traced(request: BootRequest, image: Path, kind: str) -> str:
    """The kernel parameters for tracing, by the release that the UKI or the one beside it names."""
    if request.certificate is not None and request.firmware is not Firmware.DIRECT:
        if not request.trace:
            return ""
        raise UsageError(
            "under Secure Boot the image takes no further command line, which tracing needs",
            fix="trace without the certificate, or with --direct",
        )
    uki = image if kind == "efi" else _beside(image)
    return _watching(request, release(uki) if request.trace and uki.is_file() else "")


def _watching(request: BootRequest, release: str) -> str:
    """The kernel parameters by which it tells what is opened; "" when nobody asked."""
    files = trace.words(release) if request.trace else ()
    sockets = ports.words() if request.ports else ()
    probes = ";".join((*files, *sockets))
    return f"tp_printk kprobe_event={probes}" if probes else ""


def _by_uefi(
    request: BootRequest, image: Path, kind: str, firmware: tuple[str, ...], work: Path
) -> Boot:
    if request.firmware.by_network:
        _must_be_efi(image, kind, "the network hands out one file", f"--{request.firmware}")
        only = netboot.NO_PXE if request.firmware is Firmware.HTTP else ()
        folder = netboot.folder(image, work)
        return Boot((*firmware, *only), _taken_apart(image, work)[0], folder)
    if kind != "efi":
        drive = medium(image, kind, request.attach)
        return Boot((*firmware, *drive), _kernel_beside(image, work))
    return Boot((*firmware, *application_words(image, work)), _taken_apart(image, work)[0])


def _by_bios(request: BootRequest, image: Path, kind: str, work: Path) -> Boot:
    """SeaBIOS starts the disk; what it prints comes to the serial line too."""
    if kind in {"efi", "iso"} or (kind == "raw" and not any(first_bytes(image, BOOT_CODE))):
        raise UsageError(
            f"{image.name} is nothing that a BIOS starts: its first sector has no boot loader",
            fix="boot host.raw, built with the component boot/bios",
        )
    if request.certificate is not None or request.trace:
        wish = "Secure Boot" if request.certificate else "a traced boot, with its command line,"
        raise UsageError(f"{wish} is nothing that a BIOS can do", fix="boot by UEFI")
    port = work / "sercon-port"
    port.write_bytes(SERIAL_PORT)
    words = ("-fw_cfg", f"name=etc/sercon-port,file={comma(port)}")
    return Boot((*words, *medium(image, kind, request.attach)), _kernel_beside(image, work))


def _kernel_beside(image: Path, work: Path) -> Path | None:
    beside = _beside(image)
    return _taken_apart(beside, work)[0] if beside.is_file() else None


def _beside(disk: Path) -> Path:
    """The UKI that a disk was made of: host.efi for host.raw and for dib's host-dib.qcow2."""
    same = disk.with_suffix(".efi")
    of_dib = disk.with_name(f"{disk.name.rpartition('-dib')[0]}.efi")
    return same if same.is_file() else of_dib


def flash_words(tools: Tools, work: Path, certificate: Path | None) -> tuple[str, ...]:
    """QEMU's words for OVMF, with variables of its own; with a certificate, Secure Boot is on."""
    flash = work / "vars.fd"
    if certificate is None:
        shutil.copyfile(tools.path(OVMF_VARS), flash)
    else:
        template = tools.path(OVMF_VARS).read_bytes()
        text = first_bytes(certificate, 1 << 16).decode("utf-8", "replace")
        flash.write_bytes(enrolled(template, text, str(certificate)))
    return pflash(tools, flash, secure=certificate is not None)


def pflash(tools: Tools, variables: Path, *, secure: bool) -> tuple[str, ...]:
    """QEMU's words for OVMF with these variables, whether or not it is the one for Secure Boot."""
    # the system may not write these variables: only code in system management mode does
    more = ("-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
    code = tools.path(OVMF_SECURE if secure else OVMF_CODE)
    return (
        *(more if secure else ()),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={comma(code)}"),
        *("-drive", f"if=pflash,format=raw,file={comma(variables)}"),
    )


def application_words(application: Path, work: Path) -> tuple[str, ...]:
    """QEMU's words for a stick from which UEFI starts an application."""
    esp = work / "esp" / "EFI" / "BOOT"
    esp.mkdir(parents=True)
    (esp / "BOOTX64.EFI").symlink_to(application)
    stick = f"if=virtio,format=raw,file=fat:{comma(work / 'esp')},readonly=on"
    return ("-drive", stick)


def _must_be_efi(image: Path, kind: str, why: str, option: str) -> None:
    if kind != "efi":
        raise UsageError(
            f"{image.name} is a disk: {why}",
            fix=f"boot host.efi with {option}, or the disk by UEFI",
        )


def qemu_arguments(
    request: BootRequest,
    tools: Tools,
    boot: Boot,
    data: Path | None,
    accel: Choice,
    door: bool | None,
) -> tuple[str, ...]:
    """QEMU's arguments for the whole machine, its console on stdin and stdout.

    `door`: whether it reaches the lab's server on QEMU's own network; None where it is on the lab's.
    """
    words = ["-M", "q35", *WORDS[accel.name], "-smp", str(request.cpus), "-m", str(request.memory)]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    # what resets a machine that hangs, if the host feeds it; any reset ends QEMU
    words += [*data_words(tools), *boot.words, "-device", "i6300esb"]
    if request.trouble.clock:
        words += ["-rtc", f"base={request.trouble.clock}"]
    if data is not None:
        words += disk(data.absolute(), "raw", written=True)
    for path in request.disks:
        words += disk(path.absolute(), kind_of(path), written=False)
    for number in range(request.cards):
        words += _card(number, request.firmware, boot.folder, door)
    # OVMF's network also wants the random numbers
    words += ["-object", "rng-random,id=r,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r"]
    return (
        *words,
        "-chardev",
        "stdio,id=c,mux=on,signal=off",
        "-serial",
        "chardev:c",
        "-mon",
        "chardev=c,mode=readline",
    )


def _card(
    number: int, firmware: Firmware, folder: Path | None, door: bool | None
) -> tuple[str, ...]:
    """A network card; the firmware starts from the first one, if from any."""
    words = netdev(number)
    if door is not None:
        words = f"user,id=n{number},restrict=on{netboot.netdev_words(firmware, folder)}"
        words += _door() if door else ""
    # romfile= : without a boot ROM the firmware does not try the network first
    first = ",bootindex=1" if firmware.by_network and not number else ""
    card = f"virtio-net-pci,netdev=n{number},mac={mac(number)},romfile={first}"
    return ("-netdev", words, "-device", card)


def _door() -> str:
    """Have QEMU run a program for each connection: one that it keeps itself serves only the first."""
    program = shlex.join((sys.executable, "-IS", relay.__file__))
    return f",guestfwd=tcp:{DOOR}:{ECHO_PORT}-cmd:{program.replace(',', ',,')}"


def _direct(kernel: Path, initramfs: Path, cmdline: str) -> Boot:
    words = ("-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline)
    return Boot(words, kernel)


def _taken_apart(image: Path, work: Path) -> tuple[Path, Path, str]:
    kernel, initramfs, cmdline = parts(image)
    (work / "vmlinuz").write_bytes(kernel)
    (work / "initrd").write_bytes(initramfs)
    return work / "vmlinuz", work / "initrd", cmdline
