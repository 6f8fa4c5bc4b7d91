"""Building once more under other conditions, and what the first difference means."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import Lock
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import CheckFailed, MinbuildError
from minbuild.formats import initramfs
from minbuild.formats.uki import read_uki_sections
from minbuild.formats.xen_image import RAMDISK
from minbuild.image.disk_layout import PARTITION_ALIGNMENT
from minbuild.image.publish import SUMS_FILE
from minbuild.pipeline.lock_policy import collect_vouch_records
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.process import run_program

_CHILD = (
    "import os, sys; os.umask(0o077); "
    "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    "from minbuild.cli.main import run_command_line; code = run_command_line(sys.argv[1:]); "
    "sys.exit(0 if code == 1 else code)"
)
"""A budget that is exceeded (1) is the first build's to tell."""
MAX_DIFFOSCOPE_REPORT = 4000
"""Bytes of diffoscope's report that are shown."""
CONDITIONS = (
    "another home, working directory, output directory, umask, time zone, locale, hash seed "
    "and time; one core; a store with nothing but the packages"
)


@dataclass(frozen=True, slots=True)
class BuildDifference:
    """Where two builds first differ."""

    file: str
    offset: int
    """In the file, in bytes; -1 when only one of the builds has it."""
    meaning: str


def verify_reproducible(
    request: BuildRequest, name: str, directory: Path, session: Session
) -> None:
    """Build again, apart from all that the first build could have leaned on, and compare.

    `name` is the manifest's; its outputs stand in `directory`.
    Raises: Verdict for the first difference; what the second build raises, as ToolError.
    """
    session.progress.step("building again under other conditions")
    lock = directory / f"{name}.lock"
    with session.store.create_temp_dir() as work:
        store = _make_packages_only_store(lockfile.read_lock(lock), session.store, work / "store")
        second_directory = work / "elsewhere" / "out"
        (work / "home").mkdir()
        second_directory.parent.mkdir()
        run_program(
            [
                sys.executable,
                "-c",
                _CHILD,
                *_build_argv(request, lock, store.directory, second_directory),
            ],
            purpose="building again under other conditions",
            cwd=second_directory.parent,
            env=_make_environment(work / "home"),
        )
        difference = find_first_difference(directory, second_directory)
        if difference is not None:
            raise _explain_difference(difference, directory, second_directory)


def find_first_difference(first_directory: Path, second_directory: Path) -> BuildDifference | None:
    """The first file, by name, that differs between two output directories; None for none.

    Only files that the first one's SHA256SUMS names count.
    """
    lines = (first_directory / SUMS_FILE).read_text(encoding="ascii").splitlines()
    for name in sorted(line.partition("  ")[2] for line in lines):
        if not (second_directory / name).exists():
            return BuildDifference(name, -1, "only one of the builds wrote it")
        first, second = (
            (first_directory / name).read_bytes(),
            (second_directory / name).read_bytes(),
        )
        if first != second:
            offset = _find_offset(first, second)
            return BuildDifference(
                name, offset, _describe_difference(Path(name), first, second, offset)
            )
    return None


def _build_argv(request: BuildRequest, lock: Path, store: Path, output: Path) -> list[str]:
    argv = ["make", str(request.manifest.absolute()), "--locked", "--offline"]
    argv += ["--lock", str(lock.absolute()), "--store", str(store), "--output", str(output)]
    for setting in sorted(request.settings.items()):
        argv += ["--set", "=".join(setting)]
    for directory in request.components:
        argv += ["--components", str(directory.absolute())]
    if request.compression is not None:
        argv += ["--compression", str(request.compression)]
    return argv


def _make_environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "LC_ALL": "tr_TR.UTF-8",
        "PATH": os.environ.get("PATH", ""),
        "PYTHONHASHSEED": "4711",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(home),
        "TZ": "Pacific/Kiritimati",
    }


def _make_packages_only_store(lock: Lock, source_store: Store, directory: Path) -> Store:
    """A new store that holds the packages of a lock and nothing else."""
    store = Store(directory)
    with source_store.create_temp_dir() as work:
        for package in {one.sha256: one for one in (*lock.packages, *lock.toolbox)}.values():
            path = source_store.find_verified(package.sha256)
            if path is None:
                continue  # neither build needs it, or the second one says what it lacks
            try:
                os.link(path, work / package.sha256)
            except OSError:
                shutil.copyfile(path, work / package.sha256)
            store.adopt(work / package.sha256, package.sha256)
    store.put(
        RecordKind.VOUCHED_PACKAGE,
        collect_vouch_records((*lock.packages, *lock.toolbox), source_store),
    )
    return store


