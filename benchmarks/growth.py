"""How time grows: with packages, with files, with manifests."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import Workspace, measure_several
from benchmarks.timing import Bench, within
from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.facts.package_facts import load_facts
from minbuild.footprint import document
from minbuild.footprint.measure import measure_image
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.model import Archive, Budget, KernelSettings, Location, Manifest
from minbuild.paths import RootPath, list_parents
from minbuild.progress import SilentProgress
from minbuild.report.text import render_text
from minbuild.resolve.model import Need, NeedKind, Root
from minbuild.resolve.resolution import resolve
from minbuild.rootfs.model import RootfsNode, RootfsTree
from tests.support import deb
from tests.support.elf import LOADER

OF_PACKAGES = "growth-packages"
PACKAGES = (1, 3, 10, 30, 100, 300, 1000)
FILES = (10, 100, 1_000, 10_000, 100_000)
MANIFESTS = (1, 2, 4, 8, 16, 32)
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
LEANS = 6
"""Libraries that a library of the grown archive needs."""
NEAR = 50
"""Packages that lean on each other and on no others: a process has tens of libraries, not all.

It divides 100 and 1,000, so that the processes of both are alike."""
HERE = Location("grown.yaml", 1, 1)


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds by size, one series for each thing measured."""

    name: str
    unit: str
    """Of the sizes: packages."""
    sizes: tuple[int, ...]
    series: dict[str, tuple[float, ...]]


def curves(bench: Bench, workspace: Workspace) -> Iterator[Curve]:
    """Measure every curve, one after the other."""

    def manifests(count: int) -> dict[str, float]:
        return {"make": measure_several(workspace, count).seconds}

    yield _curve(OF_PACKAGES, "packages", PACKAGES, _packages(bench))
    yield _curve("growth-files", "files", FILES, _files)
    yield _curve("growth-manifests", "manifests", MANIFESTS, manifests)


def _curve(
    name: str, unit: str, sizes: Sequence[int], measured: Callable[[int], dict[str, float]]
) -> Curve:
    rows = [measured(size) for size in sizes]
    series = {key: tuple(row[key] for row in rows) for key in rows[0]}
    return Curve(name, unit, tuple(sizes), series)


def _packages(bench: Bench) -> Callable[[int], dict[str, float]]:
    """Resolving the first packages of a made archive, their facts in the store."""
    store = Store(bench.work / "grown")
    result = [_keep(store, text) for text in (_libc(), *_texts(max(PACKAGES)))]
    load_facts(result, store, SilentProgress())

    def measured(count: int) -> dict[str, float]:
        some = result[: count + 1]
        asked = [
            Root(NeedKind.ROOT, f"/usr/bin/p{number}", "grown/all", "grown.yaml:1:1", f"p{number}")
            for number in range(count)
        ]
        loading, files = within(lambda: load_facts(some, store, SilentProgress()))
        resolving, closure = within(lambda: resolve(asked, files, arch="amd64"))
        if closure.unmet_needs or len(closure.files) < 3 * count:
            raise AssertionError(f"the grown archive does not resolve: {closure.unmet_needs[:3]}")
        return {"facts from the store": loading, "and resolve": loading + resolving}

    return measured


def _libc() -> str:
    loader = f"{LIBRARIES}/ld-linux-x86-64.so.2"
    return (
        f"Package: libc6\n{loader} 0755 elf soname=ld-linux-x86-64.so.2\n"
        f"/usr/lib64/ld-linux-x86-64.so.2 -> {loader}\n"
        f"{LIBRARIES}/libc.so.6 0755 elf soname=libc.so.6 exports=exit@GLIBC_2.34\n"
    )


