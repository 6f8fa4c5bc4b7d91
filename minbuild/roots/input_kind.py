"""Kinds of input files, detected by their first bytes and by names in a directory."""

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from minbuild.errors import MalformedFile, UsageError
from minbuild.formats.initramfs_compression import find_decompressor
from minbuild.formats.magic import DISKS, HEAD_SIZE, Format, detect_format
from minbuild.formats.region import Region, read_start
from minbuild.formats.tar_members import BLOCK, is_tar_header
from minbuild.roots.oci import is_container_image
from minbuild.roots.oci_blobs import BlobDirectory

FOOTPRINT_NAME = "footprint.json"
BUNDLE_NAMES = ("rootfs", "config.json", "metadata.yaml", "usr")
"""A root in a bundle, the papers beside it, and what only a root itself has."""
FIX = (
    "name a build directory (build/host), footprint.json, an image (host.efi, host.raw, qcow2, "
    "another disk, an initramfs), a root directory, a tar archive of one, a container image "
    "(docker save, OCI layout), or git:REF"
)


class InputKind(StrEnum):
    """What a path names."""

    BUILD = "a build directory"
    DOCUMENT = "a footprint"
    DIRECTORY = "a directory"
    CONTAINER = "a container image in a directory"
    TAR = "a tar archive"
    """Of a root or of a container image: its members tell."""
    UKI = "a UKI"
    INITRAMFS = "an initramfs"
    DISK = "a disk"


_INPUT_KINDS = {
    Format.PE: InputKind.UKI,
    Format.CPIO: InputKind.INITRAMFS,
    **dict.fromkeys(DISKS, InputKind.DISK),
}


def detect_input(path: Path) -> InputKind:
    """Tell what a path names.

    Raises: UsageError when it is not there, cannot be read, or is nothing of the kind.
    """
    try:
        if path.is_dir():
            return _detect_directory(path)
        if not path.is_file():
            raise UsageError(
                "there is no such file" if not os.path.lexists(path) else "this is no regular file",
                where=str(path), fix=FIX,
            )  # fmt: skip
        return _detect_file(Region.from_path(path), path)
    except OSError as error:
        raise UsageError(f"cannot read it: {error.strerror}", where=str(path), fix=FIX) from error


def _detect_directory(path: Path) -> InputKind:
    if (path / FOOTPRINT_NAME).exists():
        return InputKind.BUILD
    if is_container_image(BlobDirectory(path)):
        return InputKind.CONTAINER
    if is_bundle((path / name).exists() for name in BUNDLE_NAMES):
        raise bundle_error(str(path), f"name what it holds: {path / BUNDLE_NAMES[0]}")
    return InputKind.DIRECTORY


def is_bundle(present: Iterable[bool]) -> bool:
    """Tell what stands around a root: which of BUNDLE are there.

    Source: OCI Runtime Specification, bundle.md; Incus, "Image format".
    """
    rootfs, *metadata, is_root = present
    return rootfs and any(metadata) and not is_root


def bundle_error(where: str, fix: str) -> UsageError:
    """The error for a bundle, which is read as a root by mistake."""
    return UsageError("this is a bundle around a root, and no root itself", where=where, fix=fix)


def _detect_file(file: Region, path: Path) -> InputKind:
    head = file.read(0, min(HEAD_SIZE, file.size))
    kind = detect_format(head, _INPUT_KINDS)
    if is_tar_header(head[:BLOCK]):
        if kind is not None or head.startswith(b"{"):
            raise UsageError(
                "it begins as a tar archive and as something else", where=str(path),
                fix="name a file that every reader takes for the same",
            )  # fmt: skip
        return InputKind.TAR
    if head[:2048].lstrip()[:1] == b"{":
        return InputKind.DOCUMENT
    if kind is not None:
        return _INPUT_KINDS[kind]
    if find_decompressor(head) is not None:
        return InputKind.TAR if _is_compressed_tar(file) else InputKind.INITRAMFS
    raise UsageError("unrecognised file format", where=str(path), fix=FIX)


def _is_compressed_tar(file: Region) -> bool:
    try:
        return is_tar_header(read_start(file, BLOCK))
    except MalformedFile:
        return False  # the reader of an initramfs says what is wrong with it
