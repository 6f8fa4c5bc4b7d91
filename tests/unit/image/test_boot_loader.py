"""A disk where systemd-boot starts one of several versions."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ManifestError
from minbuild.formats.vfat import FatFileSystem
from minbuild.image.boot_media import GROWTH
from minbuild.image.disk_layout import PARTITION_ALIGNMENT
from minbuild.manifest.image_settings import DiskSettings
from minbuild.manifest.loader import read_manifest
from minbuild.paths import RootPath
from minbuild.pipeline.image_spec import render_os_release
from minbuild.roots.boot_disk import find_boot_uki
from tests.unit.image.test_write import order, written
from tests.unit.toolbox.real import toolbox

HOST = "minbuild: 1\nname: rack\nextends: [host.yaml]\nvars: {version: 7}\nboot: {use: [update]}\n"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("loader")
    return write_disk(place / "out", place / "store")


def write_disk(directory: Path, store: Path) -> Path:
    kept = Store(store)
    written(directory, kept, replace(order(kept), disk=DiskSettings(version=7)))
    return directory


def list_esp(disk: Path) -> dict[str, bytes]:
    data = disk.read_bytes()
    volume = FatFileSystem(data, PARTITION_ALIGNMENT, len(data) - PARTITION_ALIGNMENT)
    return {one.path: volume.read(one, 1 << 30) for one in volume.list_files()}


@pytest.mark.mirror
def test_the_esp_has_loader_settings_and_this_version(out: Path) -> None:
    files = list_esp(out / "host.raw")
    loader = toolbox().find_path(RootPath("/usr/lib/systemd/boot/efi/systemd-bootx64.efi"))
    assert files == {
        "EFI/BOOT/BOOTX64.EFI": loader.read_bytes(),
        "EFI/Linux/host_7.efi": (out / "host.efi").read_bytes(),
        "loader/loader.conf": b"timeout menu-disabled\neditor no\nauto-entries yes\nauto-firmware no\n",
    }


@pytest.mark.mirror
def test_a_report_of_the_disk_measures_what_the_loader_starts(out: Path) -> None:
    assert find_boot_uki((out / "host.raw").read_bytes(), "x") == (out / "host.efi").read_bytes()


@pytest.mark.mirror
def test_there_is_room_for_the_next_version_and_no_third(out: Path) -> None:
    size = (out / "host.efi").stat().st_size
    room = (out / "host.raw").stat().st_size - PARTITION_ALIGNMENT
    assert room > (1 + GROWTH) * size


@pytest.mark.mirror
def test_the_same_is_written_twice(out: Path, tmp_path: Path) -> None:
    again = write_disk(tmp_path / "again", tmp_path / "store")
    assert (again / "host.raw").read_bytes() == (out / "host.raw").read_bytes()


def test_the_image_says_which_version_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rack.yaml"
    path.write_text(HOST)
    manifest = read_manifest(path, settings={}, components=())
    assert manifest.image.disk.version == 7
    assert render_os_release(manifest).endswith(b'IMAGE_ID="rack"\nIMAGE_VERSION="7"\n')


def test_a_bios_and_several_versions_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rack.yaml"
    path.write_text(HOST.replace("[update]", "[update, bios]"))
    with pytest.raises(ManifestError, match="boot/bios names one file's sectors"):
        read_manifest(path, settings={}, components=())
