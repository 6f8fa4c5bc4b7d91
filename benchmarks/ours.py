"""What is measured of minbuild's own commands."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import Bench, Run, minbuild
from minbuild.cache.store import Store

FORGOTTEN = ("built/1", "segment/1")
"""Kinds of records without which every segment is packed again."""

DONE = (0, 1)
"""Exit codes of a finished build: packed by zstd, the host is over its budget."""


@dataclass(slots=True)
class Ground:
    """A directory in which host.yaml was built, and the store it was built with."""

    directory: Path
    store: Path
    changes: int = 0

    def run(self, *words: str | Path, ends: tuple[int, ...] = (0,)) -> Run:
        """Run the command there."""
        return minbuild(*words, cwd=self.directory, store=self.store, ends=ends)


@dataclass(frozen=True, slots=True)
class Row:
    """One command to be measured, and what is asked of it."""

    name: str
    limit: float
    """Seconds."""
    run: Callable[[Ground], Run]


def open_ground(bench: Bench) -> Ground:
    """Build host.yaml once, xz and zstd, so that everything is in the store."""
    directory = bench.work / "warm"
    directory.mkdir(parents=True, exist_ok=True)
    ground = Ground(directory, bench.work / "store")
    ground.run("make", "host.yaml")
    ground.run("make", "host.yaml", "--compression", "zstd", "-o", "zstd", ends=DONE)
    ground.run("make", *SHIPPED)
    return ground


def rows() -> tuple[Row, ...]:
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


def cold(bench: Bench) -> tuple[Run, Path]:
    """Build from an empty store and without a lock; returns the output directory too."""
    directory = bench.work / "cold"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run = minbuild("make", "host.yaml", cwd=directory, store=directory / "store")
    return run, directory / "build" / "host"


def repack(ground: Ground) -> Run:
    """Build with packages and facts in the store, and pack every segment again."""
    store = Store(ground.store)
    for kind in FORGOTTEN:
        kept = store.get_all(kind)
        store.remove(kind, kept)
        for value in kept.values() if kind == "segment/1" else ():
            store.discard(value.decode("ascii"))
    return ground.run("make", "host.yaml")


SHIPPED = ("host.yaml", "guest.yaml", "edge.yaml", "host-full.yaml", "debug.yaml")
"""Manifests that share packages."""


def shipped(ground: Ground, *manifests: str) -> Run:
    """Build shipped manifests whose packages, facts and segments are in the store, images anew."""
    for name in manifests:
        shutil.rmtree(ground.directory / "build" / name.removesuffix(".yaml"), ignore_errors=True)
    return ground.run("make", *manifests)


def several(ground: Ground, count: int) -> Run:
    """Build `count` hosts in one run, each with a name of its own, none of them built before."""
    with _hosts(ground, count) as manifests:
        return ground.run("make", *manifests)


@contextmanager
def _hosts(ground: Ground, count: int) -> Iterator[list[str]]:
    names = [f"bench{number}" for number in range(1, count + 1)]
    made = [ground.directory / f"{name}.yaml" for name in names]
    for name, path in zip(names, made, strict=True):
        text = f"minbuild: 1\nname: {name}\nextends: [host.yaml]\n"
        ground.changes += 1
        path.write_text(f"{text}vars: {{hostname: bench-{ground.changes}}}\n", encoding="utf-8")
        shutil.copyfile(ground.directory / "host.lock", path.with_suffix(".lock"))
    try:
        yield [path.name for path in made]
    finally:
        for name, path in zip(names, made, strict=True):
            path.unlink()
            path.with_suffix(".lock").unlink()
            shutil.rmtree(ground.directory / "build" / name, ignore_errors=True)


def _unchanged(ground: Ground) -> Run:
    ground.run("make", "host.yaml")  # may have changed: the row before is of this one's kind
    return ground.run("make", "host.yaml")


def _template(ground: Ground) -> Run:
    ground.changes += 1
    return ground.run("make", "host.yaml", "--set", f"hostname=bench-{ground.changes}", "-o", "xz")


def _component(ground: Ground) -> Run:
    """One component more than before, or one less, and a name of its own."""
    ground.changes += 1
    path = ground.directory / "component.yaml"
    more = "services: {use: [power-button]}\n" if ground.changes % 2 else ""
    path.write_text(
        "minbuild: 1\nname: component\nextends: [host.yaml]\n"
        f"vars: {{hostname: bench-{ground.changes}}}\nbudget: {{files: 60}}\n{more}",
        encoding="utf-8",
    )
    # the lock of a manifest that has it, and more
    return ground.run("make", path.name, "--lock", "host-full.lock")


def _template_zstd(ground: Ground) -> Run:
    ground.changes += 1
    name = f"hostname=bench-{ground.changes}"
    return ground.run(
        "make", "host.yaml", "--compression", "zstd", "--set", name, "-o", "zstd", ends=DONE
    )
