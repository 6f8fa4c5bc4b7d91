"""What is owed for real packages of the mirror."""

import pytest

from minbuild.archive.sources import sources
from minbuild.progress import Silent
from minbuild.supply.licence import licences
from minbuild.supply.owed import copyrights
from minbuild.supply.shipment import sources_of
from tests.support.market import TRIXIE, market_of
from tests.unit.toolbox.real import store


@pytest.mark.mirror
def test_copyright_and_source_of_real_packages_are_found() -> None:
    market = market_of(store())
    mirror = market.mirror
    found = [market.package(name) for name in ("libatomic1", "libseccomp2")]
    packages = [package for package in found if package is not None]
    texts = copyrights(packages, TRIXIE, mirror, store(), offline=False, progress=Silent())
    # libatomic1's documentation is a link to gcc-14-base, which is not at hand at first
    assert "GCC" in texts[packages[0]]
    assert licences(texts[packages[1]]) == ("LGPL-2.1-only",)
    wanted = [pair for package in packages for pair in sources_of(package)]
    files = sources(wanted, TRIXIE, mirror, store(), offline=False, progress=Silent())
    assert sorted(files) == sorted(wanted)
    assert any(file.path.endswith(".dsc") and len(file.sha256) == 64
               for file in files[wanted[1]])  # fmt: skip
