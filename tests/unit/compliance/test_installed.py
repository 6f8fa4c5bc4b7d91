"""Bills of an image that was made of an installed root: its packages by the root's own word."""

import json
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, Package
from minbuild.compliance.built_image import (
    BuiltImage,
    get_source,
    open_built_image,
    require_archive_packages,
)
from minbuild.compliance.cyclonedx import build_bom, render_cyclonedx
from minbuild.compliance.spdx import render_spdx
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.pipeline import build
from minbuild.pipeline.session import BuildRequest, Session
from tests.dib.installed import install
from tests.e2e.conftest import small
from tests.e2e.small_host import PACKAGES, Small, minbuild
from tests.support.footprint_variants import change_footprint

__all__ = ["small"]

DEBIAN = 'NAME="Debian"\nID=debian\nVERSION_CODENAME=trixie\n'


@pytest.fixture
def shipment(small: Small) -> BuiltImage:
    """What a build of a root of dpkg's would hold."""
    text = PACKAGES.replace("Package: libhello1\n", "Package: libhello1\nSource: hello (0.9)\n")
    root = install(text, small.directory / "root")
    (root / "usr/lib/os-release").write_text(DEBIAN, encoding="utf-8")
    (root / "etc/stray").write_text("stray", encoding="utf-8")
    path = small.write("  - {package: hello, paths: [/etc/stray]}\n")
    request = BuildRequest(path, root=root, lock=small.directory / "small.lock")
    doors = Session(small.directory / "store")
    ready = build.plan_build(request, doors)
    directory = small.directory / "build"
    directory.mkdir()
    lockfile.write_lock(directory / "small.lock", ready.resolved.lock)
    words = small.argv("plan", str(path), "--root", str(root), "--json")
    plan = minbuild(*words, cwd=small.directory)
    assert plan.code == 0, plan.err
    (directory / "footprint.json").write_text(plan.out, encoding="utf-8")
    return open_built_image(directory)


def test_packages_of_a_root_are_those_of_its_distribution(shipment: BuiltImage) -> None:
    found = json.loads(render_cyclonedx(shipment, {}))
    purls = {one["name"]: one["purl"] for one in found["components"]}
    assert purls["hello"] == "pkg:deb/debian/hello@1.0?arch=amd64&distro=trixie"
    assert "upstream=hello" in purls["libhello1"]
    assert not any("hashes" in one for one in found["components"])
    assert "(unowned)" not in purls
    assert "/etc/stray" in {one.path for one in shipment.files[""]}
    assert "pkg:deb/debian/hello@1.0" in render_spdx(shipment, {}, "urn:uuid:0", {})
    sources = {one.name: get_source(one) for one in shipment.packages}
    assert sources["libhello1"] == ("hello", "0.9")


def test_what_only_an_archive_tells_is_refused(shipment: BuiltImage) -> None:
    with pytest.raises(UsageError, match="installed root"):
        require_archive_packages(shipment, "their licences")


def test_an_rpm_has_its_epoch_beside_its_version(tmp_path: Path) -> None:
    packages = tuple(
        Package(name, version, "x86_64", "", "installed/rpm/fedora", 0, "1" * 64, suite="40")
        for name, version in (("busybox", "1:5.2-3"), ("linux-image", "6.9-1"))
    )
    (tmp_path / "footprint.json").write_text(
        document.render_footprint(change_footprint()), encoding="utf-8"
    )
    lockfile.write_lock(tmp_path / "x.lock", Lock("amd64", (), packages, ()))
    found = {one.name: one for one in build_bom(open_built_image(tmp_path), {}).components}
    one = found["busybox"]
    assert str(one.purl) == "pkg:rpm/fedora/busybox@5.2-3?arch=x86_64&distro=40&epoch=1"
    assert str(found["linux-image"].purl).startswith("pkg:rpm/fedora/linux-image@6.9-1?")
    assert one.supplier is not None
    assert one.supplier.name == "fedora"
