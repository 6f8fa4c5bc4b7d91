"""Footprints of images: a UKI, an initramfs, a disk that starts one."""

import mmap
import re
import stat
from pathlib import Path

from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.versions import version_key
from minbuild.file_io import read_regular_text
from minbuild.footprint import document
from minbuild.footprint.measure import find_hypervisor_path
from minbuild.footprint.model import DISK_OVERHEAD, IMAGE_OVERHEAD, Footprint
from minbuild.formats.cpio import CpioMember
from minbuild.formats.initramfs import list_members, unpack_initramfs
from minbuild.formats.uki import MAX_UKI_SIZE
from minbuild.formats.uki import read_uki as uki_of
from minbuild.paths import RootPath, escape_name
from minbuild.roots import boot_disk
from minbuild.roots.measured_files import MeasuredFile, MeasuredRoot, build_footprint, with_content
from minbuild.roots.model import GetReaders

_KERNEL_RELEASE = re.compile(r"[A-Za-z0-9._+~-]+")
STUB_DIRECTORY = "/.extra"
"""Where the stub puts what other sections and the ESP hold. Source: systemd-stub(7)."""
FILE_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def measure_uki(path: Path, get_readers: GetReaders) -> Footprint:
    """Measure a UKI: its rows sum to the file's size.

    Raises: MinbuildError when it is damaged.
    """
    return _measure_uki_data(read_image(path), path, {}, get_readers)


def measure_disk(path: Path, raw_disk: Path, get_readers: GetReaders) -> Footprint:
    """Measure a disk that starts a UKI: its rows sum to the size of the file at `path`.

    `raw`: the same disk, not packed.
    Raises: MinbuildError when it is damaged, NoUki when it starts no UKI.
    """
    with raw_disk.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        boot = boot_disk.read_disk_boot(data, str(path))
    size = path.stat().st_size
    is_raw = size == raw_disk.stat().st_size
    others = {f"{DISK_OVERHEAD} {name}": n if is_raw else 0 for name, n in boot.others.items()}
    remaining = size - len(boot.uki) - sum(others.values())
    if remaining < 0:
        raise UsageError(
            "the disk cannot be measured: its partitions lie on each other", where=str(path),
            fix="name a disk that starts a UKI, or mount it and name its root directory",
        )  # fmt: skip
    return _measure_uki_data(boot.uki, path, {DISK_OVERHEAD: remaining, **others}, get_readers)


def measure_initramfs(path: Path, get_readers: GetReaders) -> Footprint:
    """Measure an initramfs of anyone's making, packed or not.

    Raises: ToolError when it is damaged.
    """
    data = read_image(path)
    files = _measure_members(data, str(path), get_readers)
    packed = {"initrd": len(data)}
    name = path.name.partition(".")[0]
    payload = len(data) if any(one.type == "file" and one.weight for one in files) else 0
    origin = MeasuredRoot(
        name=name, kernel=_find_newest_release(files), payload=payload, packed=packed, capabilities=True,
        overhead={IMAGE_OVERHEAD: len(data) - payload},
    )  # fmt: skip
    return build_footprint(files, origin)


def read_image(path: Path) -> bytes:
    """The bytes of an image. Raises: UsageError for one that is larger than any that starts."""
    size = path.stat().st_size
    if size > MAX_UKI_SIZE:
        raise UsageError(
            f"the image is larger than what is read: {size:,} bytes", where=str(path),
            fix="name a UKI or an initramfs of at most 2 GiB",
        )  # fmt: skip
    return path.read_bytes()


