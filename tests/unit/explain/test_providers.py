"""Where a path that an image has not could come from."""

from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.model import Lock
from minbuild.cache.store import Store
from minbuild.explain.providers import suggest_providers
from minbuild.facts.package_facts import load_facts
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.unit.facts.packages import keep

TEXT = """
    Package: tools
    /usr/bin/hex        elf needed=libc.so.6
    /usr/sbin/oct       elf needed=libc.so.6
"""
COMPONENTS = {
    "boot/hex": "summary: hex\npackages: {tools: [/usr/bin/hex]}\n",
    "boot/all": "summary: all of them\npackages: {tools: ['/usr/bin/*', '/usr/bin/o*']}\n",
    "boot/broken": "summary: [\n",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    packages = keep(Store(tmp_path / "store"), TEXT)
    load_facts(packages, Store(tmp_path / "store"), SilentProgress())
    (tmp_path / "build").mkdir()
    lockfile.write_lock(tmp_path / "build/host.lock", Lock("amd64", (), tuple(packages), ()))
    for name, text in COMPONENTS.items():
        path = tmp_path / "components" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def said(place: Path, path: str) -> list[str]:
    store = Store(place / "store")
    return list(
        suggest_providers(RootPath(path), place / "build/host.lock", store, [place / "components"])
    )


def test_packages_of_the_lock_and_components_are_named(place: Path) -> None:
    assert said(place, "/usr/bin/hex") == [
        "the package tools 1.0, in the lock, holds /usr/bin/hex",
        "the component boot/hex asks tools for /usr/bin/hex",
    ]


def test_a_namesake_in_another_directory_will_do(place: Path) -> None:
    assert said(place, "/usr/bin/oct") == [
        "the package tools 1.0, in the lock, holds /usr/sbin/oct",
        "the component boot/all asks tools for /usr/bin/o*",
    ]


def test_a_lock_that_cannot_be_read_and_a_place_without_one_say_nothing(place: Path) -> None:
    (place / "build/host.lock").write_text("{")
    assert said(place, "/usr/share/oct") == []
    assert suggest_providers(RootPath("/oct"), None, Store(place / "store")) == ()
