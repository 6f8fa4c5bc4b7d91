"""Images of a host: every format, and the order in which they are made from each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.image import grub
from minbuild.image.boot_media import (
    DerivedIds,
    find_esp_number,
    list_boot_files,
    make_disk,
    make_iso,
    write_pxe_directory,
)
from minbuild.image.initramfs_segments import (
    ContentClass,
    InitramfsSegment,
    concatenate_segments,
)
from minbuild.image.publish import Outputs
from minbuild.image.qemu_formats import convert_disk
from minbuild.image.tar_cpio import write_cpio, write_tar
from minbuild.image.ukify import UEFI_NAMES, UkiParts, build_uki, build_xen_image, sign_uki
from minbuild.manifest.image_settings import (
    Compression,
    DiskSettings,
    ImageFormat,
    PartitionType,
    SigningSettings,
)
from minbuild.paths import RootPath
from minbuild.progress import Progress
from minbuild.rootfs.model import RootfsTree
from minbuild.toolbox.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class FormatInput:
    """What every format is made from."""

    parts: UkiParts
    identity: DerivedIds
    toolbox: Toolbox
    work: Path
    """A directory for what is needed on the way."""
    prerequisites: Mapping[ImageFormat, Path]
    """The formats that were made before."""
    tree: RootfsTree
    content: Callable[[str], bytes]
    """Gives the bytes of a digest."""
    name: str
    """Of the outputs: host for host.efi."""
    disk: DiskSettings | None
    sign: SigningSettings | None = None


@dataclass(frozen=True, slots=True)
class FormatWriter:
    """One way to write an image."""

    suffix: str
    """host.SUFFIX"""
    write: Callable[[FormatInput, Path], None]
    needs: tuple[ImageFormat, ...] = ()
    """Formats that must be made before."""
    tools: tuple[str, ...] = ()
    """Tools of the toolbox that `make` starts, beside those of `needs`."""


def _write_uki(source: FormatInput, output: Path) -> None:
    if source.parts.xen is None:
        build_uki(source.parts, output, source.work, source.toolbox)
    else:
        build_xen_image(source.parts, source.parts.xen, output)
    if source.sign is not None:
        sign_uki(output, source.sign, source.work, source.toolbox)


def _write_raw(source: FormatInput, output: Path) -> None:
    uki = source.prerequisites[ImageFormat.UKI]
    toolbox, spec = source.toolbox, source.disk or DiskSettings()
    if spec.version is not None:
        make_disk(_add_loader(source, uki, spec.version), source.identity, output, toolbox, spec)
        return
    files = list_boot_files(uki, source.parts.arch)
    folder, _, name = next(iter(files)).rpartition("/")
    if spec.bios:
        settings = source.work / grub.GRUB_CFG
        settings.write_text(grub.render_grub_config(source.parts, uki, name), encoding="utf-8")
        files[f"{folder}/{grub.GRUB_CFG}"] = settings
    make_disk(files, source.identity, output, toolbox, spec)
    if spec.bios:
        grub.install_grub(output, find_esp_number(spec), folder, source.work, toolbox)


LOADER_CONF = "loader/loader.conf"
LOADER_SETTINGS = "timeout menu-disabled\neditor no\nauto-entries yes\nauto-firmware no\n"
"""No menu: nobody at the console chooses a version, or makes one the default for ever.

