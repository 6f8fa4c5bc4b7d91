"""What an image starts is what is counted: images that would hide a set-user-ID program."""

import stat
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.errors import MinbuildError
from minbuild.footprint.model import FindingKind, Footprint
from minbuild.formats import initramfs, ramfs
from tests.oracle.cpios import Entry, archive, directory, file, link, node
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki

CLEAN = archive([file(b"init", b"#!/bin/sh\n", 0o755)])
EVIL = archive([file(b"su", b"evil", 0o4755)])


def measured(tmp_path: Path, *parts: tuple[str, bytes], initrd: bytes = CLEAN) -> Footprint:
    image = tmp_path / "x.efi"
    image.write_bytes(uki([(".linux", b"K"), *parts, (".initrd", initrd)]))
    return measure_input(str(image))


def setuid(found: Footprint) -> list[str]:
    assert found.surface is not None
    return [one.subject for one in found.surface.findings if one.kind is FindingKind.SETUID]


@pytest.mark.parametrize("name", [".initrd", ".ucode"])
def test_a_section_that_the_stub_takes_first_is_counted(tmp_path: Path, name: str) -> None:
    assert setuid(measured(tmp_path, (name, EVIL))) == ["/su"]


def test_a_file_in_the_kernel_s_place_is_counted_beside_it(tmp_path: Path) -> None:
    evil = archive([directory(b"boot"), file(b"boot/vmlinuz-6.1", b"evil", 0o4755)])
    found = measured(tmp_path, (".uname", b"6.1"), initrd=evil)
    assert setuid(found) == ["/boot/vmlinuz-6.1"]
    assert found.totals.files == 2


def test_a_release_that_is_a_path_names_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, (".uname", b"../su"), initrd=EVIL)
    assert setuid(found) == ["/su"]
    assert found.kernel == ""


def test_all_profiles_command_lines_are_findings(tmp_path: Path) -> None:
    image = tmp_path / "x.efi"
    parts = [(".linux", b"K"), (".initrd", CLEAN), (".cmdline", b"quiet"), (".profile", b"ID=a")]
    image.write_bytes(uki([*parts, (".profile", b"ID=b"), (".cmdline", b"init=/bin/sh")]))
    found = measure_input(str(image)).surface
    assert found is not None
    words = [one.subject for one in found.findings if one.kind is FindingKind.CMDLINE]
    assert words == ["init=/bin/sh", "quiet"]


@pytest.mark.parametrize("name", [b".extra", b".extra/os-release"])
def test_files_that_the_stub_would_write_over_are_refused(tmp_path: Path, name: bytes) -> None:
    way = link(b".extra", b"usr") if name == b".extra" else file(name, b"x", 0o4755)
    with pytest.raises(MinbuildError, match=r"over /\.extra"):
        measured(tmp_path, initrd=archive([directory(b".extra"), way]))


def test_device_trees_have_a_row_of_their_own(tmp_path: Path) -> None:
    found = measured(tmp_path, (".dtbauto", b"d" * 100))
    assert {row.name: row.packed for row in found.packages}["image .dtbauto"] == 100
    assert sum(row.packed for row in found.packages) == (tmp_path / "x.efi").stat().st_size


def test_devices_that_all_may_write_are_findings(tmp_path: Path) -> None:
    nodes = [
        node(b"null", stat.S_IFCHR, 0o666, (1, 3)),
        node(b"mem", stat.S_IFCHR, 0o666, (1, 1)),
        node(b"sda", stat.S_IFBLK, 0o662, (8, 0)),
        node(b"sdb", stat.S_IFBLK, 0o660, (8, 16)),
    ]
    found = measured(tmp_path, initrd=CLEAN + archive([*nodes, Entry(b".", stat.S_IFDIR | 0o777)]))
    assert found.surface is not None
    world = [one for one in found.surface.findings if one.kind is FindingKind.WORLD_WRITABLE]
    assert [(one.subject, one.detail) for one in world] == [
        ("/", "directory, mode 0777"),
        ("/mem", "device c 1:1, mode 0666"),
        ("/sda", "device b 8:0, mode 0662"),
    ]


def test_two_directories_that_are_no_link_are_counted_each(tmp_path: Path) -> None:
    dirs = [directory(b"bin"), directory(b"usr"), directory(b"usr/bin")]
    both = [file(b"bin/su", b"evil", 0o4755), file(b"usr/bin/su", b"good", 0o755)]
    found = measured(tmp_path, initrd=archive([*dirs, *both]))
    assert setuid(found) == ["/bin/su"]
    assert found.totals.files == 3


def test_members_that_the_kernel_drops_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cpio").write_bytes(
        archive([file(b"no/su", b"x"), file(b"a"), link(b"no/l", b"a")])
    )
    assert run_command_line(["report", str(tmp_path / "a.cpio")]) == 0
    assert "the kernel drops, and that are not counted: no/su, no/l" in capsys.readouterr().err


def test_many_members_and_long_ways_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initramfs, "MAX_MEMBERS", 1000)
    monkeypatch.setattr(ramfs, "MAX_STEPS", 100_000)
    one = archive([file(b"f", b"")], trailer=False)
    (tmp_path / "many.cpio").write_bytes(one * 1001)
    with pytest.raises(MinbuildError, match="more than 1,000 members"):
        measure_input(str(tmp_path / "many.cpio"))
    slow = [file(b"./" * 2000 + b"f", b"")] * 100
    (tmp_path / "slow.cpio").write_bytes(archive(slow))
    with pytest.raises(MinbuildError, match="longer to find"):
        measure_input(str(tmp_path / "slow.cpio"))


def test_directories_deeper_than_a_path_are_refused(tmp_path: Path) -> None:
    rows = [directory(b"d")]
    for number in range(30):
        here = b"d" if not number else b"l%d" % (number - 1)
        rows += [
            directory(here + b"/" + b"n" * 200),
            link(b"l%d" % number, here + b"/" + b"n" * 200),
        ]
    (tmp_path / "deep.cpio").write_bytes(archive(rows))
    with pytest.raises(MinbuildError, match="nested deeper"):
        measure_input(str(tmp_path / "deep.cpio"))