def _texts(count: int) -> Iterator[str]:
    """Packages of a program and a library each, which leans on a few of those before it."""
    chance = random.Random(1)
    for number in range(count):
        before = range(number - number % NEAR, number)
        leans = sorted(chance.sample(before, min(len(before), LEANS)))
        needed = ",".join([*(f"libp{one}.so.1" for one in leans), "libc.so.6"])
        depends = ", ".join([*(f"p{one}" for one in leans), "libc6"])
        notes = "".join(f"/usr/share/doc/p{number}/{n} file text\n" for n in range(20))
        yield (
            f"Package: p{number}\nDepends: {depends}\n"
            f"/usr/bin/p{number} 0755 elf interp={LOADER} needed=libp{number}.so.1,libc.so.6\n"
            f"{LIBRARIES}/libp{number}.so.1 -> libp{number}.so.1.0\n"
            f"{LIBRARIES}/libp{number}.so.1.0 elf soname=libp{number}.so.1 needed={needed}\n{notes}"
        )


def _keep(store: Store, text: str) -> Package:
    (one,) = deb.parse(text)
    data = deb.build(one)
    return Package(one.name, "1.0", "amd64", "debian", one.file_name, len(data), store.add(data))


def _files(count: int) -> dict[str, float]:
    """Measuring and showing a tree of `count` files."""
    tree, weights = _tree(count)
    measuring, footprint = within(lambda: _measured(tree, weights))
    rendering, text = within(lambda: document.render_footprint(footprint))
    reading, _ = within(lambda: document.read_footprint(text, "grown"))
    showing, _ = within(lambda: render_text(footprint, top=10))
    return {
        "measure": measuring,
        "footprint.json written": rendering,
        "footprint.json read": reading,
        "report": showing,
    }


def _tree(count: int) -> tuple[RootfsTree, dict[str, int]]:
    paths = [RootPath(f"/usr/share/d{n % 97}/e{n % 1013}/f{n}") for n in range(count)]
    above = sorted({up for path in paths for up in list_parents(path) if up != "/"})
    nodes = [
        RootfsNode(path, FileType.DIRECTORY, 0o755, 0, 0, 0, "", "", "p", "boot/init")
        for path in above
    ]
    nodes += [
        RootfsNode(
            path, FileType.FILE, 0o644, 0, 0, 1000, f"{n:064x}", "", f"p{n % 50}", "boot/init"
        )
        for n, path in enumerate(paths)
    ]
    nodes.sort(key=lambda node: node.path)
    needs = tuple(
        sorted(Need(path, "boot/init", NeedKind.ROOT, "grown.yaml:1:1") for path in paths)
    )
    weights = {node.sha256: 500 for node in nodes if node.sha256}
    return RootfsTree(tuple(nodes), needs, RootPath("/usr/share/d0/e0/f0"), "6.1"), weights


def _measured(tree: RootfsTree, weights: dict[str, int]) -> Footprint:
    manifest = Manifest(
        name="grown",
        summary="",
        arch="amd64",
        file="grown.yaml",
        archive=Archive(suites=("trixie",)),
        variables={},
        kernel=KernelSettings("linux-image-cloud-amd64", (), HERE),
        components=(),
        drop=(),
        allow_missing=(),
        image=ImageSettings(),
        budget=Budget(),
    )
    size = 500 * len(weights)
    return measure_image(
        manifest, tree, (), initramfs=size, packed={"efi": size + 10_000}, weights=weights
    )


def csv(curve: Curve) -> str:
    """A curve as a table with commas."""
    head = [curve.unit, *curve.series]
    rows = [
        [str(size), *(f"{series[n]:.4f}" for series in curve.series.values())]
        for n, size in enumerate(curve.sizes)
    ]
    return "".join(",".join(row) + "\n" for row in (head, *rows))


def write(curve: Curve, directory: Path) -> None:
    """Write a curve as CSV and as SVG."""
    from benchmarks.svg import drawing

    (directory / f"{curve.name}.csv").write_text(csv(curve), encoding="utf-8")
    (directory / f"{curve.name}.svg").write_text(drawing(curve), encoding="utf-8")
