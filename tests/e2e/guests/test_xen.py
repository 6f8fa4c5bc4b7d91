"""xen.yaml as it ships: built, started by UEFI, and a domain beside domain 0 up to its user space."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootRequest, BootResult, ProbeState
from minbuild.lab.probes import list_manifest_probes
from minbuild.manifest.loader import read_manifest
from minbuild.progress import SilentProgress
from tests.e2e.guests.conftest import list_console_lines
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup, require_namespace

LIMIT = 1800
"""Seconds of wall time for a boot, on a machine that does other things too."""
SILENCE = 600
"""Seconds without a line until it is given up: a domain's kernel writes to a log of its own."""

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("xen")]


@dataclass(frozen=True, slots=True)
class XenBoot:
    """The directory of the build, and what came of its one boot."""

    images: Path
    result: BootResult

    def list_seconds(self) -> dict[str, float]:
        """Seconds from power-on to each probe that passed."""
        return {one.name: one.seconds for one in self.result.outcomes if one.seconds is not None}


@pytest.fixture(scope="module")
def xen(tmp_path_factory: pytest.TempPathFactory) -> XenBoot:
    directory = tmp_path_factory.mktemp("xen")
    ended = minbuild("make", "xen.yaml", "--store", str(STORE), cwd=directory)
    assert ended.code == 0, ended.err
    images = directory / "build" / "xen"
    setup = make_boot_setup(images / "xen.efi")
    require_namespace(setup.toolbox)
    manifest = read_manifest(data_directory("manifests") / "xen.yaml", settings={}, components=())
    probes = tuple(replace(one, limit=LIMIT) for one in list_manifest_probes(manifest))
    request = BootRequest(setup.image, probes, timeout=LIMIT, silence=SILENCE)
    return XenBoot(images, boot_image(request, setup.toolbox, SilentProgress()))


def test_domain_0_has_a_lease_and_a_domain_reaches_its_user_space(xen: XenBoot) -> None:
    failed = [one.name for one in xen.result.outcomes if one.state is not ProbeState.PASSED]
    lines = list_console_lines(xen.result)
    assert failed == [], "\n".join([xen.result.end_reason, *lines[-60:]])
    seconds = xen.list_seconds()
    print({name: round(value, 1) for name, value in seconds.items()})
    assert {"dhcp", "xen", "guest"} <= seconds.keys()
    assert seconds["xen"] < seconds["guest"]
    assert any(line.startswith("(XEN) ") for line in lines)


def test_xen_and_domain_0_are_one_file_that_keeps_to_its_budget(xen: XenBoot) -> None:
    totals = json.loads((xen.images / "footprint.json").read_text())["totals"]
    print(totals["files"], "files,", totals["packed"], "bytes")
    assert 0 < totals["files"] <= 72
    assert totals["packed"] <= (xen.images / "xen.efi").stat().st_size <= 18_300_000
