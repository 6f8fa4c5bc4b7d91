"""A disk that a BIOS starts too: its tables are sound, and GRUB is told where in the UKI things lie."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.image import bios
from minbuild.image.disk import ESP, START, esp_number
from minbuild.image.fat import SECTOR
from minbuild.image.uki import Parts
from minbuild.lab.uki import sections
from minbuild.manifest.types import DiskWish, Holds, Partition, Where
from minbuild.store import Store
from tests.unit.image.test_write import order, written
from tests.unit.toolbox.real import toolbox

MIB = 1 << 20


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of a host, written by whoever came first."""
    place = tmp_path_factory.mktemp("bios")
    made(place / "out", place / "store", DiskWish(bios=True))
    return place / "out"


def made(directory: Path, store: Path, wish: DiskWish) -> Path:
    kept = Store(store)
    cmdline = "console=tty0 console=ttyS1,115200 it's=$HOME"
    written(directory, kept, replace(order(kept), disk=wish, cmdline=cmdline))
    return directory / "host.raw"


def read(disk: Path, name: str, place: Path, start: int = START) -> bytes:
    words = ["-o", "-i", f"{disk}@@{start}", f"::EFI/BOOT/{name}", place]
    toolbox().run("mcopy", words, what="reading back")
    return place.read_bytes()


@pytest.mark.mirror
@pytest.mark.oracle
def test_checkers_find_nothing_wrong(out: Path, tmp_path: Path) -> None:
    box, disk = toolbox(), out / "host.raw"
    assert b"No problems found" in box.run("sgdisk", ["-v", disk], what="checking")
    assert b"No errors detected" in box.run("sfdisk", ["--verify", disk], what="checking")
    table = box.run("sfdisk", ["--dump", disk], what="reading").decode()
    rows = re.findall(r"start= *(\d+), size= *(\d+), type=([0-9A-F-]+)", table)
    assert next(kind.lower() for *_, kind in rows) == bios.TYPE
    (start, size) = (int(number) * SECTOR for number in rows[1][:2])
    assert start == START
    (tmp_path / "esp").write_bytes(disk.read_bytes()[start : start + size])
    said = box.run("fsck.fat", ["-n", "-v", tmp_path / "esp"], what="checking").decode()
    assert "FAT" not in said.split("Checking for")[-1]


@pytest.mark.mirror
def test_grub_is_told_the_sectors_of_kernel_and_initramfs(out: Path, tmp_path: Path) -> None:
    disk = out / "host.raw"
    settings = read(disk, "grub.cfg", tmp_path / "cfg").decode()
    uki = read(disk, "BOOTX64.EFI", tmp_path / "uki")
    assert uki == (out / "host.efi").read_bytes()
    for name, section in (("linux", ".linux"), ("initrd", ".initrd")):
        found = re.search(rf"^{name} \(uki\)(\d+)\+(\d+)", settings, re.MULTILINE)
        assert found
        first, count = (int(number) * SECTOR for number in found.groups())
        part = sections(uki, "uki")[section]
        assert uki[first : first + len(part)] == part
        assert len(part) <= count < len(part) + SECTOR


@pytest.mark.mirror
def test_the_command_line_is_quoted_and_its_serial_line_used(out: Path, tmp_path: Path) -> None:
    settings = read(out / "host.raw", "grub.cfg", tmp_path / "cfg").decode()
    assert "'console=tty0' 'console=ttyS1,115200' 'it'\\''s=$HOME'\n" in settings
    assert "serial --unit=1 --speed=115200\n" in settings


@pytest.mark.mirror
def test_the_same_is_written_twice(out: Path, tmp_path: Path) -> None:
    again = made(tmp_path / "again", tmp_path / "store", DiskWish(bios=True))
    assert again.read_bytes() == (out / "host.raw").read_bytes()


@pytest.mark.mirror
def test_grub_looks_for_the_esp_wherever_the_manifest_puts_it(tmp_path: Path) -> None:
    where = Where("host.yaml", 1, 1)
    wish = DiskWish(
        None,
        (Partition(where, Holds.EXT4, size=2 * MIB), Partition(where, Holds.ESP)),
        bios=True,
    )
    disk = made(tmp_path / "out", tmp_path / "store", wish)
    table = toolbox().run("sfdisk", ["--dump", disk], what="reading").decode()
    kinds = re.findall(r"type=([0-9A-F-]+)", table)
    assert kinds[esp_number(wish) - 1].lower() == ESP
    assert read(disk, "grub.cfg", tmp_path / "cfg", 3 * MIB)


@pytest.mark.mirror
def test_parts_that_lie_in_no_whole_sectors_are_an_error(tmp_path: Path) -> None:
    for name, data in (("linux", b"L" * 5000), ("initrd", b"I" * 5000)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "uki").write_bytes(b"MZ" + b"L" * 5000 + b"I" * 5000)
    parts = Parts("amd64", tmp_path / "linux", tmp_path / "initrd", "", b"", "6.1")
    with pytest.raises(ToolError, match="whole sectors"):
        bios.settings(parts, tmp_path / "uki", "BOOTX64.EFI")
