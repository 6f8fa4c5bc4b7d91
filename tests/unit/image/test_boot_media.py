import re
import shutil
import tempfile
from pathlib import Path

import pytest

from minbuild.image.boot_media import DerivedIds, list_boot_files, make_disk
from minbuild.image.disk_layout import PARTITION_ALIGNMENT, SECTOR
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror]

SEED = DerivedIds("a lock")
SIZES = [0, 1, 512 * 4085, 3_000_001, 17_849_344, 40_000_000]


@pytest.fixture
def uki(tmp_path: Path) -> Path:
    path = tmp_path / "host.efi"
    path.write_bytes(b"MZ" + bytes(range(256)) * 12_000)
    return path


def sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.oracle
@pytest.mark.parametrize("size", SIZES)
def test_gpt_and_fat_checkers_find_nothing_wrong(size: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_disk({"EFI/BOOT/BOOTX64.EFI": sized(tmp_path / "f", size)}, SEED, disk, toolbox())
    box = toolbox()
    said = box.run("sgdisk", ["-v", disk], purpose="checking").decode()
    assert "No problems found" in said
    assert b"No errors detected" in box.run("sfdisk", ["--verify", disk], purpose="checking")
    table = box.run("sfdisk", ["--dump", disk], purpose="reading").decode()
    sectors = int(re.findall(r"size= *(\d+)", table)[0])
    (tmp_path / "esp").write_bytes(
        disk.read_bytes()[PARTITION_ALIGNMENT : PARTITION_ALIGNMENT + sectors * SECTOR]
    )
    said = box.run("fsck.fat", ["-n", "-v", tmp_path / "esp"], purpose="checking").decode()
    assert f"{sectors} sectors total" in said
    assert "FAT" not in said.split("Checking for")[-1]


@pytest.mark.parametrize("size", [3_000_001, 17_849_344])
def test_the_disk_is_no_larger_than_it_must_be(size: int, tmp_path: Path) -> None:
    make_disk({"A": sized(tmp_path / "f", size)}, SEED, tmp_path / "disk", toolbox())
    needed = size * 1.005 + 50_000  # two tables, FAT16's root, GPT's second table
    assert (tmp_path / "disk").stat().st_size <= needed + (1 << 20)


def test_files_and_times_read_back(uki: Path, tmp_path: Path) -> None:
    make_disk(list_boot_files(uki, "amd64"), SEED, tmp_path / "raw", toolbox())
    inside = ["-i", f"{tmp_path / 'raw'}@@{PARTITION_ALIGNMENT}"]
    toolbox().run(
        "mcopy", [*inside, "::EFI/BOOT/BOOTX64.EFI", tmp_path / "back"], purpose="reading"
    )
    assert (tmp_path / "back").read_bytes() == uki.read_bytes()
    listing = toolbox().run("mdir", [*inside, "-/", "-a", "::"], purpose="reading").decode()
    assert set(re.findall(r"\d{4}-\d\d-\d\d  \d\d:\d\d", listing)) == {"2023-11-14  22:13"}


def test_the_same_is_written_twice_and_at_another_place(uki: Path, tmp_path: Path) -> None:
    other = tmp_path / "another directory"
    other.mkdir()
    (other / "else.efi").write_bytes(uki.read_bytes())
    make_disk(list_boot_files(uki, "amd64"), SEED, tmp_path / "raw", toolbox())
    make_disk(list_boot_files(other / "else.efi", "amd64"), SEED, other / "raw", toolbox())
    assert (tmp_path / "raw").read_bytes() == (other / "raw").read_bytes()


def test_files_of_another_file_system_give_the_same_disk(uki: Path, tmp_path: Path) -> None:
    files = {
        "EFI/BOOT/BOOTX64.EFI": uki,
        "EFI/BOOT/a.cfg": sized(tmp_path / "a", 9),
        "EFI/Z/b": uki,
    }
    make_disk(files, SEED, tmp_path / "raw", toolbox())
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        for number, (name, path) in enumerate(files.items()):
            files[name] = Path(shutil.copy(path, f"{elsewhere}/{number}"))
        make_disk(files, SEED, tmp_path / "other", toolbox())
    assert (tmp_path / "raw").read_bytes() == (tmp_path / "other").read_bytes()
    words = ["-i", f"{tmp_path / 'raw'}@@{PARTITION_ALIGNMENT}", "-b", "-/", "::"]
    listing = toolbox().run("mdir", words, purpose="reading").decode().split()
    directories = {"::/EFI/", "::/EFI/BOOT/", "::/EFI/Z/"}
    assert {*listing} == directories | {f"::/{name}" for name in files}


def test_another_lock_gives_other_identifiers(uki: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_disk(list_boot_files(uki, "amd64"), DerivedIds(name), tmp_path / name, toolbox())
    tables = [
        toolbox().run("sfdisk", ["--dump", tmp_path / name], purpose="reading").decode()
        for name in ("one", "two")
    ]
    found = [re.findall(r"label-id: (\S+)|uuid=([^,]+)", table) for table in tables]
    assert found[0] != found[1]
    assert len(found[0]) == 2


def test_identifiers_are_guids() -> None:
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        SEED.make_guid("esp"),
    )
    assert re.fullmatch(r"[0-9a-f]{8}", SEED.make_volume_id("esp"))
    assert SEED.make_guid("esp") != SEED.make_guid("disk")
