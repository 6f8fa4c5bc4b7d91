"""xen.yaml as it ships: built, started by UEFI, and a domain beside domain 0 up to its user space."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minbuild.data import data_directory
from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootRequest, ProbeState
from minbuild.lab.probes import list_manifest_probes
from minbuild.manifest.loader import read_manifest
from minbuild.progress import SilentProgress
from tests.e2e.guests.conftest import list_console_lines
from tests.e2e.small_host import minbuild
from tests.support.footprints import find_reached_paths
from tests.support.lab import STORE, make_boot_setup, require_namespace

LIMIT = 1800
"""Seconds that a boot may take of a processor."""
SILENCE = 600
"""The same without a line until it is given up: a domain's kernel writes to a log of its own."""

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("xen")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the build."""
    directory = tmp_path_factory.mktemp("xen")
    ended = minbuild("make", "xen.yaml", "--store", str(STORE), cwd=directory)
    assert ended.code == 0, ended.err
    return directory / "build" / "xen"


@pytest.fixture(scope="module")
def footprint(images: Path) -> dict[str, Any]:
    document = json.loads((images / "footprint.json").read_text())
    assert isinstance(document, dict)
    return document


def test_domain_0_has_a_lease_and_a_domain_reaches_its_user_space(images: Path) -> None:
    setup = make_boot_setup(images / "xen.efi")
    require_namespace(setup.toolbox)
    manifest = read_manifest(data_directory("manifests") / "xen.yaml", settings={}, components=())
    probes = tuple(replace(one, limit=LIMIT) for one in list_manifest_probes(manifest))
    request = BootRequest(setup.image, probes, timeout=LIMIT, silence=SILENCE)
    result = boot_image(request, setup.toolbox, SilentProgress())
    failed = [one.name for one in result.outcomes if one.state is not ProbeState.PASSED]
    lines = list_console_lines(result)
    assert failed == [], "\n".join([result.end_reason, *lines[-60:]])
    seconds = {one.name: one.seconds for one in result.outcomes if one.seconds is not None}
    print({name: round(value, 1) for name, value in seconds.items()})
    assert {"dhcp", "xen", "guest"} <= seconds.keys()
    assert seconds["xen"] < seconds["guest"]
    assert any(line.startswith("(XEN) ") for line in lines)


def test_xen_and_domain_0_are_one_file_that_keeps_to_its_budget(
    images: Path, footprint: dict[str, Any]
) -> None:
    totals = footprint["totals"]
    print(totals["files"], "files,", totals["packed"], "bytes")
    assert 0 < totals["files"] <= 72
    assert totals["packed"] == (images / "xen.efi").stat().st_size <= 18_300_000


def test_every_file_of_domain_0_and_xen_itself_has_a_chain_of_needs(
    footprint: dict[str, Any],
) -> None:
    paths = {row["path"] for row in footprint["files"]}
    assert paths == find_reached_paths(footprint["edges"])
    assert len([path for path in paths if path.startswith("/boot/xen-")]) == 1
