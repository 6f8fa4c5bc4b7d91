"""Real tools and a tiny host, made of packages of the machine's mirror."""

import lzma
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.facts.package_facts import extract_contents
from minbuild.formats.root_entry import FileType
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.pipeline.package_selection import PackageSource
from minbuild.toolbox.toolbox import Toolbox
from tests.support.cache import cache_directory
from tests.support.real_archive import make_toolbox, open_real_archive
from tests.unit.lab.cpio import initramfs
from tests.unit.lab.tiny import APPLETS, INIT, LEASE, MODULES

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
    return Store(cache_directory("lab"))


@pytest.fixture(scope="session")
def bench(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    package_source = open_real_archive(store)
    directory = tmp_path_factory.mktemp("host")
    kernel, modules = kernel_of(package_source, store)
    (directory / "vmlinuz").write_bytes(kernel)
    packed = initramfs(busybox_of(package_source, store), APPLETS, modules, LEASE, INIT)
    (directory / "initrd").write_bytes(packed)
    tools = [tool for tool in load_tools() if tool.name in TOOLS]
    return Bench(make_toolbox(tools, package_source), directory / "vmlinuz", directory / "initrd")


def busybox_of(package_source: PackageSource, store: Store) -> bytes:
    path = "/usr/bin/busybox"
    return contents(package_source, store, "busybox-static", (path,))[path]


def kernel_of(
    package_source: PackageSource, store: Store, modules: tuple[str, ...] = MODULES
) -> tuple[bytes, dict[str, bytes]]:
    name = package_source.index.find_depends("linux-image-cloud-amd64")[0][0]
    version = name.removeprefix("linux-image-")
    image = f"/vmlinuz-{version}"
    content = contents(package_source, store, name, (image, *(f"/{one}.ko.xz" for one in modules)))
    return content[image], {one: lzma.decompress(content[f"/{one}.ko.xz"]) for one in modules}


def contents(
    package_source: PackageSource, store: Store, name: str, ends: tuple[str, ...]
) -> dict[str, bytes]:
    """The content of each file of a package, by how its path ends."""
    package = package_source.find_package(name)
    assert package is not None
    (files,) = package_source.fetch_and_analyse([package])
    digests = {
        end: entry.sha256
        for path, entry in files.entries.items()
        for end in ends
        if entry.kind is FileType.FILE and path.endswith(end)
    }
    extract_contents(package, list(digests.values()), store)
    return {end: store.read(digest) or b"" for end, digest in digests.items()}
