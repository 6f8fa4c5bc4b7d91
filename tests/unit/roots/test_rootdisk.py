"""Disks of other builders, with a root on ext4: totals are what find and the image file say."""

import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import MinbuildError
from minbuild.pipeline.installed_root import make_external_readers
from minbuild.pipeline.session import Session
from minbuild.roots import footprint
from tests.support import disks
from tests.support.disks import ext4
from tests.support.measured_inputs import STORE, measure_input
from tests.unit.roots.test_footprint import sums
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
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
    """A file system alone, or as the only one of an MBR or a GPT."""
    if kind == "gpt":
        return disks.gpt([disks.Part(disk), disks.Part(bytes(65 * 512), disks.ESP)])
    return disks.dos([disks.Part(disk)]) if kind == "mbr" else disk


def made(top: Path, place: Path, kind: str) -> Path:
    """The image of a tree, its file system made by mke2fs."""
    disk = table(ext4(top, place.with_suffix(".ext4"), "8M").read_bytes(), kind)
    if place.suffix != ".raw":
        packed = ("-c",) if place.suffix == ".qcow2" else ()
        return disks.convert_disk(disk, place, *packed)
    place.write_bytes(disk)
    return place


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("whole", "raw"),
        ("mbr", "raw"),
        ("gpt", "raw"),
        ("gpt", "qcow2"),
        ("whole", "vmdk"),
        ("mbr", "vhdx"),
        ("gpt", "vdi"),
    ],
)
def test_a_disk_s_totals_are_those_of_find_and_of_its_file(
    tree: Path, tmp_path: Path, kind: str, form: str
) -> None:
    place = made(tree, tmp_path / f"other.{form}", kind)
    found = measure_input(str(place))
    sums(found)
    inside = measure_input(str(tree))
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


def test_file_capabilities_on_a_disk_are_found(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "other.raw", "whole")
    value = tmp_path / "value"
    value.write_bytes(CAPABILITY)
    words: list[str | Path] = [
        "-w",
        "-R",
        f"ea_set -f {value} /usr/bin/tool security.capability",
        place,
    ]
    toolbox().run("debugfs", words, purpose="giving a capability")
    surface = measure_input(str(place)).surface
    assert surface is not None
    found = [one for one in surface.findings if one.kind == "capability"]
    assert {(one.subject, one.detail) for one in found} == {
        (f"/usr/bin/{name}", "permitted 0x2000") for name in ("tool", "tool2")
    }


def test_a_disk_of_another_file_system_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "other.raw"
    place.write_bytes(table(bytes(1 << 20), "mbr"))
    with pytest.raises(MinbuildError, match="no file system that holds a root"):
        measure_input(str(place))


ODD = (b"new\nline", b"cr\rx", b"ff\fx", b"vt\x0bx", b"nel\xc2\x85x", b"sep\xe2\x80\xa8x", b"debugfs: x",
       b'"; !id', b"latin-\xe9", b"back\\slash", b"tab\tx", b" ", b"\x01", b"x" * 255)  # fmt: skip


def test_names_of_any_bytes_are_all_read(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    (top / "etc").mkdir(parents=True)
    for number, name in enumerate(ODD):
        Path(os.fsdecode(os.fsencode(top / "etc") + b"/" + name)).write_text(f"{number}")
    found = measure_input(str(made(top, tmp_path / "other.raw", "whole")))
    wanted = measure_input(str(top))
    assert found.totals.files == len(ODD)
    assert [(row.path, row.sha256) for row in found.files if row.type == "file"] == [
        (row.path, row.sha256) for row in wanted.files if row.type == "file"
    ]


def test_long_names_at_any_depth_are_no_commands(tmp_path: Path) -> None:
    """A line of 8,192 bytes and more, the rest of which a shell would have run."""
    top, victim = tmp_path / "tree", tmp_path / "made"
    at, fill = os.open(_directory(top), os.O_RDONLY), "a" * 255
    for number in range(90):
        name = fill if number != 31 else f"{'b' * 200};!touch made\t"
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    for name in ('"', "!touch made", '"\n!touch made', "end"):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        found = measure_input(str(made(top, tmp_path / "other.raw", "whole")))
    finally:
        os.chdir(here)
    assert (found.totals.files, found.totals.directories) == (4, 90 + 1)
    assert not victim.exists()


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_files_that_claim_far_more_than_the_disk_has_are_an_error(
    tree: Path, tmp_path: Path
) -> None:
    for number in range(8):
        with (tree / f"etc/hole{number}").open("wb") as file:
            file.truncate(1 << 30)
    with pytest.raises(MinbuildError, match="larger than it by far"):
        measure_input(str(made(tree, tmp_path / "other.raw", "whole")))


def test_a_journal_that_is_not_empty_is_put_in_place_on_a_copy(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "other.raw", "whole")
    block, script = tmp_path / "block", tmp_path / "script"
    number = int(
        toolbox().run("debugfs", ["-R", "blocks /boot/config-6.1", place], purpose="looking")
    )
    old = place.read_bytes()[number * 1024 : (number + 1) * 1024]
    block.write_bytes(old.replace(b"SECCOMP", b"SECRETS").ljust(1024, b"\0"))
    script.write_text(f"jo\njw -b {number} {block}\njc\n")
    toolbox().run("debugfs", ["-w", "-f", script, place], purpose="writing to the journal")
    before = place.read_bytes()
    told: list[str] = []
    reach = make_external_readers(Session(STORE))
    found = footprint.load_footprint(str(place), lambda: replace(reach, note=told.append))
    digest = hashlib.sha256(b"CONFIG_SECRETS=y\n").hexdigest()
    assert [row.sha256 for row in found.files if row.path == "/boot/config-6.1"] == [digest]
    assert ["its journal was put in place" in text for text in told] == [True]
    assert place.read_bytes() == before


@pytest.mark.parametrize("option", ["backing_file", "data_file"])
def test_an_image_over_another_file_is_refused(tmp_path: Path, option: str) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"secret" * 100_000)
    place = tmp_path / "over.qcow2"
    words = ["create", "-q", "-f", "qcow2", "-o", f"{option}={secret}"]
    words += ["-F", "raw", str(place)] if option == "backing_file" else [str(place), "1M"]
    toolbox().run("qemu-img", words, purpose="making a disk image")
    with pytest.raises(MinbuildError, match="names another file"):
        measure_input(str(place))


