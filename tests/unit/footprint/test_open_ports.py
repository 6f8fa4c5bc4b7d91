"""Ports that a boot showed, beside a build."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.comparison import compare_footprints
from minbuild.footprint.model import FindingKind, Surface, SurfaceFinding
from minbuild.footprint.open_ports import ObservedPort, add_ports, read_ports, render_ports
from minbuild.report import surface
from tests.support.footprints import tiny
from tests.support.measured_inputs import measure_input

SSH = ObservedPort("22/tcp", "dropbear", is_local=False)
CONFIGURED = SurfaceFinding(FindingKind.LISTENER, "22/tcp", "configured: dropbear in /etc/inittab")
BUILT = replace(tiny(), surface=Surface((CONFIGURED,)))


def listeners(found: Surface | None) -> str:
    assert found is not None
    return next(
        row[3] for row in surface.list_surface_rows(found) if row[0] is FindingKind.LISTENER
    )


def test_a_build_directory_says_what_was_configured_and_seen(tmp_path: Path) -> None:
    text = document.render_footprint(BUILT)
    (tmp_path / "footprint.json").write_text(text)
    assert "in the lab: not evaluated" in listeners(measure_input(str(tmp_path)).surface)
    (tmp_path / "ports.json").write_text(
        render_ports([SSH, ObservedPort("80/tcp", "httpd", is_local=True)], text)
    )
    found = measure_input(str(tmp_path)).surface
    assert listeners(found) == "22/tcp (configured and seen), 80/tcp (seen)"
    assert found is not None
    assert found.count(FindingKind.LISTENER) == 2
    assert document.read_footprint(
        document.render_footprint(add_ports(BUILT, [SSH])), "x"
    ).surface == (add_ports(BUILT, [SSH]).surface)


def test_ports_of_another_build_are_not_this_one_s(tmp_path: Path) -> None:
    (tmp_path / "footprint.json").write_text(document.render_footprint(BUILT))
    (tmp_path / "ports.json").write_text(render_ports([SSH], document.render_footprint(tiny())))
    assert "in the lab: not evaluated" in listeners(measure_input(str(tmp_path)).surface)


def test_a_boot_of_one_side_alone_is_no_difference() -> None:
    assert not compare_footprints(
        BUILT, add_ports(BUILT, [ObservedPort("80/tcp", "httpd", is_local=False)])
    )
    (new,) = compare_footprints(add_ports(tiny(), []), add_ports(tiny(), [SSH])).findings_new
    assert new.subject == "22/tcp"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "minbuild.ports/1"}'])
def test_a_damaged_record_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="no record of ports"):
        read_ports(text, "x", "ports.json")
