"""Image settings of a manifest: formats, compression, disk, signature, diskimage-builder and where
it runs."""

from dataclasses import dataclass, field
from enum import StrEnum

from minbuild.manifest.document.nodes import Location


class Compression(StrEnum):
    """Compression of the initramfs."""

    XZ = "xz"
    ZSTD = "zstd"
    NONE = "none"


class ImageFormat(StrEnum):
    """Image formats that minbuild writes itself."""

    UKI = "uki"
    RAW = "raw"
    QCOW2 = "qcow2"
    VHDX = "vhdx"
    VMDK = "vmdk"
    VMDK_STREAM = "vmdk-stream"
    VDI = "vdi"
    ISO = "iso"
    PXE = "pxe"
    TAR = "tar"
    CPIO = "cpio"


class PartitionType(StrEnum):
    """Content of a partition: `type:` in the manifest."""

    ESP = "esp"
    """The EFI System Partition with the host's one file."""
    EXT4 = "ext4"
    FAT = "fat"
    EMPTY = "empty"
    """Zeros."""


@dataclass(frozen=True, slots=True)
class PartitionSettings:
    """One partition of the disk."""

    where: Location
    type: PartitionType
    name: str = ""
    """In the partition table; "" for the default of its type."""
    label: str = ""
    """Of the file system."""
    size: int | None = None
    """Bytes. None: the ESP as small as possible, another the rest of the disk."""


@dataclass(frozen=True, slots=True)
class DiskSettings:
    """Layout of the disk; without partitions, a single ESP."""

    size: int | None = None
    """Bytes; None for as small as possible."""
    partitions: tuple[PartitionSettings, ...] = ()
    bios: bool = False
    """True: bootable by BIOS, too."""
    version: int | None = None
    """Of the host, on a disk where systemd-boot starts one of several versions; None: the disk starts
    the host itself."""


class DibLayout(StrEnum):
    """Layout of an image of diskimage-builder."""

    PLAIN = "plain"
    """One file system over the whole image."""
    GPT = "gpt"
    """ESP, root and data: the layout of the element minbuild-boot."""


class DibFormat(StrEnum):
    """Output formats of diskimage-builder."""

    QCOW2 = "qcow2"
    RAW = "raw"
    TAR = "tar"
    SQUASHFS = "squashfs"


@dataclass(frozen=True, slots=True)
class DibSettings:
    """Images of the host by diskimage-builder."""

    where: Location
    elements: tuple[str, ...] = ()
    """Besides minbuild-root, in the user's order."""
    layout: DibLayout = DibLayout.PLAIN
    formats: tuple[DibFormat, ...] = (DibFormat.QCOW2,)


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """Key and certificate that sign the UKI for UEFI Secure Boot."""

    key: str
    """PEM file on the build machine, or the URI of a key in a token. Source: RFC 7512."""
    certificate: str
    """PEM file on the build machine."""
    module: str = ""
    """The token's PKCS#11 module, a shared library of the build machine; "" for a key in a file."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """All image settings: `image:` of the manifest, with defaults."""

    formats: tuple[ImageFormat, ...] = (ImageFormat.UKI, ImageFormat.RAW)
    compression: Compression = Compression.XZ
    disk: DiskSettings = field(default_factory=DiskSettings)
    dib: tuple[DibSettings, ...] = ()
    sign: SigningSettings | None = None
    """None: not signed."""
    overridden_compression: Compression | None = None
    """The compression in the manifest, if the command line overrides it."""


class DibLocation(StrEnum):
    AUTO = "auto"
    """Here where this machine has all that dib needs, in the builder machine otherwise."""
    HERE = "here"
    VM = "vm"