def _explain_difference(
    difference: BuildDifference, first_directory: Path, second_directory: Path
) -> CheckFailed:
    report = ""
    if difference.offset >= 0 and (tool := shutil.which("diffoscope")):
        report = "\n" + run_diffoscope(
            tool, first_directory / difference.file, second_directory / difference.file
        )
    position = f" from byte {difference.offset} on" if difference.offset >= 0 else ""
    return CheckFailed(
        f"two builds of one lock differ: {difference.file}{position}: {difference.meaning}{report}",
        where=str(first_directory / difference.file),
        fix="report this with the manifest and its lock: it is a bug in minbuild",
    )


def run_diffoscope(tool: str, first_file: Path, second_file: Path) -> str:
    """What diffoscope says of two files that differ. Source: diffoscope(1)."""
    with tempfile.TemporaryDirectory() as work:
        report = Path(work, "report")
        argv: list[str | Path] = [
            tool,
            "--max-text-report-size",
            str(MAX_DIFFOSCOPE_REPORT),
            "--text",
            report,
            first_file,
            second_file,
        ]
        try:
            run_program(argv, purpose="comparing in depth")
        except MinbuildError as error:  # it ends with 1 when files differ; its stderr has warnings
            return report.read_text("utf-8", "replace") if report.exists() else error.what
    return ""


def _find_offset(first_data: bytes, second_data: bytes) -> int:
    """The first byte that differs; found by halves."""
    low, high = 0, min(len(first_data), len(second_data))
    while low < high:
        middle = (low + high) // 2
        if first_data[low : middle + 1] == second_data[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def _describe_difference(name: Path, first_data: bytes, second_data: bytes, offset: int) -> str:
    describe = _DESCRIPTIONS.get(name.suffix, _describe_bytes)
    try:
        return describe(first_data, second_data, offset)
    except MinbuildError as error:
        return f"its parts cannot be told apart ({error.what})"


def _describe_uki(first_data: bytes, second_data: bytes, offset: int) -> str:
    first, second = read_uki_sections(first_data, "first"), read_uki_sections(second_data, "second")
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            inside = (
                _describe_initramfs(first[name], second[name])
                if name in (".initrd", RAMDISK)
                else ""
            )
            return f"section {name}{inside}"
    return f"a header before its sections, or what lies between them (byte {offset})"


def _describe_initramfs(first_data: bytes, second_data: bytes) -> str:
    first, second = initramfs.unpack_members(first_data), initramfs.unpack_members(second_data)
    for raw in sorted(first.keys() | second.keys()):
        if first.get(raw) != second.get(raw):
            return f": {(second | first)[raw].path} in the initramfs"
    return ": the same files, packed otherwise or in another order"


def _describe_disk(first_data: bytes, second_data: bytes, offset: int) -> str:
    if offset < PARTITION_ALIGNMENT:
        return "the partition table"
    if min(len(first_data), len(second_data)) - offset < PARTITION_ALIGNMENT // 32:
        return "the second partition table, at the disk's end"
    return f"a partition: byte {offset - PARTITION_ALIGNMENT} after the first one's start"


def _describe_lines(first_data: bytes, second_data: bytes, offset: int) -> str:
    number = first_data.count(b"\n", 0, offset) + 1
    rows = (data.splitlines()[number - 1 : number] for data in (first_data, second_data))
    shown = (row[0].decode("utf-8", "replace").strip()[:120] if row else "" for row in rows)
    return f"line {number}: " + " / ".join(shown)


def _describe_bytes(first_data: bytes, second_data: bytes, offset: int) -> str:
    return f"{first_data[offset : offset + 8].hex()} / {second_data[offset : offset + 8].hex()}"


_DESCRIPTIONS: Mapping[str, Callable[[bytes, bytes, int], str]] = {
    ".efi": _describe_uki,
    ".raw": _describe_disk,
    ".json": _describe_lines,
    ".lock": _describe_lines,
}