def test_an_image_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    """Every entry of 200 tables names the same cluster: 6 GiB out of 256 KiB."""
    size, cluster = 6 << 30, 1 << 16
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, size // (cluster << 13),
                       cluster, 2 * cluster, 1, 0, 0)  # fmt: skip
    first = struct.pack(">Q", 3 * cluster | 1 << 63) * (size // (cluster << 13))
    second = struct.pack(">Q", 3 * cluster) * (cluster // 8)
    place = tmp_path / "bomb.qcow2"
    place.write_bytes(b"".join(part.ljust(cluster, b"\0") for part in (head, first, b"", second)))
    with pytest.raises(MinbuildError, match="more than is unpacked"):
        measure_input(str(place))


@pytest.mark.parametrize("kind", ["whole", "gpt"])
@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd"])
def test_a_root_on_squashfs_is_read(tree: Path, tmp_path: Path, kind: str, packing: str) -> None:
    alone = tmp_path / "root.squashfs"
    words = ["-quiet", "-no-progress", "-comp", packing, "-all-root", "-processors", "1"]
    toolbox().run("mksquashfs", [tree, alone, *words], purpose="making a squashfs")
    place = tmp_path / "other.img"
    place.write_bytes(table(alone.read_bytes(), kind))
    found, inside = measure_input(str(place)), measure_input(str(tree))
    sums(found)
    assert found.totals.packed == place.stat().st_size
    here, there = (
        {(one.path, one.type, one.sha256, one.target, one.mode, one.package) for one in each.files}
        for each in (found, inside)
    )
    assert here == there
    assert {(one.uid, one.gid) for one in found.files} == {(0, 0)}


def test_a_squashfs_that_unpacks_to_far_more_is_ended(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(8):
        with (top / f"hole{number}").open("wb") as file:
            file.truncate(64 << 20)
    place = tmp_path / "root.squashfs"
    toolbox().run("mksquashfs", [top, place, "-quiet", "-no-progress"], purpose="making a squashfs")
    with pytest.raises(MinbuildError):
        measure_input(str(place))


EROFS = {
    "plain": (), "lz4": ("-zlz4hc",), "small blocks": ("-b1024",), "chunks": ("--chunksize=4096",),
    "deduplicated": ("-zlz4hc", "-Ededupe,all-fragments"), "old inodes": ("-Eforce-inode-compact",),
    "large inodes": ("-Eforce-inode-extended",), "no inline data": ("-Enoinline_data",),
}  # fmt: skip


@pytest.mark.parametrize("options", EROFS.values(), ids=EROFS.keys())
def test_a_root_on_erofs_is_read(tree: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tree / "usr/bin/large").write_bytes(b"#!/bin/sh\n" * 30_000)
    (tree / "etc" / "x").mkdir()
    for number in range(300):
        (tree / f"etc/x/{number:03}{'n' * 40}").write_text(str(number))
    alone = tmp_path / "root.erofs"
    toolbox().run("mkfs.erofs", ["--quiet", *options, alone, tree], purpose="making an erofs")
    place = tmp_path / "other.img"
    place.write_bytes(table(alone.read_bytes(), "gpt"))
    found, inside = measure_input(str(place)), measure_input(str(tree))
    sums(found)
    assert found.totals.packed == place.stat().st_size
    here, there = (
        {(one.path, one.type, one.sha256, one.target, one.mode, one.uid) for one in each.files}
        for each in (found, inside)
    )
    assert here == there


def test_file_capabilities_on_erofs_are_found(tree: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives a file capabilities")
    os.setxattr(tree / "usr/bin/tool", "security.capability", CAPABILITY)
    place = tmp_path / "root.erofs"
    for options in ((), ("-x1",)):
        toolbox().run("mkfs.erofs", ["--quiet", *options, place, tree], purpose="making an erofs")
        surface = measure_input(str(place)).surface
        assert surface is not None
        found = {one.subject for one in surface.findings if one.kind == "capability"}
        assert found == {"/usr/bin/tool", "/usr/bin/tool2"}
