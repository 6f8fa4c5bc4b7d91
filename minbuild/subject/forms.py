"""What a path names, told by its first bytes and its names: the one table for all commands."""

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.damage import Damage
from minbuild.facts.root.blobs import Folder
from minbuild.facts.root.container import is_container
from minbuild.facts.root.disk import is_disk
from minbuild.facts.root.members import BLOCK, is_header
from minbuild.facts.root.region import Region, start_of
from minbuild.image.cpio import MAGICS
from minbuild.image.packings import packing

FOOTPRINT = "footprint.json"
_HEAD = 1 << 17
BUNDLE = ("rootfs", "config.json", "metadata.yaml", "usr")
"""A root in a bundle, the papers beside it, and what only a root itself has."""
FIX = (
    "name a build directory (build/host), footprint.json, an image (host.efi, host.raw, qcow2, "
    "another disk, an initramfs), a root directory, a tar archive of one, a container image "
    "(docker save, OCI layout), or git:REF"
)


class Form(StrEnum):
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


def form_of(path: Path) -> Form:
    """Tell what a path names.

    Raises: UsageError when it is not there, cannot be read, or is nothing of the kind.
    """
    try:
        if path.is_dir():
            return _of_directory(path)
        if not path.is_file():
            raise UsageError(
                "there is no such file" if not os.path.lexists(path) else "this is no regular file",
                where=str(path), fix=FIX,
            )  # fmt: skip
        return _of_file(Region.of(path), path)
    except OSError as error:
        raise UsageError(f"cannot read it: {error.strerror}", where=str(path), fix=FIX) from error


def _of_directory(path: Path) -> Form:
    if (path / FOOTPRINT).exists():
        return Form.BUILD
    if is_container(Folder(path)):
        return Form.CONTAINER
    if is_bundle((path / name).exists() for name in BUNDLE):
        raise around_a_root(str(path), f"name what it holds: {path / BUNDLE[0]}")
    return Form.DIRECTORY


def is_bundle(there: Iterable[bool]) -> bool:
    """Tell what stands around a root: which of BUNDLE are there.

    Source: OCI Runtime Specification, bundle.md; Incus, "Image format".
    """
    rootfs, *papers, own = there
    return rootfs and any(papers) and not own


def around_a_root(where: str, fix: str) -> UsageError:
    """The error for a bundle, which is read as a root by mistake."""
    return UsageError("this is a bundle around a root, and no root itself", where=where, fix=fix)


def _of_file(file: Region, path: Path) -> Form:
    head = file.read(0, min(_HEAD, file.size))
    if is_header(head[:BLOCK]):
        if head.startswith((b"MZ", b"{", *MAGICS)) or is_disk(head):
            raise UsageError(
                "it begins as a tar archive and as something else", where=str(path),
                fix="name a file that every reader takes for the same",
            )  # fmt: skip
        return Form.TAR
    if head[:2048].lstrip()[:1] == b"{":
        return Form.DOCUMENT
    if head.startswith(b"MZ"):
        return Form.UKI
    if head.startswith(MAGICS):
        return Form.INITRAMFS
    if is_disk(head):
        return Form.DISK
    if packing(head) is not None:
        return Form.TAR if _is_packed_tar(file) else Form.INITRAMFS
    raise UsageError("nobody knows what this is", where=str(path), fix=FIX)


def _is_packed_tar(file: Region) -> bool:
    try:
        return is_header(start_of(file, BLOCK))
    except Damage:
        return False  # the reader of an initramfs says what is wrong with it
