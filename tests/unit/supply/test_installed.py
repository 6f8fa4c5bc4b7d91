"""Bills of an image that was made of an installed root: its packages by the root's own word."""

import json
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.types import Lock, Package
from minbuild.build import life
from minbuild.build.request import Doors, Request
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.supply.sbom import bill, cyclonedx
from minbuild.supply.shipment import Shipment, of_archive, open_shipment, source_of
from minbuild.supply.spdx import spdx
from tests.dib.installed import install
from tests.support.changed import changed
from tests.whole.conftest import small
from tests.whole.small import PACKAGES, Small, minbuild

__all__ = ["small"]

DEBIAN = 'NAME="Debian"\nID=debian\nVERSION_CODENAME=trixie\n'


@pytest.fixture
def shipment(small: Small) -> Shipment:
    """What a build of a root of dpkg's would hold."""
    text = PACKAGES.replace("Package: libhello1\n", "Package: libhello1\nSource: hello (0.9)\n")
    root = install(text, small.directory / "root")
    (root / "usr/lib/os-release").write_text(DEBIAN, encoding="utf-8")
    (root / "etc/stray").write_text("stray", encoding="utf-8")
    path = small.write("  - {package: hello, paths: [/etc/stray]}\n")
    request = Request(path, root=root, lock=small.directory / "small.lock")
    doors = Doors(small.directory / "store")
    ready = life.plan(request, doors)
    build = small.directory / "build"
    build.mkdir()
    lockfile.write(build / "small.lock", ready.ground.lock)
    words = small.argv("plan", str(path), "--root", str(root), "--json")
    plan = minbuild(*words, cwd=small.directory)
    assert plan.code == 0, plan.err
    (build / "footprint.json").write_text(plan.out, encoding="utf-8")
    return open_shipment(build)


def test_packages_of_a_root_are_those_of_its_distribution(shipment: Shipment) -> None:
    found = json.loads(cyclonedx(shipment, {}))
    purls = {one["name"]: one["purl"] for one in found["components"]}
    assert purls["hello"] == "pkg:deb/debian/hello@1.0?arch=amd64&distro=trixie"
    assert "upstream=hello" in purls["libhello1"]
    assert not any("hashes" in one for one in found["components"])
    assert "(unowned)" not in purls
    assert "/etc/stray" in {one.path for one in shipment.files[""]}
    assert "pkg:deb/debian/hello@1.0" in spdx(shipment, {}, "urn:uuid:0", {})
    sources = {one.name: source_of(one) for one in shipment.packages}
    assert sources["libhello1"] == ("hello", "0.9")


def test_what_only_an_archive_tells_is_refused(shipment: Shipment) -> None:
    with pytest.raises(UsageError, match="installed root"):
        of_archive(shipment, "their licences")


def test_an_rpm_has_its_epoch_beside_its_version(tmp_path: Path) -> None:
    packages = tuple(
        Package(name, version, "x86_64", "", "installed/rpm/fedora", 0, "1" * 64, suite="40")
        for name, version in (("busybox", "1:5.2-3"), ("linux-image", "6.9-1"))
    )
    (tmp_path / "footprint.json").write_text(document.render(changed()), encoding="utf-8")
    lockfile.write(tmp_path / "x.lock", Lock("amd64", (), packages, ()))
    found = {one.name: one for one in bill(open_shipment(tmp_path), {}).components}
    one = found["busybox"]
    assert str(one.purl) == "pkg:rpm/fedora/busybox@5.2-3?arch=x86_64&distro=40&epoch=1"
    assert str(found["linux-image"].purl).startswith("pkg:rpm/fedora/linux-image@6.9-1?")
    assert one.supplier is not None
    assert one.supplier.name == "fedora"
