"""Images, trees and archives measured anew: totals are what find, stat and the file say."""

import gzip
import json
import lzma
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import MinbuildError, UsageError
from minbuild.footprint import document
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.image import tar_cpio
from minbuild.paths import RootPath
from minbuild.rootfs.model import RootfsNode
from minbuild.roots.measured_files import MeasuredFile
from minbuild.roots.root_footprint import find_newest_kernel, read_kernel_options
from tests.support.footprints import tiny
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki

CONTENT = {"a" * 64: b"#!/bin/sh\nexit 0\n", "b" * 64: bytes(range(256)) * 40}


def sums(footprint: Footprint) -> None:
    """Every table sums to the totals."""
    for rows in (footprint.sections, footprint.components, footprint.packages):
        assert sum(row.files for row in rows) == footprint.totals.files
        assert sum(row.bytes for row in rows) == footprint.totals.bytes
        assert sum(row.packed for row in rows) == footprint.totals.packed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root directory with a script, a hard link, a link, and a setuid program."""
    top = tmp_path / "root"
    (top / "usr/bin").mkdir(parents=True)
    (top / "usr/bin/run").write_bytes(CONTENT["a" * 64])
    (top / "usr/bin/run").chmod(0o755)
    os.link(top / "usr/bin/run", top / "usr/bin/run2")
    (top / "usr/bin/su").write_bytes(CONTENT["b" * 64])
    (top / "usr/bin/su").chmod(0o4755)
    (top / "init").symlink_to("usr/bin/run")
    (top / "etc").mkdir()
    (top / "etc/passwd").write_text("root::0:0::/:/bin/sh\n")
    return top


def node(path: str, digest: str, kind: FileType = FileType.FILE, target: str = "") -> RootfsNode:
    size = len(CONTENT[digest]) if digest else 0
    return RootfsNode(RootPath(path), kind, 0o755, 0, 0, size, digest, target, "", "")


NODES = (
    node("/usr", "", FileType.DIRECTORY),
    node("/usr/bin", "", FileType.DIRECTORY),
    node("/usr/bin/big", "b" * 64),
    node("/usr/bin/run", "a" * 64),
    node("/usr/bin/run2", "", FileType.HARDLINK, "/usr/bin/run"),
    node("/usr/bin/sh", "", FileType.LINK, "run"),
)


def initramfs() -> bytes:
    """Two archives, the first one packed."""
    first = tar_cpio.encode_cpio(NODES[:4], CONTENT.__getitem__)
    second = tar_cpio.encode_cpio(NODES, CONTENT.__getitem__)
    packed = lzma.compress(first, check=lzma.CHECK_CRC32)
    return packed + bytes(-len(packed) % 4) + second


def test_a_directory_s_totals_are_those_of_find(tree: Path) -> None:
    found = measure_input(str(tree))
    sums(found)
    listed = subprocess.run(
        ["find", tree, "-mindepth", "1", "-printf", "%y %i %s\n"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [line.split() for line in listed.stdout.splitlines()]
    inodes = {inode: int(size) for kind, inode, size in rows if kind == "f"}
    assert found.totals.files == len(inodes)
    assert found.totals.bytes == sum(inodes.values())
    assert found.totals.directories == sum(kind == "d" for kind, _, _ in rows)
    assert found.totals.links == 2
    assert found.surface is not None
    assert {(str(one.kind), one.subject) for one in found.surface.findings} >= {
        ("setuid", "/usr/bin/su"), ("login", "root"), ("executable", "/usr/bin/run"),
    }  # fmt: skip


@pytest.mark.parametrize("packing", ["", "gz", "xz", "bz2"])
def test_a_tar_archive_says_the_same_as_its_directory(
    tree: Path, tmp_path: Path, packing: str
) -> None:
    place = tmp_path / f"root.tar.{packing}"
    with tarfile.open(place, f"w:{packing}") as tar:  # type: ignore[call-overload]
        tar.add(tree, ".")
    one, other = measure_input(str(tree)), measure_input(str(place))
    sums(other)
    assert replace(one.totals, packed=place.stat().st_size) == other.totals
    assert [(row.path, row.sha256) for row in one.files if row.type != "hardlink"] == [
        (row.path, row.sha256) for row in other.files if row.type != "hardlink"
    ]


@pytest.mark.parametrize("form", ["directory", "tar"])
def test_dpkg_s_lists_name_the_owners(tree: Path, tmp_path: Path, form: str) -> None:
    info = tree / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "runner:amd64.list").write_text("/.\n/bin/run\n/usr/bin/su\n")
    (tree / "var/lib/dpkg/status").write_text(
        "Package: runner\nVersion: 1.2-3\nStatus: install ok installed\nArchitecture: amd64\n\n"
    )
    place = tree
    if form == "tar":
        place = tmp_path / "root.tar"
        with tarfile.open(place, "w") as tar:
            tar.add(tree, ".")
    found = measure_input(str(place))
    assert {row.path for row in found.files if row.package == "runner"} == {
        "/usr/bin/run", "/usr/bin/su",
    }  # fmt: skip
    assert next(row for row in found.packages if row.name == "runner").version == "1.2-3"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_initramfs_weighs_what_its_file_weighs(
    tmp_path: Path, pack: "type[bytes] | object"
) -> None:
    place = tmp_path / "initrd.img"
    place.write_bytes(pack(initramfs()) if callable(pack) else b"")
    if pack is not bytes:
        place.write_bytes(gzip.compress(tar_cpio.encode_cpio(NODES, CONTENT.__getitem__)))
    found = measure_input(str(place))
    sums(found)
    assert found.totals.packed == place.stat().st_size
    assert found.totals.files == 2
    assert found.totals.bytes == sum(len(data) for data in CONTENT.values())


def test_a_uki_weighs_what_its_file_weighs(tmp_path: Path) -> None:
    place = tmp_path / "host.efi"
    parts = {".linux": b"K" * 5000, ".initrd": initramfs(), ".cmdline": b"quiet nokaslr\0",
             ".uname": b"6.1\0"}  # fmt: skip
    place.write_bytes(uki(parts))
    found = measure_input(str(place))
    sums(found)
    assert found.totals.packed == place.stat().st_size
    assert found.kernel == "6.1"
    kernel = next(row for row in found.files if row.path == "/boot/vmlinuz-6.1")
    assert (kernel.size, kernel.packed) == (5000, 5000)


def test_owners_come_from_the_footprint_beside_an_image_where_the_content_is_the_same(
    tmp_path: Path,
) -> None:
    place = tmp_path / "host.efi"
    place.write_bytes(uki({".linux": b"K", ".initrd": initramfs()}))
    first = measure_input(str(place))
    assert {row.component for row in first.files} == {"unowned"}
    told = json.loads(document.render_footprint(first))
    for row in told["files"]:
        row["component"] = "boot/init"
        if row["path"] == "/usr/bin/big":
            row["sha256"] = "0" * 64
    for row in told["components"]:
        row["name"] = row["name"].replace("unowned", "boot/init")
    (tmp_path / "footprint.json").write_text(json.dumps(told))
    owners = {row.path: row.component for row in measure_input(str(place)).files}
    assert owners[RootPath("/usr/bin/run")] == "boot/init"
    assert owners[RootPath("/usr/bin/big")] == "unowned"


def test_a_build_directory_and_a_committed_footprint_are_read(tmp_path: Path) -> None:
    (tmp_path / "footprint.json").write_text(document.render_footprint(tiny()))
    assert measure_input(str(tmp_path)) == tiny()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "footprint.json"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert measure_input("git:main") == tiny()
        assert measure_input("git:HEAD:footprint.json") == tiny()
        with pytest.raises(MinbuildError):
            measure_input("git:nowhere")
    finally:
        os.chdir(here)


@pytest.mark.parametrize("data", [b"", b"hello", b"MZ", b"QFI\xfb", b"070701", b"\x1f\x8b\x08",
                                  b"{", bytes(512) + b"EFI PART" + bytes(600)])  # fmt: skip
def test_what_nobody_can_read_is_an_error(tmp_path: Path, data: bytes) -> None:
    place = tmp_path / "thing"
    place.write_bytes(data)
    with pytest.raises(MinbuildError):
        measure_input(str(place))
    with pytest.raises(UsageError):
        measure_input(str(tmp_path / "nothing"))


def test_the_same_tree_gives_the_same_bytes(tree: Path) -> None:
    assert document.render_footprint(measure_input(str(tree))) == document.render_footprint(
        measure_input(str(tree))
    )


def test_the_newest_kernel_is_so_by_its_numbers() -> None:
    names = ("/boot/vmlinuz-6.10.1-t", "/boot/vmlinuz-6.9.1-t", "/usr/lib/modules/6.9.12-t/vmlinuz")
    seen = [MeasuredFile(RootPath(name), "file", 0o644) for name in names]
    assert find_newest_kernel(seen) == "6.10.1-t"
    configs = {"boot/config-6.9.1-t": b"CONFIG_A=y\n", "boot/config-6.10.1-t": b"CONFIG_B=y\n"}
    assert read_kernel_options(configs, "6.9.1-t") == {"A": "y"}
    assert read_kernel_options(configs, "") == {"B": "y"}
    assert read_kernel_options({}, "6.9.1-t") is None
