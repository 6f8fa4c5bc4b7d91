"""Modules of a package: aliases kept by bus, the same as the facts say; facts when asked for."""

import threading
import time
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.facts import module_aliases
from minbuild.facts.kernel_modules import PIECE_SIZE, read_aliases, read_module
from minbuild.facts.model import Malformed, Module, PackageFiles
from minbuild.facts.package_facts import extract_contents, is_analysed, load_facts
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.support import deb, elf
from tests.support.patience import PATIENCE
from tests.unit.facts.packages import keep

A, B = (RootPath(f"/usr/lib/modules/6.1/kernel/{name}.ko.xz") for name in ("a-one", "b"))
TEXT = f"""
    Package: kernel
    {A}   module name=a_one alias=pci:v00001AF4d* alias=of:N*T*Cx-y alias=fs-a
    {B}   module name=b alias=pci:v* alias=devname:b
    /usr/share/doc/kernel/copyright file text
"""


def opened(store: Store) -> PackageFiles:
    (files,) = load_facts(keep(store, TEXT), store, SilentProgress())
    return files


def said(files: PackageFiles, bus: str | None) -> list[tuple[str, RootPath]]:
    assert files.aliases is not None
    return list(files.aliases(bus))


def test_a_bus_has_its_aliases_and_no_others(tmp_path: Path) -> None:
    files = opened(Store(tmp_path))
    assert said(files, "pci") == [("pci:v00001AF4d*", A), ("pci:v*", B)]
    assert said(files, "of") == [("of:N*T*Cx_y", A)]
    assert said(files, "") == [("fs_a", A)]
    assert said(files, "usb") == []


def test_all_aliases_are_those_of_the_modules(tmp_path: Path) -> None:
    files = opened(Store(tmp_path))
    facts = {path: files.facts(path) for path in (A, B)}
    every = {
        (module_aliases.normalize_alias(alias), path)
        for path, one in facts.items()
        if isinstance(one, Module)
        for alias in one.aliases
    }
    for _ in ("made", "kept"):
        assert set(said(files, None)) == every


@pytest.mark.parametrize("lost", ["", "pci"])
def test_a_lost_record_is_made_again(tmp_path: Path, lost: str) -> None:
    store = Store(tmp_path)
    files = opened(store)
    before = said(files, "pci"), said(files, None)
    (key,) = [key for key in store.get_all(RecordKind.MODULE_ALIASES) if key.endswith(f"/{lost}")]
    store.remove(RecordKind.MODULE_ALIASES, [key])
    assert (said(files, "pci"), said(files, None)) == before


