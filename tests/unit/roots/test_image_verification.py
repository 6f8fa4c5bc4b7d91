"""A build's directory: the footprint in it must be that of the images beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minbuild.cli.main import run_command_line
from minbuild.errors import MinbuildError
from minbuild.footprint import document
from minbuild.footprint.model import FindingKind
from minbuild.formats.xen_image import join_xen_image, render_config, strip_xen
from minbuild.paths import RootPath
from tests.oracle.cpios import archive, directory, file, link
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki
from tests.support.xen import linux, xen_efi
from tests.unit.roots.test_boot_disk import BOOT, esp

FILES = [
    directory(b"usr"),
    file(b"usr/a", b"one", inode=7, links=2),
    file(b"usr/b", b"", 0o755, inode=7, links=2),
    file(b"usr/su", b"evil", 0o4755),
    link(b"usr/l", b"a"),
]
PARTS = {".linux": b"K" * 600, ".uname": b"6.1", ".cmdline": b"quiet ro", ".initrd": archive(FILES)}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A directory with x.efi and its footprint."""
    place = tmp_path / "out"
    place.mkdir()
    (place / "x.efi").write_bytes(uki(PARTS))
    (place / "footprint.json").write_text(
        document.render_footprint(measure_input(str(place / "x.efi")))
    )
    return place


def test_a_footprint_is_its_images_own(build: Path) -> None:
    found = measure_input(str(build))
    assert found == measure_input(str(build / "footprint.json"))
    assert found.totals.files == 3


XEN_PARTS = (render_config("console=com1", "quiet ro"), linux("6.1"), archive(FILES))


def xen_build(directory: Path, *, config: bytes = XEN_PARTS[0], text: bytes = b"hyper") -> Path:
    xen = strip_xen(xen_efi(text=text), "xen")
    directory.mkdir(exist_ok=True)
    (directory / "x.efi").write_bytes(join_xen_image(xen, config, *XEN_PARTS[1:], "xen"))
    return directory


def test_a_footprint_of_xen_is_its_images_own(tmp_path: Path) -> None:
    place = xen_build(tmp_path / "out")
    measured = measure_input(str(place / "x.efi"))
    (place / "footprint.json").write_text(document.render_footprint(measured))
    assert measure_input(str(place)) == measure_input(str(place / "footprint.json"))
    rows = {row.path: row for row in measured.files}
    xen = rows[RootPath("/boot/xen.efi")]
    assert xen.packed == xen.size == len(strip_xen(xen_efi(text=b"hyper"), "xen"))
    assert measured.totals.packed == (place / "x.efi").stat().st_size
    assert measured.surface is not None
    subjects = {one.subject for one in measured.surface.findings if one.kind is FindingKind.CMDLINE}
    assert subjects == {"quiet", "ro", "Xen: console=com1"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"text": b"other"}, "the hypervisor is another"),
        ({"config": render_config("console=com2", "quiet ro")}, "the command line is another"),
    ],
)
def test_another_xen_is_not_the_footprints_own(
    tmp_path: Path, change: dict[str, bytes], told: str
) -> None:
    place = xen_build(tmp_path / "out")
    text = document.render_footprint(measure_input(str(place / "x.efi")))
    (place / "footprint.json").write_text(text)
    xen_build(place, **change)
    with pytest.raises(MinbuildError, match=told):
        measure_input(str(place))


