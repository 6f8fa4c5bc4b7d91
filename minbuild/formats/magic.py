"""Magic numbers: file formats by the bytes at their start."""

from collections.abc import Container
from enum import StrEnum
from mmap import mmap

ELF, SCRIPT, PE = b"\x7fELF", b"#!", b"MZ"
CPIO_NEWC, CPIO_CRC = b"070701", b"070702"
XZ, ZSTD, GZIP, BZIP2, LZMA = b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"BZh", b"\x5d\0\0"
LZ4, LZ4_LEGACY, LZIP, LZOP, COMPRESS = b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18", b"LZIP", b"\x89LZO", b"\x1f\x9d"  # fmt: skip
VMDK, VMDK_DESCRIPTOR = b"KDMV", b"# Disk DescriptorFile"
GPT = b"EFI PART"
BOOT_SIGNATURE = b"\x55\xaa"
"""The end of a boot sector."""


class Format(StrEnum):
    """A file format; the value is its name in messages, of disk images the one for qemu-img."""

    ELF = "ELF"
    SCRIPT = "script"
    PE = "PE"
    """Also a UKI and any other EFI program."""
    CPIO = "cpio"

    XZ = "xz"
    ZSTD = "zstd"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    LZMA = "lzma"
    LZ4 = "lz4"
    LZIP = "lzip"
    LZOP = "lzop"
    COMPRESS = "compress"

    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHDX = "vhdx"
    VDI = "vdi"
    VPC = "vpc"

    GPT = "GPT"
    BOOT_SECTOR = "boot sector"

    EXT4 = "ext4"
    SQUASHFS = "squashfs"
    EROFS = "erofs"
    XFS = "xfs"
    BTRFS = "btrfs"
    F2FS = "F2FS"
    FAT = "FAT"
    NTFS = "NTFS"
    ISO = "ISO 9660"
    LUKS = "LUKS"
    LVM = "LVM"
    SWAP = "swap"


MAGIC_NUMBERS: tuple[tuple[int, bytes, Format], ...] = (
    (0, ELF, Format.ELF),
    (0, SCRIPT, Format.SCRIPT),
    (0, PE, Format.PE),
    (0, CPIO_NEWC, Format.CPIO),
    (0, CPIO_CRC, Format.CPIO),
    (0, XZ, Format.XZ),
    (0, ZSTD, Format.ZSTD),
    (0, GZIP, Format.GZIP),
    (0, BZIP2, Format.BZIP2),
    (0, LZMA, Format.LZMA),
    (0, LZ4, Format.LZ4),
    (0, LZ4_LEGACY, Format.LZ4),
    (0, LZIP, Format.LZIP),
    (0, LZOP, Format.LZOP),
    (0, COMPRESS, Format.COMPRESS),
    (0, b"QFI\xfb", Format.QCOW2),
    (0, VMDK, Format.VMDK),
    (0, VMDK_DESCRIPTOR, Format.VMDK),
    (0, b"vhdxfile", Format.VHDX),
    (0x40, b"\x7f\x10\xda\xbe", Format.VDI),
    (0, b"conectix", Format.VPC),
    (0x438, b"\x53\xef", Format.EXT4),
    (0, b"hsqs", Format.SQUASHFS),
    (0x400, b"\xe2\xe1\xf5\xe0", Format.EROFS),
    (0, b"XFSB", Format.XFS),
    (0x10040, b"_BHRfS_M", Format.BTRFS),
    (0, b"LUKS\xba\xbe", Format.LUKS),
    (0x400, b"\x10\x20\xf5\xf2", Format.F2FS),
    (3, b"NTFS    ", Format.NTFS),
    (54, b"FAT", Format.FAT),
    (82, b"FAT32", Format.FAT),
    (0x8001, b"CD001", Format.ISO),
    (4086, b"SWAPSPACE2", Format.SWAP),
    *((512 * sector, b"LABELONE", Format.LVM) for sector in range(4)),
    *((sector_size, GPT, Format.GPT) for sector_size in (512, 1024, 2048, 4096)),
    (510, BOOT_SIGNATURE, Format.BOOT_SECTOR),
)
"""(offset, bytes there, format); where several match, the first counts."""

HEAD_SIZE = max(offset + len(magic) for offset, magic, _ in MAGIC_NUMBERS)
"""Bytes of a file that tell its format."""

DISK_IMAGES = (Format.QCOW2, Format.VMDK, Format.VHDX, Format.VDI, Format.VPC)
"""Disk images of hypervisors."""
ROOT_FILE_SYSTEMS = (
    Format.EXT4, Format.SQUASHFS, Format.EROFS, Format.XFS, Format.BTRFS, Format.F2FS,
)  # fmt: skip
"""File systems that a Linux root can be on."""
PARTITION_CONTENTS = (
    *ROOT_FILE_SYSTEMS, Format.FAT, Format.NTFS, Format.ISO, Format.LUKS, Format.LVM, Format.SWAP,
)  # fmt: skip
"""Formats of what is in a partition."""
DISKS = (*DISK_IMAGES, Format.GPT, Format.BOOT_SECTOR, *PARTITION_CONTENTS)
"""Formats of a whole disk."""


def detect_format(data: bytes | mmap, among: Container[Format], start: int = 0) -> Format | None:
    """Return the format of the bytes from `start` on, if it is one of `among`."""
    return next(
        (
            kind
            for offset, magic, kind in MAGIC_NUMBERS
            if kind in among and data[start + offset : start + offset + len(magic)] == magic
        ),
        None,
    )


def has_magic(data: bytes | mmap, kind: Format, start: int = 0) -> bool:
    """Tell whether the bytes from `start` on have the magic number of a format."""
    return detect_format(data, (kind,), start) is not None
