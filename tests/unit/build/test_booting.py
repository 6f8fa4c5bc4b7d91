"""What a build directory is asked, with no manifest beside it."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.build import own
from minbuild.build.booting import probes_of, set_stage
from minbuild.build.ground import stand_tools
from minbuild.build.request import Doors, Request
from minbuild.errors import UsageError
from minbuild.footprint.document import render
from minbuild.footprint.measure import probe_rows
from minbuild.lab.probes import standard, wanted
from minbuild.lab.types import Firmware
from minbuild.manifest.find import manifest_file
from minbuild.manifest.load import load
from minbuild.progress import Silent
from minbuild.shipped import shipped
from minbuild.store import Store
from tests.support.footprints import tiny
from tests.support.lab import STORE
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


@pytest.mark.parametrize(
    ("field", "text"), [("console", "("), ("says", "[z-a]"), ("console", "a{99999999999}")]
)
def test_a_stranger_s_footprint_with_a_pattern_that_is_none_is_an_error(
    field: str, text: str, desk: Desk
) -> None:
    desk.component("services/bench", OWN)
    rows = [
        replace(row, **{field: text}) for row in probe_rows(desk.load("services: {use: [bench]}\n"))
    ]
    (desk.directory / "footprint.json").write_text(
        render(replace(tiny(), probes=tuple(rows))), encoding="utf-8"
    )
    with pytest.raises(UsageError, match="no regular expression"):
        probes_of(desk.directory / f"{tiny().name}.raw")


def test_a_footprint_that_no_build_writes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "footprint.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        probes_of(tmp_path / "host.raw")
    with (tmp_path / "footprint.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="more than 64 MiB"):
        probes_of(tmp_path / "host.raw")


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.mirror
def test_a_lock_beside_an_image_chooses_no_tools(tmp_path: Path) -> None:
    """A stranger's row may name any file as the package of QEMU."""
    request = Request(manifest=shipped("manifests") / "host.yaml")
    notes = Notes()
    doors = Doors(STORE, notes)
    theirs = stand_tools(request, doors)
    evil = replace(theirs.toolbox[0], sha256="0" * 64, path="evil.deb", root="")
    lock = replace(theirs, toolbox=(evil, *theirs.toolbox[1:]))
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "host.efi").write_bytes(b"MZ")
    for name in ("a.lock", "host.lock"):
        (folder / name).write_text(lockfile.render(lock), encoding="utf-8")
    (folder / "z.lock").write_text("no lock at all", encoding="utf-8")
    stage = set_stage(str(folder), request, doors, firmware=Firmware.DIRECT)
    assert stage.image == folder / "host.efi"
    assert stage.toolbox.argv("qemu-system-x86_64")
    assert str(folder / "a.lock") in notes.notes[0]


def test_a_lock_is_one_s_own_by_every_byte_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    place = tmp_path / "host.lock"
    text = lockfile.render(lockfile.Lock("amd64", (), (), ()))
    place.write_text(text, encoding="utf-8")
    assert own.own_lock(place, store) is None
    own.note(text.encode(), store)
    assert own.own_lock(place, store) == lockfile.Lock("amd64", (), (), ())
    place.write_text(text + " ", encoding="utf-8")
    assert own.own_lock(place, store) is None
    assert own.own_lock(tmp_path / "gone.lock", store) is None