Source: loader.conf(5).
"""


def _add_loader(source: FormatInput, uki: Path, version: int) -> dict[str, Path]:
    """The files of an ESP from which systemd-boot, signed as the UKI is, starts one of several versions.

    Source: UAPI group, Boot Loader Specification, "Type #2" and "Boot counting"; systemd-boot(7).
    """
    names = UEFI_NAMES[source.parts.arch]
    loader, settings = source.work / "systemd-boot.efi", source.work / "loader.conf"
    loader.write_bytes(source.toolbox.find_path(names.loader).read_bytes())
    if source.sign is not None:
        sign_uki(loader, source.sign, source.work, source.toolbox)
    settings.write_text(LOADER_SETTINGS, encoding="ascii")
    return {
        f"EFI/BOOT/{names.boot_file}": loader,
        f"EFI/Linux/{source.name}_{version}.efi": uki,
        LOADER_CONF: settings,
    }


def _write_qemu_format(kind: ImageFormat, source: FormatInput, output: Path) -> None:
    raw = source.prerequisites[ImageFormat.RAW]
    convert_disk(kind, raw, source.identity, output, source.toolbox)


def _write_iso(source: FormatInput, output: Path) -> None:
    files = list_boot_files(source.prerequisites[ImageFormat.UKI], source.parts.arch)
    make_iso(files, source.identity, output, source.work, source.toolbox)


def _write_pxe(source: FormatInput, output: Path) -> None:
    write_pxe_directory(source.parts, source.prerequisites[ImageFormat.UKI], source.name, output)


def _write_tar(source: FormatInput, output: Path) -> None:
    write_tar(source.tree, source.content, output)


def _write_cpio(source: FormatInput, output: Path) -> None:
    write_cpio(source.tree, source.content, output)


_FAT_TOOLS = ("mcopy", "mkfs.fat", "mmd")
_NEEDS_UKI = (ImageFormat.UKI,)


def _make_qemu_writer(kind: ImageFormat, suffix: str = "") -> FormatWriter:
    needs = (ImageFormat.RAW,)
    return FormatWriter(
        suffix or str(kind), partial(_write_qemu_format, kind), needs=needs, tools=("qemu-img",)
    )


FORMATS: Mapping[ImageFormat, FormatWriter] = {
    ImageFormat.UKI: FormatWriter("efi", _write_uki, tools=("ukify",)),
    ImageFormat.RAW: FormatWriter(
        "raw", _write_raw, needs=_NEEDS_UKI, tools=(*_FAT_TOOLS, "sfdisk")
    ),
    ImageFormat.QCOW2: _make_qemu_writer(ImageFormat.QCOW2),
    ImageFormat.VHDX: _make_qemu_writer(ImageFormat.VHDX),
    ImageFormat.VMDK: _make_qemu_writer(ImageFormat.VMDK),
    ImageFormat.VMDK_STREAM: _make_qemu_writer(ImageFormat.VMDK_STREAM, "stream.vmdk"),
    ImageFormat.VDI: _make_qemu_writer(ImageFormat.VDI),
    ImageFormat.ISO: FormatWriter(
        "iso", _write_iso, needs=_NEEDS_UKI, tools=(*_FAT_TOOLS, "xorriso")
    ),
    ImageFormat.PXE: FormatWriter("pxe", _write_pxe, needs=_NEEDS_UKI),
    ImageFormat.TAR: FormatWriter("tar", _write_tar),
    ImageFormat.CPIO: FormatWriter("cpio", _write_cpio),
}

PARTITION_TOOLS = {PartitionType.EXT4: ("mke2fs",)}
"""Tools that only some partitions need."""


def add_prerequisites(requested: Sequence[ImageFormat]) -> tuple[ImageFormat, ...]:
    """The formats to make, each after those it needs."""
    ordered: dict[ImageFormat, None] = {}
    for image_format in requested:
        ordered |= dict.fromkeys((*add_prerequisites(FORMATS[image_format].needs), image_format))
    return tuple(ordered)


def list_format_tools(
    requested: Sequence[ImageFormat], compression: Compression, disk: DiskSettings | None = None
) -> tuple[str, ...]:
    """The tools that writing these formats starts, sorted."""
    names = set() if compression is Compression.NONE else {str(compression)}
    for image_format in add_prerequisites(requested):
        names.update(FORMATS[image_format].tools)
    if disk is not None and ImageFormat.RAW in add_prerequisites(requested):
        names.update((grub.GRUB_TOOL,) if disk.bios else ())
        for partition in disk.partitions:
            names.update(PARTITION_TOOLS.get(partition.type, ()))
    return tuple(sorted(names))


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What is to be written."""

    name: str
    """Of the outputs: host for host.efi."""
    arch: str
    tree: RootfsTree
    cmdline: str
    osrel: bytes
    """The content of os-release, which a boot menu shows."""
    formats: tuple[ImageFormat, ...]
    compression: Compression
    seed: str
    """What identifiers follow from: the lock's digest."""
    disk: DiskSettings | None = None
    """None: an ESP alone."""
    sign: SigningSettings | None = None
    """None: nothing is signed."""
    xen_cmdline: str = ""
    """Of the hypervisor, in a tree that has one."""


