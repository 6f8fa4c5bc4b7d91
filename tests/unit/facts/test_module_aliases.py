"""Aliases of modules: kept by bus, the same as the facts say, made again when a record is lost."""

from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.facts import module_aliases
from minbuild.facts.model import Module, PackageFiles
from minbuild.facts.package_facts import load_facts
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
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


def test_a_kept_alias_needs_no_module(tmp_path: Path) -> None:
    store = Store(tmp_path)
    said(opened(store), "pci")
    kept = module_aliases.load_aliases(
        keep(store, TEXT)[0].sha256, "pci", list(opened(store).entries), _never, store
    )
    assert [path for _, path in kept] == [A, B]


def _never(path: RootPath) -> None:
    raise AssertionError(f"{path} was read")
