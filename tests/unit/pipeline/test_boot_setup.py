"""What a build directory is asked, with no manifest beside it."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.model import Lock
from minbuild.cache.store import Store
from minbuild.data import data_directory
from minbuild.errors import UsageError
from minbuild.footprint.document import render_footprint
from minbuild.footprint.measure import list_probes
from minbuild.lab.model import BootProbe, Firmware
from minbuild.lab.probes import list_manifest_probes, make_default_probes
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline import lock_policy
from minbuild.pipeline.boot_setup import list_image_probes, prepare_boot, read_own_footprint
from minbuild.pipeline.lock_creation import lock_tools_only
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from tests.support.footprints import tiny
from tests.support.lab import STORE
from tests.unit.manifest.conftest import Desk, desk

__all__ = ["desk"]

OWN = """\
probe: {console: "bench: (.*)", limit: 90, means: it is slow}
probes: [{name: lease, lease: true, limit: 30}, {name: ssh, tcp: 22, says: SSH-2.0, to: guest}]
"""


def read_image_probes(image: Path) -> tuple[BootProbe, ...]:
    return list_image_probes(read_own_footprint(image))


@pytest.mark.parametrize("name", ["host", "host-full", "edge", "debug", "guest"])
def test_a_build_directory_asks_what_its_manifest_asks(name: str, tmp_path: Path) -> None:
    manifest = read_manifest(find_manifest(name), settings={}, components=[])
    built = replace(tiny(), name=name, probes=list_probes(manifest))
    (tmp_path / "footprint.json").write_text(render_footprint(built), encoding="utf-8")
    for image in (f"{name}.raw", f"{name}.efi"):
        assert read_image_probes(tmp_path / image) == list_manifest_probes(manifest)


def test_a_component_of_ones_own_is_asked_in_all_its_words(desk: Desk) -> None:
    desk.component("services/bench", OWN)
    manifest = desk.load("services: {use: [bench]}\n")
    built = replace(tiny(), probes=list_probes(manifest))
    (desk.directory / "footprint.json").write_text(render_footprint(built), encoding="utf-8")
    found = read_image_probes(desk.directory / f"{built.name}.raw")
    assert found == list_manifest_probes(manifest)
    assert [one.name for one in found] == ["bench", "lease", "ssh"]


def test_an_image_that_no_footprint_tells_of_is_asked_what_every_host_is(tmp_path: Path) -> None:
    assert read_image_probes(tmp_path / "some.raw") == make_default_probes()
    built = replace(tiny(), name="other", probes=())
    (tmp_path / "footprint.json").write_text(render_footprint(built), encoding="utf-8")
    assert read_image_probes(tmp_path / "some.raw") == make_default_probes()


def test_a_footprint_that_says_nothing_of_probes_leaves_the_usual_ones(tmp_path: Path) -> None:
    older = replace(tiny(), name="host", probes=None)
    (tmp_path / "footprint.json").write_text(render_footprint(older), encoding="utf-8")
    assert read_image_probes(tmp_path / "host.raw") == make_default_probes()


@pytest.mark.parametrize(
    ("field", "text"), [("console", "("), ("says", "[z-a]"), ("console", "a{99999999999}")]
)
def test_a_stranger_s_footprint_with_a_pattern_that_is_none_is_an_error(
    field: str, text: str, desk: Desk
) -> None:
    desk.component("services/bench", OWN)
    rows = [
        replace(row, console=text) if field == "console" else replace(row, says=text)
        for row in list_probes(desk.load("services: {use: [bench]}\n"))
    ]
    (desk.directory / "footprint.json").write_text(
        render_footprint(replace(tiny(), probes=tuple(rows))), encoding="utf-8"
    )
    with pytest.raises(UsageError, match="not a valid regular expression"):
        read_image_probes(desk.directory / f"{tiny().name}.raw")


def test_a_footprint_that_no_build_writes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "footprint.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_image_probes(tmp_path / "host.raw")
    with (tmp_path / "footprint.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="more than 64 MiB"):
        read_image_probes(tmp_path / "host.raw")


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.mirror
def test_a_lock_beside_an_image_chooses_no_tools(tmp_path: Path) -> None:
    """A stranger's row may name any file as the package of QEMU."""
    request = BuildRequest(manifest=data_directory("manifests") / "host.yaml")
    notes = Notes()
    doors = Session(STORE, notes)
    theirs = lock_tools_only(request, doors)
    evil = replace(theirs.toolbox[0], sha256="0" * 64, path="evil.deb", root="")
    lock = replace(theirs, toolbox=(evil, *theirs.toolbox[1:]))
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "host.efi").write_bytes(b"MZ")
    for name in ("a.lock", "host.lock"):
        (folder / name).write_text(lockfile.render_lock(lock), encoding="utf-8")
    (folder / "z.lock").write_text("no lock at all", encoding="utf-8")
    stage = prepare_boot(str(folder), request, doors, firmware=Firmware.DIRECT)
    assert stage.image == folder / "host.efi"
    assert stage.toolbox.build_argv("qemu-system-x86_64")
    assert str(folder / "a.lock") in notes.notes[0]


def test_a_lock_is_one_s_own_by_every_byte_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    place = tmp_path / "host.lock"
    text = lockfile.render_lock(Lock("amd64", (), (), ()))
    place.write_text(text, encoding="utf-8")
    assert lock_policy.read_used_lock(place, store) is None
    lock_policy.record_used_lock(text.encode(), store)
    assert lock_policy.read_used_lock(place, store) == Lock("amd64", (), (), ())
    place.write_text(text + " ", encoding="utf-8")
    assert lock_policy.read_used_lock(place, store) is None
    assert lock_policy.read_used_lock(tmp_path / "gone.lock", store) is None