@dataclass(frozen=True, slots=True)
class WrittenImages:
    """What was written, before it is published."""

    initramfs_size: int
    """Packed bytes of the initramfs, with microcode before it."""
    image_sizes: Mapping[str, int]
    """Bytes of each image by its suffix: {"efi": 14_000_000, "raw": …}."""


def write_images(
    spec: ImageSpec,
    segments: Sequence[InitramfsSegment],
    outputs: Outputs,
    store: Store,
    toolbox: Toolbox,
    progress: Progress,
) -> WrittenImages:
    """Write every image to the staging directory of `outputs`, which publishes them.

    `segments` are the packed initramfs of the tree.
    Raises: ToolError when a tool fails; CacheCorrupted when the cache lost the kernel.
    """
    parts = _gather_parts(spec, segments, store, outputs.work)
    images: dict[ImageFormat, Path] = {}
    for image_format in add_prerequisites(spec.formats):
        name = f"{spec.name}.{FORMATS[image_format].suffix}"
        output = outputs.path(name) if image_format in spec.formats else outputs.work / name
        progress.step(f"writing {name}")
        format_input = FormatInput(
            parts=parts,
            identity=DerivedIds(spec.seed),
            toolbox=toolbox,
            work=outputs.work,
            prerequisites=images,
            tree=spec.tree,
            content=store.require,
            name=spec.name,
            disk=spec.disk,
            sign=spec.sign,
        )
        FORMATS[image_format].write(format_input, output)
        images[image_format] = output
    sizes = {
        FORMATS[image_format].suffix: _measure_size(path) for image_format, path in images.items()
    }
    early_size = parts.microcode.stat().st_size if parts.microcode is not None else 0
    return WrittenImages(early_size + parts.initrd.stat().st_size, sizes)


def _gather_parts(
    spec: ImageSpec, segments: Sequence[InitramfsSegment], store: Store, work: Path
) -> UkiParts:
    """Kernel and hypervisor as the store has them; microcode and initramfs joined in `work`."""
    kernel = _get_verified_path(store, _find_digest(spec.tree, spec.tree.kernel_image))
    hypervisor = spec.tree.hypervisor_image
    xen = hypervisor and _get_verified_path(store, _find_digest(spec.tree, hypervisor))
    early = [one for one in segments if one.content_class == ContentClass.MICROCODE]
    initrd, microcode = work / "initrd", work / "microcode" if early else None
    concatenate_segments([one for one in segments if one not in early], store, initrd)
    if microcode is not None:
        concatenate_segments(early, store, microcode)
    return UkiParts(
        spec.arch, kernel, initrd, spec.cmdline, spec.osrel, spec.tree.kernel_release,
        microcode, xen or None, spec.xen_cmdline,
    )  # fmt: skip


def _measure_size(path: Path) -> int:
    """Bytes of a file, or of all files of a directory."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size


def _get_verified_path(store: Store, sha256: str) -> Path:
    """Where the store holds these bytes, which were checked in this run."""
    path = store.find_verified(sha256)
    if path is None:
        store.require(sha256)  # says what is lost
    assert path is not None
    return path


def _find_digest(tree: RootfsTree, path: RootPath) -> str:
    return next(node.sha256 for node in tree.nodes if node.path == path)
