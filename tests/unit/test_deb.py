"""The Debian package depends on what trixie has, and brings the rest: docs/decisions/0025."""

import re
import tomllib
from collections.abc import Mapping

import pytest
from debian.changelog import Changelog
from debian.deb822 import Deb822, PkgRelation
from debian.debian_support import Version
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from minbuild import __version__
from minbuild.dib.python_bundle import DISTRIBUTIONS
from tests.unit.toolbox.real import store
from tools import deb
from tools.debian_root import PackageOffers, open_packages
from tools.dist import TOP

PACKAGES = {"python-debian": "python3-debian", "pyyaml": "python3-yaml"}
"""Distributions whose package is not python3-NAME."""


def read_requirements() -> Mapping[str, Requirement]:
    """Canonical name → what pyproject.toml asks for."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
    found = map(Requirement, project["dependencies"])
    return {canonicalize_name(one.name): one for one in found}


def read_depends() -> Mapping[str, str]:
    """Package → its lower bound in debian/control; "" without one."""
    with open(deb.DEBIAN / "control", encoding="utf-8") as file:
        _, binary = Deb822.iter_paragraphs(file)
    relations = PkgRelation.parse_relations(re.sub(r"\$\{[\w:]+\},?", "", binary["Depends"]))
    return {str(one["name"]): (one["version"] or ("", ""))[1] for (one,) in relations
            if (one["version"] or (">=", ""))[0] == ">="}  # fmt: skip


def read_vendored() -> Mapping[str, str]:
    """Canonical name → version in vendored.txt."""
    text = (deb.DEBIAN / "vendored.txt").read_text("utf-8")
    return {canonicalize_name(name): version
            for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}  # fmt: skip


def name_package(name: str) -> str:
    return PACKAGES.get(name, f"python3-{name}")


@pytest.fixture(scope="module")
def trixie() -> PackageOffers:
    return open_packages(store())


@pytest.mark.parametrize("name", read_requirements())
def test_a_dependency_is_a_package_with_the_same_bound_or_vendored(name: str) -> None:
    requirement, depends, vendored = read_requirements()[name], read_depends(), read_vendored()
    assert (name_package(name) in depends) != (name in vendored)
    if name in vendored:
        assert requirement.specifier.contains(vendored[name])
    else:
        assert str(requirement.specifier) == f">={depends[name_package(name)]}"


def test_what_diskimage_builder_imports_is_there() -> None:
    names = {canonicalize_name(name) for name in DISTRIBUTIONS}
    assert {name_package(name) for name in names - {*read_vendored()}} <= {*read_depends()}


@pytest.mark.mirror
@pytest.mark.parametrize("package", read_depends())
def test_trixie_has_what_the_package_depends_on(package: str, trixie: PackageOffers) -> None:
    found, bound = trixie.index.find_package(package), read_depends()[package]
    assert found is not None
    assert Version(found.version) >= Version(bound or "0")


@pytest.mark.mirror
@pytest.mark.parametrize("name", read_vendored())
def test_nothing_is_vendored_that_trixie_has(name: str, trixie: PackageOffers) -> None:
    package = "shfmt" if name == "shfmt-py" else name_package(name)
    found = trixie.index.find_package(package)
    assert found is None or not read_requirements()[name].specifier.contains(
        Version(found.version).upstream_version or ""
    ), f"{package} {found.version} is in trixie: depend on it"


def test_the_changelog_is_of_this_version() -> None:
    changelog = Changelog(deb.render_changelog(), strict=True)
    assert (str(changelog.version), changelog.distributions) == (__version__, "trixie")
