"""Comparison of a footprint with the images beside it."""

import hashlib
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.footprint.attack_surface import list_cmdline_subjects
from minbuild.footprint.model import FileRow, FindingKind, Footprint
from minbuild.formats import magic
from minbuild.formats.cpio import CpioMember
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.initramfs_compression import UnpackTool
from minbuild.formats.qemu_image import convert_to_raw
from minbuild.formats.uki import Uki, read_uki
from minbuild.paths import RootPath, escape_name
from minbuild.resolve.builtin_tables import is_hypervisor_path
from minbuild.roots.boot_disk import find_boot_uki
from minbuild.roots.measured_files import read_image
from minbuild.roots.model import GetReaders
from minbuild.roots.open import InputKind, detect_input
from minbuild.roots.root_footprint import measure_stored_root

BOOTABLE_ENDINGS = frozenset({"efi", "raw", "qcow2", "vhdx", "vmdk", "vdi", "iso", "cpio"})
"""What starts, or is started."""
MAX_SHOWN = 3
"""Differences that an error names."""
ComparableRow = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class ImageVerification:
    """Which images a footprint is of."""

    measured: tuple[str, ...]
    """Names of files that were read."""
    unread: tuple[str, ...]
    """Of those that nothing here reads."""


def verify_images(
    footprint: Footprint, directory: Path, get_readers: GetReaders, *, only: str = ""
) -> ImageVerification:
    """Read every image of a build, or the `only` one, and hold it against the footprint beside it.

    Raises: UsageError when one is another's; ToolError when one is damaged.
    """
    expected_rows = _rows_from_footprint(footprint)
    measured: list[str] = []
    unread = _find_unlisted_images(footprint, directory, only)
    verified_digests: set[bytes] = set()
    for ending, size in footprint.packed.items():
        path = directory / _require_plain_name(f"{footprint.name}.{ending}", directory)
        if not path.is_file() or only not in ("", path.name):
            continue
        if path.stat().st_size != size:
            raise _mismatch_error(
                path, [f"its size is {path.stat().st_size:,}, and {size:,} is told"]
            )
        if path.suffix == ".tar":
            _verify_tar(expected_rows, path, get_readers)
            measured.append(path.name)
            continue
        boot_data = _read_bootable(path, get_readers)
        if boot_data is None:
            unread.append(path.name)
            continue
        measured.append(path.name)
        digest = hashlib.sha256(boot_data).digest()
        if digest not in verified_digests:
            _verify_boot_image(
                footprint,
                expected_rows,
                boot_data,
                path,
                lambda *words: get_readers().unpack(*words),
            )
            verified_digests.add(digest)
    return ImageVerification(tuple(measured), tuple(unread))


def _require_plain_name(name: str, directory: Path) -> str:
    """The name of an image in this directory. Raises: UsageError for one that leads out of it."""
    if "/" in name or "\0" in name or name.startswith("."):
        raise UsageError(
            f"the footprint names an image that lies elsewhere: {escape_name(name)!r}",
            where=str(directory), fix="build again, or measure the image itself",
        )  # fmt: skip
    return name


def _find_unlisted_images(footprint: Footprint, directory: Path, only: str) -> list[str]:
    """Images in a build's directory that its footprint does not tell of.

    Raises: UsageError for one of the build's own name.
    """
    listed_names = {f"{footprint.name}.{ending}" for ending in footprint.packed}
    images = [
        path
        for path in sorted(directory.iterdir())
        if path.suffix[1:] in BOOTABLE_ENDINGS
        and path.name not in listed_names
        and only in ("", path.name)
    ]
    for path in images:
        if path.stem == footprint.name:
            raise _mismatch_error(path, ["it tells of no such image"])
    return [path.name for path in images]


def _read_bootable(path: Path, get_readers: GetReaders) -> bytes | None:
    """The UKI in a file, or an initramfs alone; None for what is not read."""
    kind = detect_input(path)
    if kind is InputKind.UKI or (kind is InputKind.INITRAMFS and path.suffix == ".cpio"):
        return read_image(path)
    if kind is not InputKind.DISK:
        return None
    with tempfile.TemporaryDirectory(prefix="minbuild-") as work:
        raw_disk, _ = convert_to_raw(path, Path(work), lambda name: get_readers().get_program(name))
        with raw_disk.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return find_boot_uki(data, str(path))


def _verify_tar(
    expected_rows: Mapping[str, ComparableRow], path: Path, get_readers: GetReaders
) -> None:
    """Raises: UsageError naming what differs."""

    differences = [
        *_compare_rows(
            expected_rows,
            _rows_from_footprint(measure_stored_root(path, detect_input(path), get_readers, None)),
        )
    ]
    if differences:
        raise _mismatch_error(path, differences)


