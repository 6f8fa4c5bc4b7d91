"""What is owed for real packages of the mirror."""

import pytest

from minbuild.archive.model import Package
from minbuild.archive.source_packages import find_source_packages
from minbuild.compliance.built_image import list_sources
from minbuild.compliance.licences import (
    collect_copyrights,
    list_archive_components,
    read_licences,
)
from minbuild.progress import SilentProgress
from tests.support.real_archive import TRIXIE, open_real_archive
from tests.unit.toolbox.real import store


@pytest.mark.mirror
def test_copyright_and_source_of_real_packages_are_found() -> None:
    market = open_real_archive(store())
    mirror = market.mirror
    found = [market.find_package(name) for name in ("libatomic1", "libseccomp2")]
    packages = [package for package in found if package is not None]
    texts = collect_copyrights(
        packages, TRIXIE, mirror, store(), offline=False, progress=SilentProgress()
    )
    # libatomic1's documentation is a link to gcc-14-base, which is not at hand at first
    assert "GCC" in texts[packages[0]]
    assert read_licences(texts[packages[1]]) == ("LGPL-2.1-only",)
    wanted = [pair for package in packages for pair in list_sources(package)]
    files = find_source_packages(
        wanted, TRIXIE, mirror, store(), offline=False, progress=SilentProgress()
    )
    assert sorted(files) == sorted(wanted)
    assert any(file.path.endswith(".dsc") and len(file.sha256) == 64
               for file in files[wanted[1]])  # fmt: skip


def test_sources_are_looked_for_in_every_component_that_a_package_is_from() -> None:
    paths = ("pool/main/b/b.deb", "pool/non-free-firmware/f/f.deb", "pool/updates/contrib/c.deb")
    packages = [Package("p", "1", "amd64", "debian", path, 0, "") for path in paths]
    assert list_archive_components(packages) == ("main", "contrib", "non-free-firmware")