def test_a_package_without_modules_has_no_aliases(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (files,) = load_facts(keep(store, "Package: one\n/usr/a file x"), store, SilentProgress())
    assert said(files, None) == said(files, "") == []
    assert not store.get_all(RecordKind.MODULE_ALIASES)


def test_a_module_is_read_when_it_is_asked_for_and_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = opened(store)
    said(files, None)
    assert not store.get_all(RecordKind.FACTS)
    assert isinstance(files.facts(B), Module)
    assert len(store.get_all(RecordKind.FACTS)) == 1


def test_modules_are_read_of_the_package_in_a_later_run(tmp_path: Path) -> None:
    opened(Store(tmp_path))
    later = Store(tmp_path)
    assert opened(later).facts(A) == opened(later).facts(A) is not None


def test_a_package_that_is_gone_is_fetched_when_a_module_is_asked_for(tmp_path: Path) -> None:
    opened(Store(tmp_path))
    later = Store(tmp_path)
    files = opened(later)
    (package,) = keep(later, TEXT)
    later.discard(package.sha256)
    with pytest.raises(CacheCorrupted, match=f"{A} must be read from a package") as caught:
        files.facts(A)
    assert caught.value.where == "kernel 1.0 (amd64)"
    assert "without --offline" in caught.value.fix
    assert not is_analysed(package, later)
    assert is_analysed(package, Store(tmp_path)), "others need no more than is known of it"
    keep(later, TEXT)
    assert is_analysed(package, later)
    assert isinstance(files.facts(A), Module)


def test_a_module_whose_content_is_kept_is_read_without_its_package(tmp_path: Path) -> None:
    opened(Store(tmp_path))
    later = Store(tmp_path)
    files = opened(later)
    (package,) = keep(later, TEXT)
    extract_contents(package, [files.entries[A].sha256], later)
    later.discard(package.sha256)
    assert isinstance(files.facts(A), Module)


def test_modules_that_are_all_links_have_no_aliases(tmp_path: Path) -> None:
    store = Store(tmp_path)
    text = f"Package: updates\n{A} -> /usr/lib/modules/6.0/kernel/a-one.ko.xz"
    (files,) = load_facts(keep(store, text), store, SilentProgress())
    assert said(files, None) == said(files, "pci") == said(files, "") == []


def test_who_reads_a_package_again_waits_for_others_who_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = opened(store)
    key = next(iter(store.get_all(RecordKind.MODULE_ALIASES)))
    store.remove(RecordKind.MODULE_ALIASES, [key])
    reader = threading.Thread(target=lambda: said(files, None))
    with Store(tmp_path).lock("facts"):
        reader.start()
        reader.join(0.5)
        assert reader.is_alive()
        assert store.get(RecordKind.MODULE_ALIASES, key) is None
    reader.join(PATIENCE)
    assert store.get(RecordKind.MODULE_ALIASES, key) is not None


PATH = "/usr/lib/modules/6.1/kernel/a.ko"
TAIL = "x" * 3 * PIECE_SIZE
"""What follows in a module: symbols and relocations."""


@pytest.mark.parametrize("ending", ["", ".xz", ".zst", ".gz"])
@pytest.mark.parametrize(
    "info",
    [
        (("alias", "one"), ("license", "GPL"), ("alias", "pci:*"), ("vermagic", "6.1 SMP ")),
        (("vermagic", "6.1 SMP "), ("parm", "a:says=x"), ("alias", "last")),
        (("description", "ümlaut \x01"), ("vermagic", "6.1 SMP "), ("depends", "")),
        (("alias", "of another kernel"), ("vermagic", "6.2 SMP ")),
        (("alias", "without vermagic"),),
        (("alias", "no\nline"), ("vermagic", "6.1 SMP ")),
        (*(("alias", f"pci:{number:09}") for number in range(4000)), ("vermagic", "6.1 ")),
    ],
)
def test_a_part_of_a_module_tells_what_all_of_it_does(
    info: tuple[tuple[str, str], ...], ending: str
) -> None:
    data = elf.module(info, imports=[TAIL])
    packed = deb.compress(data, ending[1:])
    whole = read_module(PATH + ending, packed)
    assert read_aliases(PATH + ending, packed) == (
        whole.aliases if isinstance(whole, Module) else ()
    )


def test_the_end_of_a_module_is_not_unpacked() -> None:
    data = elf.module((("alias", "one"), ("vermagic", "6.1 SMP ")), imports=[TAIL])
    cut = deb.compress(data, "xz")[:-8]
    assert isinstance(read_module(f"{PATH}.xz", cut), Malformed)
    assert read_aliases(f"{PATH}.xz", cut) == ("one",)
    assert read_aliases(f"{PATH}.xz", b"no module") == read_aliases(PATH, b"no module") == ()


@pytest.mark.parametrize("ending", [".xz", ".zst", ".gz"])
def test_a_module_may_not_unpack_to_far_more_than_it_is(ending: str) -> None:
    module = elf.module((("alias", "one"),))
    bomb = deb.compress(module + bytes(64 << 20), ending[1:])
    found = read_module(PATH + ending, bomb)
    assert isinstance(found, Malformed)
    assert "it unpacks to more than" in found.reason
    before = time.process_time()
    assert read_aliases(PATH + ending, bomb) == ()
    assert time.process_time() - before < 0.5, "it was unpacked whole"


def test_a_search_for_aliases_takes_time_in_proportion_to_the_module() -> None:
    """Sixteen megabytes are a thousand pieces: to search all of them again for each takes 5 s."""
    ends_never = (("vermagic", "6.1 SMP " + "x" * (16 << 20)),)
    has_none = (("parm", "x" * (16 << 20)),)
    for info in (ends_never, has_none):
        data = elf.module(info)
        before = time.process_time()
        assert read_aliases(PATH, data) == ()
        assert time.process_time() - before < 2
