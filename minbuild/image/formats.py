"""The formats that an image can be written in: one function each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minbuild.image import bios
from minbuild.image.archives import make_cpio, make_tar
from minbuild.image.disk import Identity, esp_number, make_disk, on_esp
from minbuild.image.iso import make_iso
from minbuild.image.netboot import make_folder
from minbuild.image.sign import sign
from minbuild.image.uki import Parts, make_uki
from minbuild.image.virtual import make_virtual
from minbuild.manifest.types import Compression, DiskWish, Holds, ImageFormat, Sign
from minbuild.toolbox.toolbox import Toolbox
from minbuild.tree.types import Tree


@dataclass(frozen=True, slots=True)
class Material:
    """What every format is made from."""

    parts: Parts
    identity: Identity
    toolbox: Toolbox
    work: Path
    """A directory for what is needed on the way."""
    made: Mapping[ImageFormat, Path]
    """The formats that were made before."""
    tree: Tree
    content: Callable[[str], bytes]
    """Gives the bytes of a digest."""
    name: str
    """Of the outputs: host for host.efi."""
    disk: DiskWish | None
    sign: Sign | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write an image."""

    suffix: str
    """host.SUFFIX"""
    make: Callable[[Material, Path], None]
    needs: tuple[ImageFormat, ...] = ()
    """Formats that must be made before."""
    tools: tuple[str, ...] = ()
    """Tools of the toolbox that `make` starts, beside those of `needs`."""


def _uki(material: Material, output: Path) -> None:
    make_uki(material.parts, output, material.work, material.toolbox)
    if material.sign is not None:
        sign(output, material.sign, material.work, material.toolbox)


def _raw(material: Material, output: Path) -> None:
    uki = material.made[ImageFormat.UKI]
    toolbox, wish = material.toolbox, material.disk or DiskWish()
    files = on_esp(uki, material.parts.arch)
    folder, _, name = next(iter(files)).rpartition("/")
    if wish.bios:
        settings = material.work / bios.SETTINGS
        settings.write_text(bios.settings(material.parts, uki, name), encoding="utf-8")
        files[f"{folder}/{bios.SETTINGS}"] = settings
    make_disk(files, material.identity, output, toolbox, wish)
    if wish.bios:
        bios.install(output, esp_number(wish), folder, material.work, toolbox)


def _virtual(kind: ImageFormat, material: Material, output: Path) -> None:
    raw = material.made[ImageFormat.RAW]
    make_virtual(kind, raw, material.identity, output, material.toolbox)


def _iso(material: Material, output: Path) -> None:
    files = on_esp(material.made[ImageFormat.UKI], material.parts.arch)
    make_iso(files, material.identity, output, material.work, material.toolbox)


def _pxe(material: Material, output: Path) -> None:
    make_folder(material.parts, material.made[ImageFormat.UKI], material.name, output)


def _tar(material: Material, output: Path) -> None:
    make_tar(material.tree, material.content, output)


def _cpio(material: Material, output: Path) -> None:
    make_cpio(material.tree, material.content, output)


_FAT = ("mcopy", "mkfs.fat", "mmd")
_OF_UKI = (ImageFormat.UKI,)


def _of_raw(kind: ImageFormat, suffix: str = "") -> Format:
    needs = (ImageFormat.RAW,)
    return Format(suffix or str(kind), partial(_virtual, kind), needs=needs, tools=("qemu-img",))


FORMATS: Mapping[ImageFormat, Format] = {
    ImageFormat.UKI: Format("efi", _uki, tools=("ukify",)),
    ImageFormat.RAW: Format("raw", _raw, needs=_OF_UKI, tools=(*_FAT, "sfdisk")),
    ImageFormat.QCOW2: _of_raw(ImageFormat.QCOW2),
    ImageFormat.VHDX: _of_raw(ImageFormat.VHDX),
    ImageFormat.VMDK: _of_raw(ImageFormat.VMDK),
    ImageFormat.VMDK_STREAM: _of_raw(ImageFormat.VMDK_STREAM, "stream.vmdk"),
    ImageFormat.VDI: _of_raw(ImageFormat.VDI),
    ImageFormat.ISO: Format("iso", _iso, needs=_OF_UKI, tools=(*_FAT, "xorriso")),
    ImageFormat.PXE: Format("pxe", _pxe, needs=_OF_UKI),
    ImageFormat.TAR: Format("tar", _tar),
    ImageFormat.CPIO: Format("cpio", _cpio),
}

OF_DISK = {Holds.EXT4: ("mke2fs",)}
"""Tools that only some partitions need."""


def in_order(wanted: Sequence[ImageFormat]) -> tuple[ImageFormat, ...]:
    """The formats to make, each after those it needs."""
    found: dict[ImageFormat, None] = {}
    for each in wanted:
        found |= dict.fromkeys((*in_order(FORMATS[each].needs), each))
    return tuple(found)


def tools(
    wanted: Sequence[ImageFormat], compression: Compression, disk: DiskWish | None = None
) -> tuple[str, ...]:
    """The tools that writing these formats starts, sorted."""
    found = set() if compression is Compression.NONE else {str(compression)}
    for each in in_order(wanted):
        found.update(FORMATS[each].tools)
    if disk is not None and ImageFormat.RAW in in_order(wanted):
        found.update((bios.TOOL,) if disk.bios else ())
        for partition in disk.partitions:
            found.update(OF_DISK.get(partition.holds, ()))
    return tuple(sorted(found))
