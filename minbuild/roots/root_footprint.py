"""The footprint of a root, each file read once."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.errors import MalformedFile, MinbuildError, UsageError
from minbuild.facts.detect import read_kernel_config
from minbuild.facts.file_hardening import read_capability
from minbuild.facts.versions import version_key
from minbuild.footprint.model import IMAGE_OVERHEAD, Footprint
from minbuild.formats.region import Region, detect_compression
from minbuild.formats.root_entry import FileType, RootEntry, UsrMergeLayout, detect_layout
from minbuild.parallel import map_in_threads
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve.kernel import parse_image_version
from minbuild.roots.directory import Directory
from minbuild.roots.installed_packages import read_package_database
from minbuild.roots.measured_files import MeasuredFile, MeasuredRoot, build_footprint, with_content
from minbuild.roots.model import GetReaders, RootSource
from minbuild.roots.oci import ANY_IMAGE, ImageChoice
from minbuild.roots.open import InputKind, open_root_source
from minbuild.roots.tarball import UnpackedRoot

MAX_FILE_SIZE = 1 << 30
"""Bytes of the largest file that is read."""
BATCH_SIZE = 64
KERNEL_CONFIG_PATH = re.compile(r"boot/config-[^/]+|(?:usr/)?lib/modules/[^/]+/config")


@dataclass(frozen=True, slots=True)
class RootStorage:
    """How a root is stored, and what of it belongs to no file."""

    size: int
    """Bytes of the file or files that hold it."""
    ending: str
    """How the report calls that: tar."""
    is_packed: bool
    """True: a file's share of them is by its weight; False: by its size."""
    overhead: str
    """The row of what belongs to no file."""


def measure_root(
    source: RootSource, name: str, get_readers: GetReaders, storage: RootStorage | None = None
) -> Footprint:
    """Measure a root. `weighed`: None for one that is stored as it is, in a directory.

    Raises: MinbuildError when it cannot be read.
    """
    by_native_path = {one.native_path: one for one in source.walk() if one.native_path}
    if isinstance(source, Directory) and source.skipped_mounts:
        get_readers().note(
            f"what is mounted there is left out: {', '.join(sorted(source.skipped_mounts))}"
        )
    layout = detect_layout(by_native_path)
    configs: dict[str, bytes] = {}
    files = [*_measure_top(source), *_measure_files(source, by_native_path, layout, configs)]
    overhead: dict[str, int] = {}
    payload: int | None = None
    if storage is not None:
        if not storage.is_packed:
            files = [replace(one, weight=one.size) for one in files]
        weight = sum(one.weight for one in files if one.type == "file")
        payload = storage.size if storage.is_packed else min(storage.size, weight)
        payload = payload if weight else 0
        overhead[storage.overhead] = storage.size - payload
    origin = MeasuredRoot(
        name=name,
        kernel=(release := find_newest_kernel(files)),
        payload=payload,
        packed={storage.ending: storage.size} if storage is not None else {},
        overhead=overhead,
        capabilities=True,
        kconfig=read_kernel_options(configs, release),
        owners=_relocate_owners(
            read_owners(_select_files(by_native_path), source.read, get_readers), files
        ),
    )
    return build_footprint(files, origin)


def _measure_top(source: RootSource) -> list[MeasuredFile]:
    """The top itself, where all may write to it; all else takes it for granted."""
    if not isinstance(source, Directory | UnpackedRoot):
        return []
    mode, uid, gid = source.top_status
    is_open = mode & 0o1002 == 0o002
    return [MeasuredFile(RootPath("/"), "directory", mode, uid, gid)] if is_open else []


def _measure_files(
    source: RootSource,
    by_native_path: Mapping[str, RootEntry],
    layout: UsrMergeLayout,
    configs: dict[str, bytes],
) -> list[MeasuredFile]:
    """Read every file; the kernel's configurations are put aside."""
    files = [entry for entry in by_native_path.values() if entry.kind is FileType.FILE]
    for entry in files:
        if entry.size > MAX_FILE_SIZE:
            raise UsageError(
                f"a file of {entry.size} bytes is larger than what is read", where=f"{source.name}: {entry.path}",
                fix=f"leave it out: files of up to {MAX_FILE_SIZE} bytes are read",
            )  # fmt: skip
    measured_files = [
        _measure_entry(entry, layout)
        for entry in by_native_path.values()
        if entry.kind is not FileType.FILE
    ]
    measured_files = [
        entry for entry in measured_files if entry.path.lstrip("/") not in layout.replaced_links
    ]

    def measure_batch(part: Sequence[RootEntry]) -> list[MeasuredFile]:
        return [measure_file(one) for one in part]

    def measure_file(entry: RootEntry) -> MeasuredFile:
        data = source.read(entry.native_path)
        if KERNEL_CONFIG_PATH.fullmatch(entry.native_path):
            configs[entry.native_path] = data
        return with_content(_measure_entry(entry, layout), data, sample=True)

    parts = [files[start : start + BATCH_SIZE] for start in range(0, len(files), BATCH_SIZE)]
    measured_files += [entry for part in map_in_threads(measure_batch, parts) for entry in part]
    links = layout.links if layout.replaced_links else {}
    measured_files += [
        MeasuredFile(path, "link", 0o777, target=text) for path, text in links.items()
    ]
    return measured_files


