"""Disks of other builders, with a root on ext4: totals are what find and the image file say."""

import os
import struct
from pathlib import Path

import pytest

from minbuild.build.request import Doors
from minbuild.build.rooted import readers
from minbuild.errors import MinbuildError
from minbuild.paths import RootPath
from minbuild.subject import open as opening
from minbuild.subject.disk import ESP
from tests.support.disks import ext4
from tests.support.subjects import STORE, open_subject
from tests.unit.subject.test_open import qcow2, sums
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
START = 1 << 20
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
STATUS = "Package: tool\nStatus: install ok installed\nVersion: 1.2-3\nArchitecture: amd64\n\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small root as an installer leaves it."""
    top = tmp_path / "tree"
    for name in ("usr/bin", "etc", "boot", "var/lib/dpkg/info", "dev"):
        (top / name).mkdir(parents=True)
    (top / "bin").symlink_to("usr/bin")
    (top / "usr/bin/tool").write_bytes(os.urandom(70_000))
    (top / "usr/bin/tool").chmod(0o4755)
    os.link(top / "usr/bin/tool", top / "usr/bin/tool2")
    (top / "usr/bin/link").symlink_to("/a/very/long/target" * 5)
    (top / "etc/a name with spaces").write_text("x" * 5000)
    (top / "boot/config-6.1").write_text("CONFIG_SECCOMP=y\n")
    (top / "var/lib/dpkg/status").write_text(STATUS)
    (top / "var/lib/dpkg/info/tool.list").write_text("/.\n/bin\n/bin/tool\n")
    return top


def table(disk: bytes, kind: str) -> bytes:
    """A file system alone, or as the only partition of an MBR or a GPT."""
    head = bytearray(START)
    head[510:512] = b"\x55\xaa"
    if kind == "mbr":
        entry = struct.pack("<4sIII", b"", 0x83, START // 512, len(disk) // 512)
        head[446:462] = entry
    if kind == "gpt":
        head[512:520] = b"EFI PART"
        struct.pack_into("<QII", head, 512 + 72, 2, 1, 128)
        last = (START + len(disk)) // 512 - 1
        struct.pack_into("<16s16sQQ", head, 1024, b"\1" * 16, b"", START // 512, last)
        struct.pack_into("<16s16sQQ", head, 1152, ESP, b"", 64, 128)  # never formatted
    return disk if kind == "whole" else bytes(head) + disk


def made(top: Path, place: Path, kind: str) -> Path:
    """The image of a tree, its file system made by mke2fs."""
    disk = table(ext4(top, place.with_suffix(".ext4"), "8M").read_bytes(), kind)
    place.write_bytes(qcow2(disk) if place.suffix == ".qcow2" else disk)
    return place


@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize("kind", ["whole", "mbr", "gpt"])
def test_a_disk_s_totals_are_those_of_find_and_of_its_file(
    tree: Path, tmp_path: Path, kind: str, form: str
) -> None:
    place = made(tree, tmp_path / f"other.{form}", kind)
    found = open_subject(str(place))
    sums(found)
    inside = open_subject(str(tree))
    assert found.totals.packed == place.stat().st_size
    assert (found.totals.files, found.totals.bytes, found.totals.links) == (
        inside.totals.files, inside.totals.bytes, inside.totals.links,
    )  # fmt: skip
    assert found.totals.directories == inside.totals.directories + 1  # mke2fs makes lost+found
    here = {(one.path, one.type, one.sha256, one.target, one.mode) for one in found.files}
    there = {(one.path, one.type, one.sha256, one.target, one.mode) for one in inside.files}
    assert {one[0] for one in here ^ there} == {"/lost+found"}
    assert {row.path: row.package for row in found.files if row.package} == {
        row.path: row.package for row in inside.files if row.package
    }
    assert found.surface is not None
    if form == "raw":
        assert {one.packed - one.size for one in found.files if one.type == "file"} == {0}
    kinds = {str(one.kind) for one in found.surface.findings}
    assert "setuid" in kinds
    assert "kernel-lacks" not in found.surface.unknown


def test_the_toolbox_reads_a_disk_where_the_machine_cannot(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "other.raw", "whole")
    doors = Doors(STORE)
    found = opening.open_subject(str(place), lambda: readers(doors))
    assert found.totals.files == open_subject(str(tree)).totals.files
    used = [one.path(RootPath("/usr/sbin/debugfs")) for one in doors.toolboxes.values()]
    assert used
    assert all(path.is_file() for path in used)


def test_file_capabilities_on_a_disk_are_found(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "other.raw", "whole")
    value = tmp_path / "value"
    value.write_bytes(CAPABILITY)
    words = ["-w", "-R", f"ea_set -f {value} /usr/bin/tool security.capability", place]
    toolbox().run("debugfs", words, what="giving a capability")
    surface = open_subject(str(place)).surface
    assert surface is not None
    found = [one for one in surface.findings if one.kind == "capability"]
    assert [(one.subject, one.detail) for one in found] == [("/usr/bin/tool", "permitted 0x2000")]


def test_a_disk_of_another_file_system_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "other.raw"
    place.write_bytes(table(bytes(1 << 20), "mbr"))
    with pytest.raises(MinbuildError, match="no ext2, ext3 or ext4"):
        open_subject(str(place))
