"""What maintainer scripts would make, among the files of a package."""

from collections.abc import Collection
from pathlib import Path

import pytest

from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.facts.model import PackageFiles, TextLines
from minbuild.manifest.model import Location
from minbuild.manifest.rule_files import InstallRule, RuleSet
from minbuild.paths import RootPath
from minbuild.pipeline.maintainer_scripts import with_generated_files
from tests.unit.resolve.builders import package

HERE = Location("components/rules/app.yaml", 2, 5)
APP = Package("app", "1", "amd64", "debian", "app.deb", 1, "0" * 64)


def made(files: PackageFiles, store: Store, *installs: InstallRule) -> PackageFiles:
    def bring(package: Package, digests: Collection[str]) -> None:
        raise AssertionError(f"no content of {package.name} is needed: {digests}")

    (found,) = with_generated_files((files,), (APP,), RuleSet(installs=installs), store, bring)
    return found


def test_an_alternative_is_two_links_where_its_file_is_there(tmp_path: Path) -> None:
    files = package("app", {"/usr/bin/app": None})
    there = InstallRule(HERE, "app", "/usr/bin/edit", alternative="edit", to="/bin/app")
    gone = InstallRule(HERE, "app", "/usr/bin/view", alternative="view", to="/usr/bin/viewer")
    found = made(files, Store(tmp_path), there, gone)
    assert {path: one.target for path, one in found.entries.items() if one.target} == {
        "/etc/alternatives/edit": "/bin/app",
        "/usr/bin/edit": "/etc/alternatives/edit",
    }
    assert list(found.entries) == sorted(found.entries)


def test_a_path_that_the_package_ships_stays(tmp_path: Path) -> None:
    files = package("app", {"/usr/bin/app": None, "/usr/bin/edit": "-> other"})
    rule = InstallRule(HERE, "app", "/usr/bin/edit", alternative="edit", to="/usr/bin/app")
    found = made(files, Store(tmp_path), rule)
    assert found.entries[RootPath("/usr/bin/edit")].target == "other"


def test_a_copy_has_the_content_and_the_facts_of_its_file(tmp_path: Path) -> None:
    files = package("app", {"/usr/share/app/app.conf": TextLines(("load one",))})
    rule = InstallRule(HERE, "app", "/etc/app.conf", copies="/usr/share/app/app.conf")
    found = made(files, Store(tmp_path), rule)
    copy, source = (found.entries[RootPath(path)] for path in ("/etc/app.conf", rule.copies))
    assert (copy.path, copy.sha256, copy.mode) == ("/etc/app.conf", source.sha256, source.mode)
    assert found.facts(RootPath("/etc/app.conf")) == TextLines(("load one",))


@pytest.mark.parametrize("owner", ["other", ""])
def test_another_packages_files_are_left_alone(tmp_path: Path, owner: str) -> None:
    files = package(owner, {"/usr/bin/app": None})
    rule = InstallRule(HERE, "app", "/usr/bin/edit", alternative="edit", to="/usr/bin/app")
    assert made(files, Store(tmp_path), rule) is files
