"""Files of a root or image as they were measured, and the footprint made from them."""

import hashlib
import mmap
import re
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.file_hardening import DATA, Hardening, read_hardening
from minbuild.facts.versions import version_key
from minbuild.file_io import read_regular_text
from minbuild.footprint import document
from minbuild.footprint.attack_surface import SurfaceInputs, find_surface, is_surface_text
from minbuild.footprint.measure import (
    ZERO_TOTALS,
    estimate_compressed,
    find_hypervisor_path,
    with_totals,
)
from minbuild.footprint.model import DISK_OVERHEAD, IMAGE_OVERHEAD, UNOWNED, FileRow, Footprint
from minbuild.formats.cpio import CpioMember
from minbuild.formats.initramfs import list_members, unpack_initramfs
from minbuild.formats.uki import MAX_UKI_SIZE
from minbuild.formats.uki import read_uki as uki_of
from minbuild.paths import RootPath, escape_name
from minbuild.roots import boot_disk
from minbuild.roots.model import GetReaders

SAMPLE_SIZE, SLICES = 1 << 16, 4
"""Bytes of a file, in so many slices, whose compressed size stands for all of it."""


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """One path, measured; its content is not kept."""

    path: RootPath
    type: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    weight: int = 0
    """About its compressed size."""
    traits: Hardening = DATA
    text: str | None = None
    capability: str = ""


def with_content(file: MeasuredFile, data: bytes, *, sample: bool = False) -> MeasuredFile:
    """Add what a regular file's bytes say; with `sample` its weight is that of a part of it."""
    text = data.decode("utf-8", "replace") if is_surface_text(file.path, len(data)) else None
    return replace(
        file,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        weight=_estimate_weight(_take_sample(data) if sample else data, len(data)),
        traits=read_hardening(data),
        text=text,
    )


def _take_sample(data: bytes) -> bytes:
    if len(data) <= SAMPLE_SIZE:
        return data
    step, size = len(data) // SLICES, SAMPLE_SIZE // SLICES
    return b"".join(data[at : at + size] for at in range(0, step * SLICES, step))


def _estimate_weight(sample: bytes, size: int) -> int:
    packed = len(zlib.compress(sample, 1))
    return estimate_compressed(packed * size // len(sample), size) if sample else 0


@dataclass(frozen=True, slots=True)
class MeasuredRoot:
    """What is known of a subject as a whole."""

    name: str
    kernel: str = ""
    beside: frozenset[RootPath] = frozenset()
    """What stands beside the payload, the kernel and Xen: their packed size is their own."""
    payload: int | None = None
    """Packed bytes of all files but that kernel; None where nothing is packed."""
    packed: Mapping[str, int] = field(default_factory=dict)
    overhead: Mapping[str, int] = field(default_factory=dict)
    cmdline: str | None = None
    xen_cmdline: str = ""
    """Of the hypervisor; "" for none."""
    kconfig: Mapping[str, str] | None = None
    capabilities: bool = False
    """True: the source says which files have capabilities."""
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Path → package and version."""
    sibling: Footprint | None = None
    """The footprint written with it: owners of files that are still the same, and edges."""


def build_footprint(files: Iterable[MeasuredFile], root: MeasuredRoot) -> Footprint:
    """Measure what was found. Sorted by path; each path once, the last one found."""
    by_path = {one.path: one for one in files}
    ordered_files = [by_path[path] for path in sorted(by_path)]
    shares = _share_payload(ordered_files, root)
    sibling_rows = {row.path: row for row in root.sibling.files} if root.sibling else {}
    rows = tuple(
        _make_row(one, shares.get(one.path, 0), sibling_rows, root.owners) for one in ordered_files
    )
    evidence = SurfaceInputs(
        traits={one.path: one.traits for one in ordered_files},
        texts={one.path: one.text for one in ordered_files if one.text is not None},
        cmdline=root.cmdline,
        xen_cmdline=root.xen_cmdline,
        kconfig=root.kconfig,
        capabilities={one.path: one.capability for one in ordered_files if one.capability}
        if root.capabilities
        else None,
    )
    sibling = root.sibling
    empty = Footprint(
        name=root.name,
        arch=sibling.arch if sibling else "",
        kernel=root.kernel,
        suites=sibling.suites if sibling else (),
        packed=dict(sorted(root.packed.items())),
        totals=ZERO_TOTALS,
        sections=(),
        components=(),
        packages=(),
        files=rows,
        edges=tuple(e for e in sibling.edges if e.path in by_path) if sibling else (),
        budget=sibling.budget if sibling else {},
        budget_locations=sibling.budget_locations if sibling else {},
        surface=find_surface(rows, evidence),
    )
    versions = dict(root.owners.values())
    if sibling:
        versions |= {row.name: row.version for row in sibling.packages}
    return with_totals(empty, versions, root.overhead)


def _make_row(
    file: MeasuredFile,
    share: int,
    sibling_rows: Mapping[RootPath, FileRow],
    owners: Mapping[str, tuple[str, str]],
) -> FileRow:
    previous = sibling_rows.get(file.path)
    is_same = (
        previous is not None and previous.sha256 == file.sha256 and previous.target == file.target
    )
    owner = previous if is_same and previous is not None else None
    return FileRow(
        path=file.path,
        type=file.type,
        mode=file.mode,
        uid=file.uid,
        gid=file.gid,
        size=file.size,
        sha256=file.sha256,
        target=file.target,
        package=owner.package if owner else owners.get(file.path, ("", ""))[0],
        component=owner.component if owner else UNOWNED,
        section=owner.section if owner else UNOWNED,
        packed=share,
    )


def _share_payload(files: list[MeasuredFile], root: MeasuredRoot) -> dict[RootPath, int]:
    """Share the payload out by weight; the parts sum to it exactly."""
    shares: dict[RootPath, int] = {}
    packed = [file for file in files if file.type == "file" and file.path not in root.beside]
    total = sum(file.weight for file in packed)
    payload = total if root.payload is None else root.payload
    weight_so_far = share_so_far = 0
    for file in packed:
        weight_so_far += file.weight
        share_end = payload * weight_so_far // total if total else 0
        shares[file.path] = share_end - share_so_far
        share_so_far = share_end
    for file in files:
        if file.path in root.beside:
            shares[file.path] = file.size
    return shares


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
