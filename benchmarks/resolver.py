"""The resolver alone: in this process, and beside other programs that follow libraries."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.growth import Curve
from benchmarks.ours import Workspace
from benchmarks.peers import path_of
from benchmarks.timing import Bench, Failed, run_timed, within
from minbuild.archive import lockfile
from minbuild.archive.mirror import find_mirror
from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.facts.model import Elf, FileEntry, PackageFiles
from minbuild.facts.package_facts import load_facts
from minbuild.formats.root_entry import FileType
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline.host_resolution import resolve_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.package_selection import PackageSelection, PackageSource, select_packages
from minbuild.pipeline.package_sources import open_archives, with_archives
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from minbuild.resolve.model import Closure, NeedKind, Root
from minbuild.resolve.resolution import resolve

T = TypeVar("T")

QEMU = "qemu-system-x86"
PROGRAM = "/usr/bin/qemu-system-x86_64"
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
"""The environment of a system's own programs."""
ASKED = (Root(NeedKind.ROOT, PROGRAM, "bench/qemu", "bench", QEMU),)


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement of a resolver."""

    name: str
    seconds: float
    limit: float
    """0: none is set."""
    note: str


def measure_lines(bench: Bench, workspace: Workspace, tree: Path) -> tuple[Line, ...]:
    """Measure; `tree` is one that holds QEMU's packages, for the other programs."""
    request = BuildRequest(find_manifest("host.yaml"), lock=workspace.directory / "host.lock")
    session = Session(workspace.store, SilentProgress())
    selection = _select(request, session)
    return (
        _host(bench, request, session),
        *_qemu(bench, selection, session),
        *_others(bench, tree),
    )


def _host(bench: Bench, request: BuildRequest, session: Session) -> Line:
    """host.yaml from a read manifest and lock to its closure."""
    manifest = load_manifest(request)
    assert request.lock is not None
    lock = lockfile.read_lock(request.lock)

    def once() -> Closure:
        return resolve_host(request, manifest, lock, session, with_accounts=False).closure

    seconds, closure = _median(bench, once)
    note = f"{len(closure.files)} paths of {len(lock.packages)} packages"
    return Line("ours: host.yaml, facts in the store", seconds, 0.15, note)


def format_thousands(curve: Curve) -> Line:
    """The most packages of the growth curve, and how linear it is."""
    seconds = dict(zip(curve.sizes, list(curve.series.values())[-1], strict=True))
    most, tenth = max(seconds), max(seconds) // 10
    factor = seconds[most] / seconds[tenth] if tenth in seconds else 0.0
    note = f"facts in the store; {factor:.1f} times as long as {tenth}"
    return Line(f"ours: a closure of {most:,} packages", seconds[most], 3.0, note)


def _median(bench: Bench, work: Callable[[], T]) -> tuple[float, T]:
    runs = [within(work) for _ in range(bench.rounds)]
    return median(seconds for seconds, _ in runs), runs[-1][1]


def _select(request: BuildRequest, session: Session) -> PackageSelection:
    """The packages that the full QEMU's closure is made of."""
    manifest = load_manifest(request)
    index = open_archives(with_archives(request, manifest), manifest, "amd64", session)
    return select_packages(ASKED, PackageSource(index, find_mirror(""), session), arch="amd64")


def _qemu(bench: Bench, selection: PackageSelection, session: Session) -> tuple[Line, ...]:
    """Facts of every package of the closure, once; then resolving with them."""
    once = []
    for _ in range(min(bench.rounds, 3)):
        store = _only_packages(bench, selection.packages, session.store)
        seconds, _ = within(partial(load_facts, selection.packages, store, SilentProgress()))
        once.append(seconds)
    again, closure = _median(
        bench,
        lambda: resolve(
            ASKED, load_facts(selection.packages, session.store, SilentProgress()), arch="amd64"
        ),
    )
    files = [one.entry for one in closure.files.values() if one.entry.kind is FileType.FILE]
    elf = _elf(files, selection.files)
    size = sum(one.size for one in files)
    note = f"{len(selection.packages)} packages; {elf} ELF files of {size:,} bytes in the closure"
    return (
        Line(f"ours: facts of {QEMU}'s closure, once", median(once), 4.0, note),
        Line(f"ours: {PROGRAM}, facts in the store", again, 0.0, note),
    )


def _elf(files: Sequence[FileEntry], offered: Sequence[PackageFiles]) -> int:
    """How many of the files are ELF objects."""
    return sum(
        any(isinstance(one.facts(entry.path), Elf) for one in offered if entry.path in one.entries)
        for entry in files
    )


def _only_packages(bench: Bench, packages: Sequence[Package], store: Store) -> Store:
    """A store with these packages and nothing else."""
    directory = bench.work / "facts"
    shutil.rmtree(directory, ignore_errors=True)
    fresh = Store(directory)
    for package in packages:
        fresh.add(store.require(package.sha256))
    return fresh


def _others(bench: Bench, tree: Path) -> list[Line]:
    """Programs that follow the libraries of the same file in an unpacked tree."""
    if not (tree / PROGRAM.removeprefix("/")).exists():
        return []
    chroot = path_of("chroot")
    scratch = tree / "bench-scratch"
    asked: dict[str, tuple[list[str | Path], str]] = {
        "ld.so --list": ([chroot or "chroot", tree, "/lib64/ld-linux-x86-64.so.2", "--list", PROGRAM],
                         "the loader itself: needs the tree, and root"),
        "dracut-install -l": ([chroot or "chroot", tree, "/usr/lib/dracut/dracut-install", "-D",
                               "/bench-scratch", "-l", PROGRAM], "copies the files too"),
        "lddtree": ([path_of("lddtree") or "", "-l", "-R", tree, PROGRAM], "apt install pax-utils python3-pyelftools"),
    }  # fmt: skip
    result = []
    for name, (argv, note) in asked.items():
        if not argv[0]:
            result.append(Line(name, 0.0, 0.0, f"not here ({note})"))
            continue
        times, say = [], note
        try:
            for _ in range(bench.rounds):
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                times.append(run_timed(argv, cwd=bench.work, env=PLAIN).seconds)
        except Failed as failed:
            times = [0.0]
            say = f"{note}: {str(failed).splitlines()[-1]}"
        result.append(Line(name, median(times), 0.0, say))
    shutil.rmtree(scratch, ignore_errors=True)
    return result