OTHERS = {
    "usr/su is another": {
        ".initrd": archive([*FILES[:3], file(b"usr/su", b"good", 0o4755), FILES[4]])
    },
    "usr/b is another": {".initrd": archive([*FILES[:2], file(b"usr/b", b"one"), *FILES[3:]])},
    "usr/l is another": {".initrd": archive([*FILES[:4], link(b"usr/l", b"b")])},
    "usr is another": {".initrd": archive([directory(b"usr", 0o777), *FILES[1:]])},
    "usr/new is not told": {".initrd": archive([*FILES, file(b"usr/new", b"x")])},
    "usr/su is not in it": {".initrd": archive([*FILES[:3], FILES[4]])},
    "the kernel is another": {".linux": b"L" * 600},
    "the command line is another": {".cmdline": b"quiet rw"},
    "the kernel's release is 6.2": {".uname": b"6.2"},
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_another_image_beside_it_is_told(build: Path, what: str) -> None:
    image = uki({**PARTS, **OTHERS[what]})
    size = (build / "x.efi").stat().st_size
    assert len(image) <= size
    (build / "x.efi").write_bytes(image.ljust(size, b"\0"))
    with pytest.raises(MinbuildError, match=what):
        measure_input(str(build))
    assert run_command_line(["check", str(build)]) == 2


def test_another_disk_beside_it_is_told(build: Path) -> None:
    disk = esp({BOOT: uki(PARTS)}, build)
    (build / "x.raw").write_bytes(disk)
    told = json.loads((build / "footprint.json").read_text())
    told["image"]["packed"]["raw"] = len(disk)
    (build / "footprint.json").write_text(json.dumps(told))
    measure_input(str(build))
    evil = uki({**PARTS, ".cmdline": b"quiet rw"})
    (build / "x.raw").write_bytes(esp({BOOT: evil}, build))
    with pytest.raises(MinbuildError, match=r"beside x\.raw is not its own: the command line"):
        measure_input(str(build))


@pytest.mark.parametrize("name", ["../x", "x/../x", ".x"])
def test_a_footprint_leads_to_no_image_elsewhere(build: Path, name: str) -> None:
    (build.parent / "x.efi").write_bytes((build / "x.efi").read_bytes())
    told = json.loads((build / "footprint.json").read_text())
    told["image"]["name"] = name
    (build / "footprint.json").write_text(json.dumps(told))
    with pytest.raises(MinbuildError, match="lies elsewhere"):
        measure_input(str(build))


def test_an_image_that_the_footprint_does_not_tell_of_is_told(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (build / "y.efi").write_bytes(b"MZ another")
    assert run_command_line(["report", str(build)]) == 0
    assert "not measured: y.efi" in capsys.readouterr().err
    (build / "x.raw").write_bytes(b"of an older build")
    with pytest.raises(MinbuildError, match=r"beside x\.raw is not its own: it tells of no such"):
        measure_input(str(build))


def test_a_footprint_without_its_image_says_so(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((build / "footprint.json").read_text()) | {"budget": {"files": 9}}
    (build / "footprint.json").write_text(json.dumps(told))
    assert run_command_line(["check", str(build)]) == 0
    assert "itself" not in "".join(capsys.readouterr())
    (build / "x.efi").unlink()
    assert run_command_line(["check", str(build)]) == 0
    assert "no image beside the footprint was measured" in capsys.readouterr().err
    (build / "footprint.json").rename(build / "other.json")
    assert run_command_line(["check", str(build / "other.json")]) == 0
    assert "judged by what it says itself" in capsys.readouterr().out


def total(told: Any) -> None:
    told["totals"]["files"] -= 1


def row(told: Any) -> None:
    told["components"][0]["bytes"] -= 1


def size(told: Any) -> None:
    told["files"][1]["size"] -= 1


def owner(told: Any) -> None:
    told["components"][0]["name"] = "boot/init"


def twice(told: Any) -> None:
    told["files"].append(told["files"][0])


def below(told: Any) -> None:
    told["files"][0]["packed"] = -1


def packed(told: Any) -> None:
    told["totals"]["packed"] -= 1


def finding(told: Any) -> None:
    told["surface"]["findings"] = [
        one for one in told["surface"]["findings"] if one["kind"] != "setuid"
    ]


@pytest.mark.parametrize("change", [total, row, size, owner, twice, below, packed, finding])
def test_a_footprint_that_does_not_add_up_is_none(
    build: Path, change: Callable[[Any], None]
) -> None:
    told = json.loads((build / "footprint.json").read_text())
    change(told)
    (build / "alone.json").write_text(json.dumps(told))
    with pytest.raises(MinbuildError, match="does not add up"):
        measure_input(str(build / "alone.json"))
