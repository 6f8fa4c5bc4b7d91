"""The machine that QEMU makes: its firmware, disks, card and console."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.lab.accel import WORDS, data_words
from minbuild.lab.link import MAC, NETDEV
from minbuild.lab.types import BootRequest, Choice, Firmware, Network, Tools
from minbuild.lab.uki import split
from minbuild.paths import RootPath

OVMF_CODE = RootPath("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = RootPath("/usr/share/OVMF/OVMF_VARS_4M.fd")


@dataclass(frozen=True, slots=True)
class Boot:
    """What the machine starts from, and QEMU's words for it."""

    words: tuple[str, ...]
    kernel: Path | None
    """The image's kernel as a file of its own; None for a disk with no UKI of its name beside it."""


def boot_from(request: BootRequest, tools: Tools, work: Path) -> Boot:
    """Lay out in `work` what QEMU starts from.

    Raises: UsageError for what cannot be booted this way, ToolError for a damaged image.
    """
    for given in (request.image, request.initramfs, request.data, *request.disks):
        if given is not None:
            first_bytes(given)
    image = request.image.absolute()
    if request.initramfs is not None:
        return _direct(image, request.initramfs.absolute(), request.cmdline)
    efi = first_bytes(image) == b"MZ"
    if request.firmware is Firmware.DIRECT:
        if not efi:
            raise UsageError(
                f"{image.name} is a disk: a direct boot needs a kernel",
                fix="boot host.efi with --direct, or the disk by UEFI",
            )
        kernel, initramfs, cmdline = _taken_apart(image, work)
        return _direct(kernel, initramfs, f"{cmdline} {request.cmdline}".strip())
    if request.cmdline:
        raise UsageError(
            "the command line of a UEFI boot is part of the image",
            fix="boot with --direct, or put it into the manifest: kernel.cmdline",
        )
    flash = work / "vars.fd"
    shutil.copyfile(tools.path(OVMF_VARS), flash)
    code = tools.path(OVMF_CODE)
    firmware = (
        *("-drive", f"if=pflash,format=raw,readonly=on,file={comma(code)}"),
        *("-drive", f"if=pflash,format=raw,file={comma(flash)}"),
    )
    if not efi:
        beside = image.with_suffix(".efi")
        own = _taken_apart(beside, work)[0] if beside.is_file() else None
        return Boot((*firmware, *disk(image, "raw", written=False)), own)
    esp = work / "esp" / "EFI" / "BOOT"
    esp.mkdir(parents=True)
    (esp / "BOOTX64.EFI").symlink_to(image)
    stick = f"if=virtio,format=raw,file=fat:{comma(work / 'esp')},readonly=on"
    return Boot((*firmware, "-drive", stick), _taken_apart(image, work)[0])


def first_bytes(path: Path) -> bytes:
    """The first two bytes of a file that the user named: MZ for a UKI.

    Raises: ToolError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(2)
    except OSError as error:
        raise ToolError(
            f"cannot read what shall be booted: {error.strerror}",
            where=str(path),
            fix="check the name, or build it: minbuild make",
        ) from error


def qemu_arguments(
    request: BootRequest, tools: Tools, boot: Boot, data: Path | None, accel: Choice, net: Network
) -> tuple[str, ...]:
    """QEMU's arguments for the whole machine, its console on stdin and stdout."""
    words = ["-M", "q35", *WORDS[accel.name], "-smp", str(request.cpus), "-m", str(request.memory)]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += [*data_words(tools), *boot.words]
    if data is not None:
        words += disk(data.absolute(), "raw", written=True)
    for path in request.disks:
        kind = "qcow2" if path.suffix == ".qcow2" else "raw"
        words += disk(path.absolute(), kind, written=False)
    netdev = NETDEV if net is Network.NAMESPACE else "user,id=n"
    # romfile= : without a boot ROM the firmware does not try the network first
    words += ["-netdev", netdev, "-device", f"virtio-net-pci,netdev=n,mac={MAC},romfile="]
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


def disk(path: Path, kind: str, *, written: bool) -> tuple[str, ...]:
    """QEMU's words for a disk; without `written`, what the machine writes is forgotten."""
    keep = "off" if written else "on"
    return ("-drive", f"if=virtio,format={kind},snapshot={keep},file={comma(path)}")


def comma(path: Path) -> str:
    """Write a path as the value of a QEMU option. Source: qemu(1), "-drive": double each comma."""
    return str(path).replace(",", ",,")


def _direct(kernel: Path, initramfs: Path, cmdline: str) -> Boot:
    words = ("-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline)
    return Boot(words, kernel)


def _taken_apart(image: Path, work: Path) -> tuple[Path, Path, str]:
    kernel, initramfs, cmdline = split(image)
    (work / "vmlinuz").write_bytes(kernel)
    (work / "initrd").write_bytes(initramfs)
    return work / "vmlinuz", work / "initrd", cmdline
