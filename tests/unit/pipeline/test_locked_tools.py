"""The tools of a lock: which packages are pinned, and which are opened."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from minbuild.archive.index import Index
from minbuild.archive.mirror import build_mirror
from minbuild.archive.model import Package
from minbuild.errors import ArchiveError
from minbuild.facts.model import PackageFiles
from minbuild.pipeline.locked_tools import list_depended_packages, resolve_locked_roots
from minbuild.pipeline.package_selection import PackageSource
from minbuild.pipeline.session import Session
from minbuild.resolve.policy import DEFAULT_POLICY
from tests.unit.resolve.builders import LIB, libc, library, package, program, root

TOOL = root("/usr/bin/tool", package="tool")
FILES = {
    files.owner: files
    for files in (
        libc(),
        package("tool", {"/usr/bin/tool": program("liba.so.1", "libc.so.6")}, depends=("liba1", "libc6", "big")),
        package("liba1", {f"{LIB}/liba.so.1": library("liba.so.1", "libb.so.2")}, depends=("libb2", "libc6")),
        package("libb2", {f"{LIB}/libb.so.2": library("libb.so.2")}),
        package("big", {"/usr/bin/big": program("libc.so.6")}),
    )
}  # fmt: skip


def pin(name: str) -> Package:
    return Package(
        name, "1", "amd64", "debian", f"pool/{name}.deb", 1, name.rjust(64, "0"), "trixie"
    )


def resolve_locked(*names: str) -> tuple[bool, list[list[str]]]:
    """Whether the tool has all that it needs, and what was opened, step by step."""
    steps: list[list[str]] = []

    def open_packages(packages: Sequence[Package]) -> list[PackageFiles]:
        steps.append(sorted(one.name for one in packages))
        return [FILES[one.name] for one in packages]

    closure, files = resolve_locked_roots(
        [TOOL], [pin(name) for name in names], open_packages, arch="amd64", policy=DEFAULT_POLICY
    )
    assert sorted(name for step in steps for name in step) == sorted(one.owner for one in files)
    return not closure.unmet_needs, steps


def test_only_packages_that_needs_lead_to_are_opened() -> None:
    is_met, steps = resolve_locked(*sorted(FILES))
    assert is_met
    assert steps[0] == ["tool"]
    assert sorted(name for step in steps for name in step) == ["liba1", "libb2", "libc6", "tool"]


def test_what_no_package_of_the_lock_has_is_unmet_when_all_were_opened() -> None:
    is_met, steps = resolve_locked("big", "liba1", "libc6", "tool")
    assert not is_met
    assert sorted(name for step in steps for name in step) == ["big", "liba1", "libc6", "tool"]


class Names(Index):
    """An index of names alone."""

    def find_package(self, name: str) -> Package | None:
        return pin(name) if name in DEPENDS else None

    def find_depends(self, name: str) -> tuple[tuple[str, ...], ...]:
        return DEPENDS[name]

    def find_providers(self, virtual: str) -> tuple[str, ...]:
        return ("mawk", "gawk") if virtual == "awk" else ()


DEPENDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "tool": (("awk",), ("gone", "liba1"), ("nowhere",), ("debconf", "tool")),
    "liba1": (("libc6",), ("tool",)),
    "libc6": (),
    "mawk": (("libc6",),),
    "gawk": (),
    "debconf": (),
}


def test_dependencies_are_pinned_without_a_look_into_any(tmp_path: Path) -> None:
    source = PackageSource(
        Names((), ()), build_mirror(["http://127.0.0.1:9/debian"], "test", {}), Session(tmp_path)
    )
    names = [one.name for one in list_depended_packages([TOOL], source)]
    assert sorted(names) == ["liba1", "libc6", "mawk", "tool"]
    assert not list(tmp_path.iterdir())


def test_a_tool_s_own_package_must_be_there(tmp_path: Path) -> None:
    source = PackageSource(
        Names((), ()), build_mirror(["http://127.0.0.1:9/debian"], "test", {}), Session(tmp_path)
    )
    with pytest.raises(ArchiveError, match="no package other"):
        list_depended_packages([root("/usr/bin/other", package="other")], source)
