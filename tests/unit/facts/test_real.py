"""Real packages from the machine's mirror, with what is known of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.archive.download import fetch_packages
from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.facts.detect import read_symbols
from minbuild.facts.model import (
    BuiltinModules,
    Elf,
    KernelConfig,
    Malformed,
    Module,
    PackageFiles,
    Symbols,
)
from minbuild.facts.module_aliases import normalize_alias
from minbuild.facts.package_facts import extract_contents, load_facts
from minbuild.formats.deb import open_deb, resolve_image_path
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.process import run_program
from minbuild.progress import SilentProgress
from tests.support.cache import make_run_directory
from tests.support.real_archive import open_real_archive

pytestmark = [pytest.mark.mirror, pytest.mark.xdist_group("kernel")]
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(make_run_directory(tmp_path_factory, "oracle-store"))


def packages(store: Store, *names: str) -> list[Package]:
    """Fetch packages of trixie; a name that ends with * is the newest that starts so."""
    market = open_real_archive(store, arch="amd64")
    found = [market.find_package(name) for name in names]
    kept = [package for package in found if package is not None]
    assert len(kept) == len(names)
    fetch_packages(kept, market.mirror, store, offline=False, progress=SilentProgress())
    return kept


def test_a_library_with_dlopen_notes(store: Store) -> None:
    (found,) = load_facts(packages(store, "libsystemd0"), store, SilentProgress())
    place = RootPath(f"{LIBRARIES}/libsystemd.so.0")
    entry = found.entries[place]
    assert entry.kind is FileType.LINK
    library = found.facts(RootPath(f"{LIBRARIES}/{entry.target}"))
    assert isinstance(library, Elf)
    assert (library.machine, library.soname) == ("EM_X86_64", "libsystemd.so.0")
    assert "libc.so.6" in library.needed
    assert ("libzstd.so.1",) in [note.sonames for note in library.dlopen]


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["busybox", "libc6", "util-linux"])
def test_dpkg_deb_lists_the_same(store: Store, name: str, tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb on this machine")
    (package,) = packages(store, name)
    (found,) = load_facts([package], store, SilentProgress())
    deb = store.path(package.sha256)
    assert deb is not None
    run_program(["dpkg-deb", "-x", deb, tmp_path], purpose="comparing")
    theirs = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*")}
    plain = {path for path in theirs if path not in ("/lib", "/lib64")}
    assert {path.replace("/lib64/", "/usr/lib64/", 1) if path.startswith("/lib64/") else path
            for path in plain} == set(found.entries)  # fmt: skip
    for entry in found.entries.values():
        path = tmp_path / entry.path.lstrip("/")
        if entry.kind is FileType.FILE and path.exists():
            assert path.stat().st_mode & 0o7777 == entry.mode
            assert path.stat().st_size == entry.size


def test_every_wanted_content_comes_out(store: Store) -> None:
    (package,) = packages(store, "busybox")
    (found,) = load_facts([package], store, SilentProgress())
    busybox = found.entries[RootPath("/usr/bin/busybox")]
    extract_contents(package, [busybox.sha256], store)
    data = store.read(busybox.sha256)
    assert data is not None
    assert len(data) == busybox.size


@pytest.fixture(scope="module")
def kernel(store: Store) -> PackageFiles:
    (meta,) = load_facts(packages(store, "linux-image-cloud-amd64"), store, SilentProgress())
    (name,) = [name for names in meta.depends for name in names if "cloud-amd64" in name]
    (found,) = load_facts(packages(store, name), store, SilentProgress())
    return found


def test_a_kernel_package(kernel: PackageFiles) -> None:
    modules = {
        fact.name: fact for path in kernel.entries if isinstance(fact := kernel.facts(path), Module)
    }
    assert len(modules) > 1000
    assert not [path for path in kernel.entries if isinstance(kernel.facts(path), Malformed)]
    assert modules["virtio_net"].depends == ("net_failover",)
    assert modules["net_failover"].depends == ("failover",)
    assert "virtio:d00000001v*" in modules["virtio_net"].aliases
    assert modules["kvm_amd"].depends[0] == "kvm" or "kvm" in modules["kvm_amd"].depends
    assert all(module.vermagic for module in modules.values())
    aliases = {
        (normalize_alias(alias), path)
        for path in kernel.entries
        if isinstance(fact := kernel.facts(path), Module)
        for alias in fact.aliases
    }
    assert kernel.aliases is not None
    assert set(kernel.aliases(None)) == aliases, "read of a part of each module"


def test_modules_and_their_kernel_agree_about_every_symbol(
    kernel: PackageFiles, store: Store
) -> None:
    """`depends` of each module names exactly the modules whose exports it wants, CRC for CRC."""
    symbols = dict(read_all_symbols(store, kernel.owner))
    found = [
        (fact, symbols[path])
        for path in kernel.entries
        if isinstance(fact := kernel.facts(path), Module)
    ]
    assert len(found) > 1000
    owner = {symbol: module.name for module, offers in found for symbol in offers.defined}
    (image,) = [path for path in symbols if "/vmlinuz-" in path]
    for module, wants in found:
        rest = set(wants.undefined) - set(symbols[image].defined)
        assert {owner[symbol] for symbol in rest} - {module.name} == set(module.depends)
        assert all("@" in symbol for symbol in wants.undefined)


def read_all_symbols(store: Store, name: str) -> Iterator[tuple[RootPath, Symbols]]:
    """The symbols of every module of a kernel's package, and of its image."""
    (package,) = packages(store, name)
    path = store.path(package.sha256)
    assert path is not None
    with open_deb(path, name) as deb:
        deb.read_control()
        tar = deb.open_data()
        for header in tar:
            member = resolve_image_path(header)
            if ".ko" in member or member.startswith("/boot/vmlinuz-"):
                found = read_symbols(member, tar.read_content())
                assert found is not None
                yield member, found


def test_a_package_keeps_no_symbols_of_modules_which_only_a_tree_is_asked_for(
    kernel: PackageFiles,
) -> None:
    paths = [path for path in kernel.entries if ".ko" in path or "/vmlinuz-" in path]
    assert not [path for path in paths if kernel.symbols(path) is not None]


def test_a_kernel_config_and_builtins(kernel: PackageFiles) -> None:
    facts = [kernel.facts(path) for path in kernel.entries]
    (config,) = [fact for fact in facts if isinstance(fact, KernelConfig)]
    assert config.options["KVM"] == "m"
    lists = [fact for fact in facts if isinstance(fact, BuiltinModules)]
    assert len(lists) == 2
    assert all("ext4" in one.modules for one in lists)
