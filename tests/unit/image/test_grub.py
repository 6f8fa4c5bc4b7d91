"""A disk for a BIOS: its tables are valid, and grub.cfg names the sectors of the UKI."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.formats.uki import read_uki_sections
from minbuild.image import grub
from minbuild.image.boot_media import ESP_TYPE, find_esp_number
from minbuild.image.disk_layout import PARTITION_ALIGNMENT, SECTOR
from minbuild.image.ukify import UkiParts
from minbuild.manifest.image_settings import DiskSettings, PartitionSettings, PartitionType
from minbuild.manifest.model import Location
from tests.unit.image.test_write import order, written
from tests.unit.toolbox.real import toolbox

MIB = 1 << 20


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of a host, written by whoever came first."""
    place = tmp_path_factory.mktemp("bios")
    made(place / "out", place / "store", DiskSettings(bios=True))
    return place / "out"


def made(directory: Path, store: Path, spec: DiskSettings) -> Path:
    kept = Store(store)
    cmdline = "console=tty0 console=ttyS1,115200 it's=$HOME"
    written(directory, kept, replace(order(kept), disk=spec, cmdline=cmdline))
    return directory / "host.raw"


def read(disk: Path, name: str, place: Path, start: int = PARTITION_ALIGNMENT) -> bytes:
    words: list[str | Path] = ["-o", "-i", f"{disk}@@{start}", f"::EFI/BOOT/{name}", place]
    toolbox().run("mcopy", words, purpose="reading back")
    return place.read_bytes()


@pytest.mark.mirror
@pytest.mark.oracle
def test_checkers_find_nothing_wrong(out: Path, tmp_path: Path) -> None:
    box, disk = toolbox(), out / "host.raw"
    assert b"No problems found" in box.run("sgdisk", ["-v", disk], purpose="checking")
    assert b"No errors detected" in box.run("sfdisk", ["--verify", disk], purpose="checking")
    table = box.run("sfdisk", ["--dump", disk], purpose="reading").decode()
    rows = re.findall(r"start= *(\d+), size= *(\d+), type=([0-9A-F-]+)", table)
    assert next(kind.lower() for *_, kind in rows) == grub.BIOS_PARTITION_TYPE
    (start, size) = (int(number) * SECTOR for number in rows[1][:2])
    assert start == PARTITION_ALIGNMENT
    (tmp_path / "esp").write_bytes(disk.read_bytes()[start : start + size])
    said = box.run("fsck.fat", ["-n", "-v", tmp_path / "esp"], purpose="checking").decode()
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
        part = read_uki_sections(uki, "uki")[section]
        assert uki[first : first + len(part)] == part
        assert len(part) <= count < len(part) + SECTOR


@pytest.mark.mirror
def test_the_command_line_is_quoted_and_its_serial_line_used(out: Path, tmp_path: Path) -> None:
    settings = read(out / "host.raw", "grub.cfg", tmp_path / "cfg").decode()
    assert "'console=tty0' 'console=ttyS1,115200' 'it'\\''s=$HOME'\n" in settings
    assert "serial --unit=1 --speed=115200\n" in settings


@pytest.mark.mirror
def test_the_same_is_written_twice(out: Path, tmp_path: Path) -> None:
    again = made(tmp_path / "again", tmp_path / "store", DiskSettings(bios=True))
    assert again.read_bytes() == (out / "host.raw").read_bytes()


@pytest.mark.mirror
def test_grub_looks_for_the_esp_wherever_the_manifest_puts_it(tmp_path: Path) -> None:
    where = Location("host.yaml", 1, 1)
    spec = DiskSettings(
        None,
        (
            PartitionSettings(where, PartitionType.EXT4, size=2 * MIB),
            PartitionSettings(where, PartitionType.ESP),
        ),
        bios=True,
    )
    disk = made(tmp_path / "out", tmp_path / "store", spec)
    table = toolbox().run("sfdisk", ["--dump", disk], purpose="reading").decode()
    kinds = re.findall(r"type=([0-9A-F-]+)", table)
    assert kinds[find_esp_number(spec) - 1].lower() == ESP_TYPE
    assert read(disk, "grub.cfg", tmp_path / "cfg", 3 * MIB)


@pytest.mark.mirror
def test_parts_that_lie_in_no_whole_sectors_are_an_error(tmp_path: Path) -> None:
    for name, data in (("linux", b"L" * 5000), ("initrd", b"I" * 5000)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "uki").write_bytes(b"MZ" + b"L" * 5000 + b"I" * 5000)
    parts = UkiParts("amd64", tmp_path / "linux", tmp_path / "initrd", "", b"", "6.1")
    with pytest.raises(ToolError, match="sector boundary"):
        grub.render_grub_config(parts, tmp_path / "uki", "BOOTX64.EFI")
