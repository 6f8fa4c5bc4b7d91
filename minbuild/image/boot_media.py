"""Boot media: a GPT disk with an EFI System Partition (ESP), an ISO image with one, and a directory
for network boot."""

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.image import grub
from minbuild.image.disk_layout import (
    ROOT_ENTRIES,
    SECTOR,
    DiskLayout,
    PartitionPlan,
    compute_smallest_fat,
    plan_disk,
)
from minbuild.image.ukify import UEFI_NAMES, UkiParts
from minbuild.manifest.image_settings import DiskSettings, PartitionType
from minbuild.toolbox.toolbox import Toolbox

ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
"""Type of an EFI System Partition. Source: UEFI 2.10, 5.3.3."""
LINUX_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
"""Source: UAPI group, Discoverable Partitions Specification: generic Linux data."""
BASIC_TYPE = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
"""Basic data, readable by every system. Source: Microsoft, PARTITION_BASIC_DATA_GUID."""
PARTITION_TYPES = {
    PartitionType.ESP: ESP_TYPE,
    PartitionType.EXT4: LINUX_TYPE,
    PartitionType.FAT: BASIC_TYPE,
    PartitionType.EMPTY: LINUX_TYPE,
}
VOLUME_LABEL = "MINBUILD"
SIZE_UNIT = 1024
"""Unit of sizes in the arguments of mke2fs and mkfs.fat."""


