"""What is measured of minbuild's own commands."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import Bench, Run, minbuild
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store

FORGOTTEN = (RecordKind.BUILD, RecordKind.SEGMENT)
"""Kinds of records without which every segment is packed again."""

DONE = (0, 1)
"""Exit codes of a finished build: packed by zstd, the host is over its budget."""


@dataclass(slots=True)
class Workspace:
    """A directory in which host.yaml was built, and the store it was built with."""

    directory: Path
    store: Path
    changes: int = 0

    def run(self, *argv: str | Path, ends: tuple[int, ...] = (0,)) -> Run:
        """Run the command there."""
        return minbuild(*argv, cwd=self.directory, store=self.store, ends=ends)


@dataclass(frozen=True, slots=True)
class Row:
    """One command to be measured, and what is asked of it."""

    name: str
    limit: float
    """Seconds."""
    run: Callable[[Workspace], Run]


def open_workspace(bench: Bench) -> Workspace:
    """Build host.yaml once, xz and zstd, so that everything is in the store."""
    directory = bench.work / "warm"
    directory.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(directory, bench.work / "store")
    workspace.run("make", "host.yaml")
    workspace.run("make", "host.yaml", "--compression", "zstd", "-o", "zstd", ends=DONE)
    workspace.run("make", *SHIPPED)
    return workspace


def measure_rows() -> tuple[Row, ...]:
    """Every row of a command whose packages and facts are in the store."""
    return (
        Row("minbuild --help", 0.15, lambda ground: ground.run("--help")),
        Row("an argument error", 0.15, lambda ground: ground.run("make", "--no", ends=(2,))),
        Row("make, nothing changed", 0.30, _unchanged),
        Row("make, one template changed, xz", 1.5, _template),
        Row("make, one component changed, xz", 1.5, _component),
        Row("make, one template changed, zstd", 0.8, _template_zstd),
        Row("plan", 0.35, lambda ground: ground.run("plan", "host.yaml")),
        Row("why", 0.35, lambda ground: ground.run("why", "build/host", "/usr/bin/busybox")),
        Row("diff", 0.35, lambda ground: ground.run("diff", "build/host", "build/host")),
    )


def measure_cold(bench: Bench) -> tuple[Run, Path]:
    """Build from an empty store and without a lock; returns the output directory too."""
    directory = bench.work / "cold"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run = minbuild("make", "host.yaml", cwd=directory, store=directory / "store")
    return run, directory / "build" / "host"


def measure_repack(workspace: Workspace) -> Run:
    """Build with packages and facts in the store, and pack every segment again."""
    store = Store(workspace.store)
    for kind in FORGOTTEN:
        remaining = store.get_all(kind)
        store.remove(kind, remaining)
        for value in remaining.values() if kind is RecordKind.SEGMENT else ():
            store.discard(value.decode("ascii"))
    return workspace.run("make", "host.yaml")


SHIPPED = ("host.yaml", "guest.yaml", "edge.yaml", "host-full.yaml", "debug.yaml")
"""Manifests that share packages."""


def measure_shipped(workspace: Workspace, *manifests: str) -> Run:
    """Build shipped manifests whose packages, facts and segments are in the store, images anew."""
    for name in manifests:
        shutil.rmtree(
            workspace.directory / "build" / name.removesuffix(".yaml"), ignore_errors=True
        )
    return workspace.run("make", *manifests)


def measure_several(workspace: Workspace, count: int) -> Run:
    """Build `count` hosts in one run, each with a name of its own, none of them built before."""
    with _hosts(workspace, count) as manifests:
        return workspace.run("make", *manifests)


@contextmanager
def _hosts(workspace: Workspace, count: int) -> Iterator[list[str]]:
    names = [f"bench{number}" for number in range(1, count + 1)]
    result = [workspace.directory / f"{name}.yaml" for name in names]
    for name, path in zip(names, result, strict=True):
        text = f"minbuild: 1\nname: {name}\nextends: [host.yaml]\n"
        workspace.changes += 1
        path.write_text(f"{text}vars: {{hostname: bench-{workspace.changes}}}\n", encoding="utf-8")
        shutil.copyfile(workspace.directory / "host.lock", path.with_suffix(".lock"))
    try:
        yield [path.name for path in result]
    finally:
        for name, path in zip(names, result, strict=True):
            path.unlink()
            path.with_suffix(".lock").unlink()
            shutil.rmtree(workspace.directory / "build" / name, ignore_errors=True)


def _unchanged(workspace: Workspace) -> Run:
    workspace.run("make", "host.yaml")  # may have changed: the row before is of this one's kind
    return workspace.run("make", "host.yaml")


def _template(workspace: Workspace) -> Run:
    workspace.changes += 1
    return workspace.run(
        "make", "host.yaml", "--set", f"hostname=bench-{workspace.changes}", "-o", "xz"
    )


def _component(workspace: Workspace) -> Run:
    """One component more than before, or one less, and a name of its own."""
    workspace.changes += 1
    path = workspace.directory / "component.yaml"
    more = "services: {use: [power-button]}\n" if workspace.changes % 2 else ""
    path.write_text(
        "minbuild: 1\nname: component\nextends: [host.yaml]\n"
        f"vars: {{hostname: bench-{workspace.changes}}}\nbudget: {{files: 60}}\n{more}",
        encoding="utf-8",
    )
    # the lock of a manifest that has it, and more
    return workspace.run("make", path.name, "--lock", "host-full.lock")


def _template_zstd(workspace: Workspace) -> Run:
    workspace.changes += 1
    name = f"hostname=bench-{workspace.changes}"
    return workspace.run(
        "make", "host.yaml", "--compression", "zstd", "--set", name, "-o", "zstd", ends=DONE
    )