def _verify_boot_image(
    footprint: Footprint,
    expected_rows: Mapping[str, ComparableRow],
    data: bytes,
    image_path: Path,
    tool: UnpackTool,
) -> None:
    """Raises: UsageError naming what differs."""
    uki = read_uki(data, str(image_path)) if data.startswith(magic.PE) else None
    kernel = f"/boot/vmlinuz-{footprint.kernel}"
    actual_rows = _rows_from_members(
        unpack_members(uki.initrd, where=str(image_path), unpack_tool=tool, machine=uki.machine)
        if uki
        else unpack_members(data, where=str(image_path), unpack_tool=tool)
    )
    initramfs_rows = {
        path: row
        for path, row in expected_rows.items()
        if path != kernel and not is_hypervisor_path(path)
    }
    differences = [*_compare_rows(initramfs_rows, actual_rows)]
    if uki is not None:
        differences += _compare_kernel(footprint, kernel, uki)
        differences += _compare_xen(footprint, uki)
    if differences:
        raise _mismatch_error(image_path, differences)


def _compare_rows(
    expected: Mapping[str, ComparableRow], actual: Mapping[str, ComparableRow]
) -> Iterator[str]:
    for path in sorted(expected.keys() | actual.keys()):
        if path not in expected:
            yield f"{path} is not told"
        elif path not in actual:
            yield f"{path} is not in it"
        elif expected[path] != actual[path]:
            yield f"{path} is another"


def _compare_kernel(footprint: Footprint, kernel: str, uki: Uki) -> Iterator[str]:
    kernel_row = next((row for row in footprint.files if row.path == kernel), None)
    if kernel_row is None or kernel_row.sha256 != hashlib.sha256(uki.linux).hexdigest():
        yield "the kernel is another"
    if footprint.kernel != uki.uname:
        yield f"the kernel's release is {uki.uname}"
    surface = footprint.surface
    if surface is not None and FindingKind.CMDLINE not in surface.unknown:
        options = {one.subject for one in surface.findings if one.kind is FindingKind.CMDLINE}
        if options != list_cmdline_subjects(" ".join(uki.cmdlines), " ".join(uki.xen_cmdlines)):
            yield "the command line is another"


def _compare_xen(footprint: Footprint, uki: Uki) -> Iterator[str]:
    told = {row.sha256 for row in footprint.files if is_hypervisor_path(row.path)}
    if told != ({hashlib.sha256(uki.xen).hexdigest()} if uki.xen else set()):
        yield (
            "the hypervisor is another"
            if told and uki.xen
            else ("the hypervisor is not told" if uki.xen else "the hypervisor is not in it")
        )


def _rows_from_footprint(footprint: Footprint) -> dict[str, ComparableRow]:
    by_path = {row.path: row for row in footprint.files}
    names: dict[str, list[str]] = {}
    for row in footprint.files:
        if row.type in {"file", "hardlink"}:
            names.setdefault(_resolve_hard_link(row, by_path).path, []).append(row.path)
    return {
        row.path: _row_from_footprint(row, by_path, names)
        for row in footprint.files
        if row.path != "/"
    }


def _resolve_hard_link(row: FileRow, by_path: Mapping[RootPath, FileRow]) -> FileRow:
    return by_path.get(RootPath(row.target), row) if row.type == "hardlink" else row


def _row_from_footprint(
    row: FileRow, by_path: Mapping[RootPath, FileRow], names: Mapping[str, list[str]]
) -> ComparableRow:
    match row.type:
        case "file" | "hardlink":
            first = _resolve_hard_link(row, by_path)
            all_names = tuple(sorted(names[first.path]))
            return ("file", first.mode, first.uid, first.gid, first.size, first.sha256, all_names)
        case "link":
            return ("link", row.uid, row.gid, row.target)
        case _:
            return (row.type, row.mode, row.uid, row.gid)


def _rows_from_members(by_path: Mapping[str, CpioMember]) -> dict[str, ComparableRow]:
    names: dict[int, list[str]] = {}
    for member in by_path.values():
        names.setdefault(member.inode, []).append(member.path)
    return {
        str(member.path): _row_from_member(member, names[member.inode])
        for member in by_path.values()
    }


def _row_from_member(member: CpioMember, names: list[str]) -> ComparableRow:
    mode = stat.S_IMODE(member.mode)
    match stat.S_IFMT(member.mode):
        case stat.S_IFREG:
            digest = hashlib.sha256(member.content).hexdigest()
            return (
                "file",
                mode,
                member.uid,
                member.gid,
                len(member.content),
                digest,
                tuple(sorted(names)),
            )
        case stat.S_IFLNK:
            return ("link", member.uid, member.gid, escape_name(member.content))
        case stat.S_IFDIR:
            return ("directory", mode, member.uid, member.gid)
        case _:
            return ("other", mode, member.uid, member.gid)


def _mismatch_error(path: Path, differences: list[str]) -> UsageError:
    more = f" and {len(differences) - MAX_SHOWN} more" if len(differences) > MAX_SHOWN else ""
    return UsageError(
        f"the footprint beside {path.name} is not its own: {', '.join(differences[:MAX_SHOWN])}{more}",
        where=str(path),
        fix=f"build again, or measure the image itself: name {path.name}, not its directory",
    )


WriteLine = Callable[[str], None]


def report_unverified(verification: ImageVerification, write_line: WriteLine) -> None:
    """Say what a footprint was not held against; nothing when all of its images were read."""
    if not verification.measured:
        write_line(
            "no image beside the footprint was measured: it is judged by what it says itself"
        )
    elif verification.unread:
        write_line(f"not measured: {', '.join(verification.unread)}")
