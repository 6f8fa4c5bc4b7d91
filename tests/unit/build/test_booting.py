"""What a build directory is asked, with no manifest beside it."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.build.booting import probes_of
from minbuild.footprint.document import render
from minbuild.footprint.measure import probe_rows
from minbuild.lab.probes import standard, wanted
from minbuild.manifest.find import manifest_file
from minbuild.manifest.load import load
from tests.support.footprints import tiny
from tests.unit.manifest.conftest import Desk, desk

__all__ = ["desk"]

OWN = """\
probe: {console: "bench: (.*)", limit: 90, means: it is slow}
probes: [{name: lease, lease: true, limit: 30}, {name: ssh, tcp: 22, says: SSH-2.0, to: guest}]
"""


@pytest.mark.parametrize("name", ["host", "host-full", "edge", "debug", "guest"])
def test_a_build_directory_asks_what_its_manifest_asks(name: str, tmp_path: Path) -> None:
    manifest = load(manifest_file(name), settings={}, components=[])
    built = replace(tiny(), name=name, probes=probe_rows(manifest))
    (tmp_path / "footprint.json").write_text(render(built), encoding="utf-8")
    for image in (f"{name}.raw", f"{name}.efi"):
        assert probes_of(tmp_path / image) == wanted(manifest)


def test_a_component_of_ones_own_is_asked_in_all_its_words(desk: Desk) -> None:
    desk.component("services/bench", OWN)
    manifest = desk.load("services: {use: [bench]}\n")
    built = replace(tiny(), probes=probe_rows(manifest))
    (desk.directory / "footprint.json").write_text(render(built), encoding="utf-8")
    found = probes_of(desk.directory / f"{built.name}.raw")
    assert found == wanted(manifest)
    assert [one.name for one in found] == ["bench", "lease", "ssh"]


def test_an_image_that_no_footprint_tells_of_is_asked_what_every_host_is(tmp_path: Path) -> None:
    assert probes_of(tmp_path / "some.raw") == standard()
    built = replace(tiny(), name="other", probes=())
    (tmp_path / "footprint.json").write_text(render(built), encoding="utf-8")
    assert probes_of(tmp_path / "some.raw") == standard()


def test_a_footprint_that_says_nothing_of_probes_leaves_the_usual_ones(tmp_path: Path) -> None:
    older = replace(tiny(), name="host", probes=None)
    (tmp_path / "footprint.json").write_text(render(older), encoding="utf-8")
    assert probes_of(tmp_path / "host.raw") == standard()