@dataclass(frozen=True, slots=True)
class DerivedIds:
    """Identifiers derived from the lock: equal builds get equal ones, other builds other ones."""

    seed: str
    """Digest of what the build is made from."""

    def make_guid(self, name: str) -> str:
        """Make a GUID, version 8 (RFC 9562, 5.8)."""
        raw = bytearray(self._hash_name(name)[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return str(uuid.UUID(bytes=bytes(raw)))

    def make_volume_id(self, name: str) -> str:
        """Make a FAT volume id: 8 hexadecimal digits."""
        return self._hash_name(name)[:4].hex()

    def _hash_name(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.seed}\0{name}".encode()).digest()


def list_boot_files(uki: Path, arch: str) -> dict[str, Path]:
    """List the files of the ESP by their path on it: EFI/BOOT/BOOTX64.EFI → the UKI."""
    return {f"EFI/BOOT/{UEFI_NAMES[arch].boot_file}": uki}


GROWTH = 1.05
"""How much larger the next version may be, where nobody says how large the ESP is."""


def find_esp_number(spec: DiskSettings) -> int:
    """Find the number of the ESP in the partition table, from 1."""
    types = [partition.type for partition in spec.partitions] or [PartitionType.ESP]
    return types.index(PartitionType.ESP) + 1 + spec.bios


def make_disk(
    files: Mapping[str, Path],
    ids: DerivedIds,
    output: Path,
    toolbox: Toolbox,
    spec: DiskSettings | None = None,
) -> None:
    """Write a sparse GPT disk with `files` (path on the ESP → file) on its ESP.

    Without a `spec` the disk is the smallest with an ESP alone.
    Raises: ToolError when a tool fails or a partition is too small.
    """
    sizes = [path.stat().st_size for path in files.values()]
    if spec is not None and spec.version is not None:
        sizes.append(int(max(sizes) * GROWTH))  # the next version
    plan = plan_disk(spec or DiskSettings(), sizes, len(_list_directories(files)))
    with output.open("wb") as disk:
        disk.truncate(plan.size)
    _write_partition_table(plan, ids, output, toolbox)
    for number, partition in enumerate(plan.partitions):
        _format_partition(partition, _make_id_key(partition, number), ids, output, toolbox)
        if partition.type is PartitionType.ESP:
            _fill_esp(files, output, partition.start, toolbox)


def make_esp(files: Mapping[str, Path], ids: DerivedIds, output: Path, toolbox: Toolbox) -> None:
    """Write the file system of an ESP, without a partition table.

    Raises: ToolError when a tool fails.
    """
    fat = compute_smallest_fat(
        [path.stat().st_size for path in files.values()], len(_list_directories(files))
    )
    with output.open("wb") as disk:
        disk.truncate(fat.sectors * SECTOR)
    partition = PartitionPlan(0, fat.sectors * SECTOR, PartitionType.ESP, "", "", fat)
    _format_partition(partition, "esp", ids, output, toolbox)
    _fill_esp(files, output, 0, toolbox)


def _make_id_key(partition: PartitionPlan, number: int) -> str:
    """Make the name from which a partition's identifiers are derived."""
    return "esp" if partition.type is PartitionType.ESP else f"partition {number}"


def _fill_esp(files: Mapping[str, Path], output: Path, start: int, toolbox: Toolbox) -> None:
    drive, created = f"{output}@@{start}", set[str]()
    for name, path in sorted(files.items()):
        purpose = f"filling the ESP: {name}"
        missing = [directory for directory in _list_directories([name]) if directory not in created]
        created.update(missing)
        if (
            missing
            and "/" not in missing[0]
            and _copy_with_directories(name, path, output, start, toolbox)
        ):
            continue
        if missing:
            toolbox.run(
                "mmd", ["-i", drive, *(f"::{directory}" for directory in missing)], purpose=purpose
            )
        # -Q: no question, an error; without -m the time is SOURCE_DATE_EPOCH
        toolbox.run("mcopy", ["-i", drive, "-Q", path, f"::{name}"], purpose=purpose)


def _copy_with_directories(
    name: str, path: Path, output: Path, start: int, toolbox: Toolbox
) -> bool:
    """Copy a file with its parent directories by one mcopy; False where that is not possible."""
    with tempfile.TemporaryDirectory(dir=output.parent) as work:
        link, top = Path(work, name), Path(work, name.partition("/")[0])
        link.parent.mkdir(parents=True)
        try:
            os.link(path, link)
        except OSError:  # no hard links, or another file system
            return False
        args = ("-i", f"{output}@@{start}", "-Q", "-s", top, "::")
        toolbox.run("mcopy", args, purpose=f"filling the ESP: {name}")
    return True


def _list_directories(files: Iterable[str]) -> Sequence[str]:
    """List all parent directories of these paths, outer ones first."""
    directories = set()
    for name in files:
        parts = name.split("/")[:-1]
        directories |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    return sorted(directories)


def _write_partition_table(
    plan: DiskLayout, ids: DerivedIds, output: Path, toolbox: Toolbox
) -> None:
    loader = (
        f"start={grub.FIRST_SECTOR}, size={grub.END_SECTOR - grub.FIRST_SECTOR}, type={grub.BIOS_PARTITION_TYPE}, "
        f'uuid={ids.make_guid("bios boot")}, name="{grub.BIOS_PARTITION_NAME}"\n'
    )
    script = f"label: gpt\nlabel-id: {ids.make_guid('disk')}\nfirst-lba: 34\n"
    script += (loader if plan.bios else "") + "".join(
        f"start={partition.start // SECTOR}, size={partition.size // SECTOR}, type={PARTITION_TYPES[partition.type]}, "
        f'uuid={ids.make_guid(_make_id_key(partition, number))}, name="{_quote_name(partition.name)}"\n'
        for number, partition in enumerate(plan.partitions)
    )
    args: list[str | Path] = ["--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", output]
    toolbox.run("sfdisk", args, purpose="writing the partition table", stdin=script.encode())


def _quote_name(name: str) -> str:
    """Quote a name for sfdisk's script. Source: libfdisk, script.c: \\xHH, as in printf."""
    return name.replace("\\", "\\x5c").replace('"', "\\x22")


def _format_partition(
    partition: PartitionPlan, key: str, ids: DerivedIds, output: Path, toolbox: Toolbox
) -> None:
    match partition.type:
        case PartitionType.ESP | PartitionType.FAT:
            _format_fat(partition, key, ids, output, toolbox)
        case PartitionType.EXT4:
            _format_ext4(partition, key, ids, output, toolbox)
        case PartitionType.EMPTY:
            pass


def _format_fat(
    partition: PartitionPlan, key: str, ids: DerivedIds, output: Path, toolbox: Toolbox
) -> None:
    fat = partition.fat
    assert fat is not None
    label = partition.label or (VOLUME_LABEL if partition.type is PartitionType.ESP else "")
    args: list[str | Path] = [
        "--invariant",
        "-a",
        *("-F", str(fat.bits)),
        *("-s", str(fat.cluster_size // SECTOR)),
        *("-S", str(SECTOR)),
        *(("-r", str(ROOT_ENTRIES)) if fat.bits == 16 else ()),
        *("-h", str(partition.start // SECTOR)),
        *("-i", ids.make_volume_id(key)),
        *(("-n", label) if label else ()),
        f"--offset={partition.start // SECTOR}",
        output,
        str(fat.sectors * SECTOR // SIZE_UNIT),
    ]
    toolbox.run("mkfs.fat", args, purpose=f"formatting the {partition.name or 'ESP'} partition")


def _format_ext4(
    partition: PartitionPlan, key: str, ids: DerivedIds, output: Path, toolbox: Toolbox
) -> None:
    """Make an ext4 file system in place; the disk is new, so its tables are zero already."""
    extended = (
        f"offset={partition.start},root_owner=0:0,nodiscard,assume_storage_prezeroed=1,"
        f"hash_seed={ids.make_guid(f'{key} hash')}"
    )
    args: list[str | Path] = [
        *("-t", "ext4", "-q", "-F", "-m", "0"),
        *("-U", ids.make_guid(f"{key} file system")),
        *(("-L", partition.label) if partition.label else ()),
        *("-E", extended),
        output,
        f"{partition.size // SIZE_UNIT}k",
    ]
    toolbox.run("mke2fs", args, purpose=f"formatting the {partition.name} partition")


def make_iso(
    files: Mapping[str, Path], ids: DerivedIds, output: Path, work: Path, toolbox: Toolbox
) -> None:
    """Write an ISO image with `files` (path on the ESP → file) on its ESP.

    Raises: ToolError when a tool fails.
    """
    esp, empty = work / "esp.img", work / "iso"
    make_esp(files, ids, esp, toolbox)
    empty.mkdir()
    epoch = toolbox.build_environment()["SOURCE_DATE_EPOCH"]
    args: list[str | Path] = [
        *("-no_rc", "-as", "mkisofs", "-quiet", "-volid", VOLUME_LABEL, "-rational-rock"),
        # the dates and identifiers would depend on the clock; -rational-rock hides the user
        *("--set_all_file_dates", f"={epoch}", "--gpt_disk_guid", ids.make_guid("iso")),
        *("-append_partition", "2", ESP_TYPE, esp, "-appended_part_as_gpt"),
        *("-e", "--interval:appended_partition_2:all::", "-no-emul-boot"),
        *("-output", output, empty),
    ]
    toolbox.run("xorriso", args, purpose=f"writing {output.name}")


KERNEL_NAME, INITRD_NAME = "vmlinuz", "initrd"
IPXE_SCRIPT = "boot.ipxe"
DNSMASQ_CONF = "dnsmasq.conf"

IPXE_ADDED_BYTES = len(f" initrd={INITRD_NAME}")
"""Bytes that the script adds to a command line."""
_SEPARATORS = ("||", "&&", ";")

DNSMASQ_TEMPLATE = """\
# dnsmasq --conf-file={settings}, with this folder as tftp-root: hands {uki} to UEFI machines,
# by TFTP or, to those that ask so, by HTTP; iPXE is given {script}.
enable-tftp
tftp-root=/srv/{folder}
dhcp-range=192.0.2.50,192.0.2.99,12h
# client architectures: RFC 4578, 2.1 and IANA's list; 7, 9: UEFI x86-64, 11: UEFI arm64
dhcp-match=set:ipxe,175
dhcp-match=set:uefi,option:client-arch,7
dhcp-match=set:uefi,option:client-arch,9
dhcp-match=set:uefi,option:client-arch,11
dhcp-vendorclass=set:http,HTTPClient
dhcp-option-force=tag:http,60,HTTPClient
dhcp-boot=tag:http,http://192.0.2.1/{uki}
dhcp-boot=tag:ipxe,{script}
dhcp-boot=tag:uefi,tag:!ipxe,{uki}
"""

IPXE_TEMPLATE = """\
#!ipxe
# UEFI starts the one file; a BIOS starts kernel and initramfs. What iPXE says behind a name is the
# whole command line, and nothing would be none: what is in the file is said again
iseq ${{platform}} efi && chain {uki} {cmdline} ||
kernel {kernel} {cmdline} initrd={initrd}
initrd {initrd}
boot
"""


def find_ipxe_problem(word: str) -> str:
    """Find out why iPXE would change a word of the kernel's command line; "" when it does not.

    Source: iPXE, core/exec.c: words are separated at blanks, whatever the quotes, and joined by
    one blank each; core/settings.c, expand_settings.
    """
    pieces = word.split(" ")
    separator = next((piece for piece in pieces if piece in _SEPARATORS), "")
    if separator:
        return f"{separator} begins another command"
    if any(piece.startswith("#") for piece in pieces):
        return "# begins a comment"
    if "${" in word:
        return "${ begins a setting of iPXE"
    return "several spaces in a row become one" if "" in pieces else ""


def write_pxe_directory(parts: UkiParts, uki: Path, name: str, output: Path) -> None:
    """Fill the directory `output` with kernel, initramfs, UKI and settings for dnsmasq and iPXE."""
    output.mkdir()
    shutil.copyfile(parts.linux, output / KERNEL_NAME)
    with (output / INITRD_NAME).open("wb") as initrd:
        for part in filter(None, (parts.microcode, parts.initrd)):
            initrd.write(part.read_bytes())
    shutil.copyfile(uki, output / f"{name}.efi")
    values = {
        "uki": f"{name}.efi",
        "folder": output.name,
        "kernel": KERNEL_NAME,
        "initrd": INITRD_NAME,
        "script": IPXE_SCRIPT,
        "settings": DNSMASQ_CONF,
        "cmdline": parts.cmdline,
    }
    (output / DNSMASQ_CONF).write_text(DNSMASQ_TEMPLATE.format(**values), encoding="utf-8")
    (output / IPXE_SCRIPT).write_text(IPXE_TEMPLATE.format(**values), encoding="utf-8")