def _measure_entry(entry: RootEntry, layout: UsrMergeLayout) -> MeasuredFile:
    relocated = layout.relocate_entry(entry)
    target = (
        layout.image_path(entry.target) if entry.kind is FileType.HARDLINK else relocated.target
    )
    return MeasuredFile(
        relocated.path, str(entry.kind), entry.mode, entry.uid, entry.gid,
        entry.size if entry.kind is FileType.FILE else 0,
        target=target, capability=read_capability(entry.capability) if entry.capability else "",
    )  # fmt: skip


def find_newest_kernel(files: Sequence[MeasuredFile]) -> str:
    """The release of the newest kernel in the tree, by its name."""
    releases = (parse_image_version(one.path) for one in files if one.type != "directory")
    return max(filter(None, releases), key=version_key, default="")


def read_kernel_options(configs: Mapping[str, bytes], release: str) -> dict[str, str] | None:
    """The options of a kernel's configuration, or of the newest one's; None without any.

    `configs`: raw path, boot/config-RELEASE or below the modules → content.
    """
    matching_names = [
        name for name in configs if release and release in re.split(r"config-|/", name)
    ]
    names = matching_names or sorted(configs, key=version_key)[-1:]
    return dict(read_kernel_config(configs[names[0]]).options) if names else None


def read_owners(
    entries: Mapping[str, RootEntry], read: Callable[[str], bytes], get_readers: GetReaders
) -> dict[str, tuple[str, str]]:
    """Usr-merged path → package and version, from the root's own database; no link is followed.

    What cannot be read is told, and unowned.
    """
    owners_by_path: dict[str, tuple[str, str]] = {}
    try:
        for package in read_package_database(
            entries, read, lambda args, **how: get_readers().rpm(args, **how)
        ):
            for path in package.paths:
                owners_by_path.setdefault(path, (package.name, package.version))
    except MinbuildError as error:
        get_readers().note(f"whose files these are is not known: {error.what}")
    return owners_by_path


def _select_files(by_native_path: Mapping[str, RootEntry]) -> dict[str, RootEntry]:
    return {
        native_path: one
        for native_path, one in by_native_path.items()
        if one.kind in (FileType.FILE, FileType.HARDLINK)
    }


def _relocate_owners(
    owners: Mapping[str, tuple[str, str]], files: Sequence[MeasuredFile]
) -> dict[str, tuple[str, str]]:
    """The owners by the paths that the root has."""
    return {
        one.path: owners[merged] for one in files if (merged := to_root_path(one.path)) in owners
    }


def measure_stored_root(
    path: Path, kind: InputKind, get_readers: GetReaders, choice: ImageChoice | None
) -> Footprint:
    """Measure the root that a directory, a tar or a container image holds.

    Raises: UsageError when it is not there, or several are; ToolError when it is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="minbuild-") as work:
        source = open_root_source(path, Path(work), get_readers, choice=choice or ANY_IMAGE)
        if kind is InputKind.DIRECTORY:
            return measure_root(source, path.resolve().name or "root", get_readers)
        name = path.resolve().name.partition(".")[0] or "root"
        return measure_root(source, name, get_readers, _measure_storage(path, kind))


def _measure_storage(path: Path, kind: InputKind) -> RootStorage:
    if kind is InputKind.CONTAINER:
        size = sum(one.lstat().st_size for one in path.rglob("*") if one.is_file())
        return RootStorage(size, "oci", True, IMAGE_OVERHEAD)
    size = path.stat().st_size
    try:
        is_packed = bool(detect_compression(Region.from_path(path).read(0, min(8, size))))
    except MalformedFile:
        is_packed = True
    return RootStorage(size, "tar", is_packed, IMAGE_OVERHEAD)
