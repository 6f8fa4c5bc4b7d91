"""Opening of any root that a path names."""

import contextlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.formats import magic
from minbuild.formats.cpio import CpioMember
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.initramfs_compression import UnpackTool
from minbuild.formats.qemu_image import convert_to_raw
from minbuild.formats.root_entry import FileType, RootEntry, resolve_usrmerge
from minbuild.formats.uki import read_uki
from minbuild.paths import escape_name
from minbuild.roots import boot_disk
from minbuild.roots.boot_disk import NoUkiOnDisk
from minbuild.roots.directory import Directory
from minbuild.roots.input_kind import (
    BUNDLE_NAMES,
    FOOTPRINT_NAME,
    InputKind,
    bundle_error,
    detect_input,
    is_bundle,
)
from minbuild.roots.installed_disk import note_unread_partitions, open_disk_root
from minbuild.roots.measured_files import read_image
from minbuild.roots.model import GetReaders, RootSource
from minbuild.roots.oci import ANY_IMAGE, Container, ImageChoice, is_container_image
from minbuild.roots.oci_blobs import BlobArchive, BlobDirectory, BlobStore
from minbuild.roots.root_partition import read_fat_root_options
from minbuild.roots.tarball import UnpackedRoot, open_decompressed, unpack_tar

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
