"""Real tools and a tiny host, made of packages of the machine's mirror."""

import lzma
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.archive.index import open_index
from minbuild.archive.mirror import find_mirror
from minbuild.build.growing import Market, grow
from minbuild.build.request import Doors
from minbuild.facts.content import extract, extract_all
from minbuild.facts.types import Kind
from minbuild.manifest.tools import load_tools
from minbuild.manifest.types import Archive
from minbuild.progress import Silent
from minbuild.resolve.roots import tool_roots
from minbuild.store import Store
from minbuild.toolbox.toolbox import Toolbox
from tests.unit.lab.tiny import MODULES, initramfs

TOOLS = ("dnsmasq", "ip", "mke2fs", "qemu-system-x86_64")


@dataclass(frozen=True)
class Bench:
    """What a boot needs."""

    tools: Toolbox
    kernel: Path
    initramfs: Path


@pytest.fixture(scope="session")
def store() -> Store:
    """One store for all test runs of this user: packages are fetched once."""
    return Store(Path(tempfile.gettempdir()) / f"minbuild-lab-tests-{os.getuid()}")


@pytest.fixture(scope="session")
def bench(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    market = market_of(store)
    directory = tmp_path_factory.mktemp("host")
    kernel, modules = kernel_of(market, store)
    (directory / "vmlinuz").write_bytes(kernel)
    (directory / "initrd").write_bytes(initramfs(busybox_of(market, store), modules))
    return Bench(toolbox_of(market, store), directory / "vmlinuz", directory / "initrd")


def market_of(store: Store) -> Market:
    archive = Archive(suites=("trixie",))
    mirror = find_mirror("")
    index = open_index(archive, "amd64", mirror, store, offline=False, progress=Silent())
    return Market(index, mirror, Doors(store.directory, Silent()))


def toolbox_of(market: Market, store: Store) -> Toolbox:
    tools = [tool for tool in load_tools() if tool.name in TOOLS]
    grown = grow([root for tool in tools for root in tool_roots(tool)], market, arch="amd64")
    assert grown.closure.missing == ()
    chosen = grown.closure.chosen.values()
    wanted = {
        package: {one.entry.sha256 for one in chosen if one.package == package.name} - {""}
        for package in grown.packages
    }
    extract_all(wanted, store, Silent())
    return Toolbox(tools, [one.entry for one in chosen], store, arch="amd64")


def busybox_of(market: Market, store: Store) -> bytes:
    path = "/usr/bin/busybox"
    return contents(market, store, "busybox-static", (path,))[path]


def kernel_of(
    market: Market, store: Store, modules: tuple[str, ...] = MODULES
) -> tuple[bytes, dict[str, bytes]]:
    name = market.index.depends("linux-image-cloud-amd64")[0][0]
    version = name.removeprefix("linux-image-")
    image = f"/vmlinuz-{version}"
    found = contents(market, store, name, (image, *(f"/{one}.ko.xz" for one in modules)))
    return found[image], {one: lzma.decompress(found[f"/{one}.ko.xz"]) for one in modules}


def contents(market: Market, store: Store, name: str, ends: tuple[str, ...]) -> dict[str, bytes]:
    """The content of each file of a package, by how its path ends."""
    package = market.package(name)
    assert package is not None
    (files,) = market.open([package])
    digests = {
        end: entry.sha256
        for path, entry in files.entries.items()
        for end in ends
        if entry.kind is Kind.FILE and path.endswith(end)
    }
    extract(package, list(digests.values()), store)
    return {end: store.read(digest) or b"" for end, digest in digests.items()}