def _measure_uki_data(
    data: bytes, path: Path, overhead: dict[str, int], get_readers: GetReaders
) -> Footprint:
    uki = uki_of(data, str(path))
    release = uki.uname if _KERNEL_RELEASE.fullmatch(uki.uname) else ""
    files = _measure_members(uki.initrd, str(path), get_readers, uki.machine)
    extra = next((one.path for one in files if one.path.startswith(STUB_DIRECTORY)), "")
    if extra:
        raise UsageError(
            f"the image cannot be measured: the stub writes its own files over {extra}",
            where=str(path),
            fix="make the initramfs without /.extra, where systemd's stub puts what it knows",
        )
    kernel = RootPath(f"/boot/vmlinuz-{release}" if release else "/boot/vmlinuz")
    if any(one.path == kernel for one in files):
        kernel = RootPath("/.linux")
    sibling = _read_sibling_footprint(path)
    files.append(with_content(MeasuredFile(kernel, "file", 0o644), uki.linux))
    beside = {kernel}
    if uki.xen:
        xen = find_hypervisor_path(sibling)
        files.append(with_content(MeasuredFile(xen, "file", 0o644), uki.xen))
        beside.add(xen)
    parts = {f"{IMAGE_OVERHEAD} {name}": size for name, size in uki.device_sections.items()}
    packed = len(uki.initrd)
    size = len(data) - len(uki.linux) - len(uki.xen) - packed - sum(parts.values())
    origin = MeasuredRoot(
        name=sibling.name if sibling else path.stem,
        kernel=release,
        beside=frozenset(beside),
        payload=packed,
        packed={path.suffix.removeprefix(".") or "image": len(data) + sum(overhead.values())},
        overhead={IMAGE_OVERHEAD: size, **parts, **overhead},
        cmdline=" ".join(uki.cmdlines),
        xen_cmdline=" ".join(uki.xen_cmdlines),
        capabilities=True,
        sibling=sibling,
    )
    return build_footprint(files, origin)


def _measure_members(
    data: bytes, where: str, get_readers: GetReaders, machine: int = 0
) -> list[MeasuredFile]:
    """What the kernel would unpack; the second name of a file is a hard link."""
    first_names: dict[int, RootPath] = {}
    root = unpack_initramfs(
        data, where=where, unpack_tool=lambda *words: get_readers().unpack(*words), machine=machine
    )
    if root.dropped:
        names = ", ".join(escape_name(name) for name in root.dropped[:3])
        more = f" and {len(root.dropped) - 3} more" if len(root.dropped) > 3 else ""
        get_readers().note(
            f"members that the kernel drops, and that are not counted: {names}{more}"
        )
    files = [_measure_member(one, first_names) for one in list_members(root).values()]
    if root.root.mode & 0o1002 == 0o002:
        mode = stat.S_IMODE(root.root.mode)
        files.append(MeasuredFile(RootPath("/"), "directory", mode, root.root.uid, root.root.gid))
    return files


def _measure_member(member: CpioMember, first_names: dict[int, RootPath]) -> MeasuredFile:
    kind = FILE_TYPES.get(stat.S_IFMT(member.mode), "other")
    mode = stat.S_IMODE(member.mode)
    first_name = first_names.setdefault(member.inode, member.path)
    if kind == "link":
        target = escape_name(member.content)
        return MeasuredFile(member.path, kind, mode, member.uid, member.gid, target=target)
    if kind == "file":
        if first_name != member.path:
            return MeasuredFile(
                member.path, "hardlink", mode, member.uid, member.gid, target=first_name
            )
        return with_content(
            MeasuredFile(member.path, kind, mode, member.uid, member.gid), member.content
        )
    return MeasuredFile(
        member.path, kind, mode, member.uid, member.gid, target=_format_device(member)
    )


def _format_device(member: CpioMember) -> str:
    """A device node's type and numbers, as ls(1) has them: `c 1:3`."""
    letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(member.mode))
    return f"{letter} {member.device[0]}:{member.device[1]}" if letter else ""


def _read_sibling_footprint(path: Path) -> Footprint | None:
    """The footprint that was written with an image; None without a sound one."""
    sibling = path.parent / "footprint.json"
    try:
        return document.read_footprint(read_regular_text(sibling, MAX_UKI_SIZE), str(sibling))
    except (OSError, UnicodeDecodeError, MinbuildError):
        return None


def _find_newest_release(files: list[MeasuredFile]) -> str:
    names = {one.path.split("/")[4] for one in files if one.path.startswith("/usr/lib/modules/")}
    return max(names, key=version_key, default="")
