"""Opening of any root that a path names, by the kind of input: its first bytes, and the names in a
directory."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import MalformedFile, UsageError
from minbuild.formats import magic
from minbuild.formats.cpio import CpioMember
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.initramfs_compression import UnpackTool, find_decompressor
from minbuild.formats.magic import DISKS, HEAD_SIZE, Format, detect_format
from minbuild.formats.qemu_image import convert_to_raw
from minbuild.formats.region import Region, read_start
from minbuild.formats.root_entry import FileType, RootEntry, resolve_usrmerge
from minbuild.formats.tar_members import BLOCK, is_tar_header
from minbuild.formats.uki import read_uki
from minbuild.paths import escape_name
from minbuild.roots import boot_disk
from minbuild.roots.boot_disk import NoUkiOnDisk
from minbuild.roots.directory import Directory
from minbuild.roots.installed_disk import note_unread_partitions, open_disk_root
from minbuild.roots.measured_files import read_image
from minbuild.roots.model import GetReaders, RootSource
from minbuild.roots.oci import ANY_IMAGE, Container, ImageChoice, is_container_image
from minbuild.roots.oci_blobs import BlobArchive, BlobDirectory, BlobStore
from minbuild.roots.root_partition import read_fat_root_options
from minbuild.roots.tarball import UnpackedRoot, open_decompressed, unpack_tar

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


_FILE_TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFLNK: FileType.LINK,
    stat.S_IFDIR: FileType.DIRECTORY,
}


class ImageRoot:
    """The files of an image, as its kernel would unpack them, and that kernel."""

    def __init__(self, path: Path, tool: UnpackTool, raw_disk: Path | None = None) -> None:
        """Read an image; `tool` unpacks what Python does not. `raw_disk`: a disk that is not compressed.

        Raises: UsageError when nothing in it starts, NoUkiOnDisk for a sound disk without one; ToolError.
        """
        self.path = path
        self._tool = tool
        self._raw_disk = raw_disk
        self._members = self._read_members()

    @property
    def name(self) -> str:
        return str(self.path)

    def walk(self) -> Iterator[RootEntry]:
        """Every file, link and directory, sorted; the second name of a file is a hard link.

        Raises: MinbuildError when the image is damaged.
        """
        first_names: dict[int, str] = {}
        for native_path, member in self._members.items():
            kind = _FILE_TYPES.get(stat.S_IFMT(member.mode), FileType.OTHER)
            target = escape_name(member.content) if kind is FileType.LINK else ""
            if (
                kind is FileType.FILE
                and first_names.setdefault(member.inode, native_path) != native_path
            ):
                kind, target = FileType.HARDLINK, first_names[member.inode]
            size = len(member.content) if kind is FileType.FILE else 0
            yield RootEntry(
                resolve_usrmerge(escape_name(native_path), kind), native_path, kind, stat.S_IMODE(member.mode), member.uid, member.gid, size,
                target,
            )  # fmt: skip

    def read(self, native_path: str) -> bytes:
        """The bytes of a file."""
        return self._members[native_path].content

    def read_heads(self, native_paths: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        return ((native_path, self.read(native_path)[:size]) for native_path in native_paths)

    def view(self, native_path: str) -> bytes:
        """The bytes of a file."""
        return self.read(native_path)

    def _read_members(self) -> Mapping[str, CpioMember]:
        data = self._read_disk_uki() if self._raw_disk is not None else read_image(self.path)
        kernel: list[tuple[str, CpioMember]] = []
        machine = 0
        if data.startswith(magic.PE):
            uki = read_uki(data, self.name)
            if uki.uname:
                native_path = f"boot/vmlinuz-{uki.uname}"
                path = resolve_usrmerge(native_path, FileType.FILE)
                kernel_member = CpioMember(path, stat.S_IFREG | 0o644, 0, 0, 0, 1, 0, uki.linux)
                kernel.append((native_path, kernel_member))
            data, machine = uki.initrd, uki.machine
        tree_members = unpack_members(
            data, where=self.name, unpack_tool=self._tool, machine=machine
        )
        return dict(sorted((*kernel, *tree_members.items())))

    def _read_disk_uki(self) -> bytes:
        """The UKI that a disk starts."""
        assert self._raw_disk is not None
        with self._raw_disk.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return boot_disk.find_boot_uki(data, self.name)


IMAGE_ENDINGS = ("efi", "raw", "qcow2", "cpio", "tar")
"""What of a build is read as its image, the first that is there."""


def open_root_source(
    path: Path,
    work: Path,
    get_readers: GetReaders,
    *,
    choice: ImageChoice = ANY_IMAGE,
    skip: Sequence[str] = (),
    prefer_boot: bool = True,
) -> RootSource:
    """Open the root that a path names.

    `work`: a directory for what is unpacked on the way; it must last as long as the source.
    `get_readers`: called where only an external program reads the format. `skip`: directories whose
    content is left out, of a root in a directory. `prefer_boot`: read the UKI that a disk starts, if
    any, rather than the root that is installed on it.
    Raises: UsageError when there is nothing, or several of which none is chosen; ToolError when
    it is damaged.
    """
    kind = detect_input(path)
    if kind is InputKind.BUILD:
        path = find_image(path)
        kind = detect_input(path)
    match kind:
        case InputKind.DIRECTORY:
            return Directory(path, skip=skip)
        case InputKind.CONTAINER:
            return Container(str(path), BlobDirectory(path), work, choice)
        case InputKind.TAR:
            return open_tar_root(path, work, choice)
        case InputKind.UKI | InputKind.INITRAMFS:
            return ImageRoot(path, lambda name, data: get_readers().unpack(name, data))
        case InputKind.DISK:
            return _open_disk_root(path, work, get_readers, choice.arch, prefer_boot=prefer_boot)
        case InputKind.BUILD | InputKind.DOCUMENT:
            raise UsageError(
                f"{kind} holds no files", where=str(path),
                fix="name the image, or the build's directory",
            )  # fmt: skip


def _open_disk_root(
    path: Path, work: Path, get_readers: GetReaders, arch: str, *, prefer_boot: bool
) -> RootSource:
    """What a disk starts, or else the root that is installed on it."""
    raw_disk, _ = convert_to_raw(path, work, lambda name: get_readers().get_program(name))
    if prefer_boot and get_readers().partition is None:
        with contextlib.suppress(NoUkiOnDisk):
            root = ImageRoot(path, lambda name, data: get_readers().unpack(name, data), raw_disk)
            note_unread_partitions(path, raw_disk, get_readers().note)
            return root
    return open_disk_root(path, raw_disk, work, get_readers(), arch, read_fat_root_options)[0]


def open_tar_root(path: Path, work: Path, choice: ImageChoice) -> UnpackedRoot:
    """Open a tar, of a root or of a container image. Raises: as `open_root_source`."""
    tar = open_decompressed(path, work)
    tree = unpack_tar(tar, str(path))
    blobs: BlobStore = BlobArchive(tree)
    if is_container_image(blobs):
        return Container(str(path), blobs, work, choice)
    if is_bundle(tree.find(name) is not None for name in BUNDLE_NAMES):
        raise bundle_error(str(path), f"unpack it, and name its {BUNDLE_NAMES[0]}")
    return UnpackedRoot(str(path), tree)


def find_image(build: Path) -> Path:
    """The image in a build directory. Raises: UsageError when there is none, or several."""
    for ending in IMAGE_ENDINGS:
        images = sorted(build.glob(f"*.{ending}"))
        if len(images) == 1:
            return images[0]
        if images:
            raise UsageError(
                f"the build has several images: {', '.join(one.name for one in images)}",
                where=str(build), fix=f"name one of them: {images[0]}",
            )  # fmt: skip
    raise UsageError(
        f"there is a {FOOTPRINT_NAME} and no image beside it", where=str(build),
        fix="build it again: minbuild make; or name the image",
    )  # fmt: skip
