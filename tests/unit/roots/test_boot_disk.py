"""Disks with more on them than the one thing that they start, made by mkfs.fat and mcopy."""

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from minbuild.errors import MinbuildError
from minbuild.footprint.model import Footprint
from minbuild.image import grub
from minbuild.image.ukify import UkiParts
from minbuild.roots.boot_disk import NoUkiOnDisk, read_disk_boot
from tests.oracle.cpios import archive, file
from tests.support import disks
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki
from tests.unit.toolbox.real import toolbox

CLEAN = uki({".linux": b"K" * 600, ".initrd": archive([file(b"init", b"x", 0o755)])})
EVIL = uki({".linux": b"K" * 600, ".initrd": archive([file(b"su", b"e" * 9000, 0o4755)])})
LOADER = uki({".text": b"L" * 300, ".sdmagic": b"#### LoaderInfo: systemd-boot 257 ####"})
BOOT = "EFI/BOOT/BOOTX64.EFI"


def fat(files: Mapping[str, bytes], work: Path, size: int = 4 << 20, bits: int = 12) -> bytes:
    """A FAT file system with these files."""
    place = work / "fat.img"
    with place.open("wb") as made:
        made.truncate(size)
    toolbox().run("mkfs.fat", ["-F", str(bits), place], purpose="making a file system")
    folders: set[str] = set()
    for name, data in files.items():
        parts = name.split("/")[:-1]
        for n in range(len(parts)):
            folder = "/".join(parts[: n + 1])
            if folder not in folders:
                folders.add(folder)
                toolbox().run("mmd", ["-i", place, f"::{folder}"], purpose="making a directory")
        (work / "one").write_bytes(data)
        toolbox().run("mcopy", ["-i", place, work / "one", f"::{name}"], purpose="copying")
    return place.read_bytes()


def esp(files: Mapping[str, bytes], work: Path, *more: disks.Part) -> bytes:
    return disks.gpt([disks.Part(fat(files, work), disks.ESP, "EFI System"), *more])


def measured(data: bytes, work: Path) -> Footprint:
    (work / "x.raw").write_bytes(data)
    return measure_input(str(work / "x.raw"))


@pytest.mark.parametrize(("bits", "size"), [(12, 4 << 20), (16, 16 << 20), (32, 40 << 20)])
def test_the_file_that_firmware_starts_is_measured_though_another_is_larger(
    tmp_path: Path, bits: int, size: int
) -> None:
    part = fat({BOOT.lower(): CLEAN, "a long name, which is none.txt": b"n"}, tmp_path, size, bits)
    boot = read_disk_boot(disks.gpt([disks.Part(part, disks.ESP)]), "x")
    assert boot.uki == CLEAN
    assert boot.others == {"a long name, which is none.txt": 1}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"EFI/Linux/evil.efi": EVIL}, "other programs"),
        ({"EFI/BOOT/BOOTAA64.EFI": EVIL}, "two kinds of machine"),
        ({"EFI/tools/evil.bin": EVIL}, "other programs"),
        ({"EFI/BOOT/BOOTX64.EFI.extra.d/a.addon.efi": LOADER}, "other programs"),
        ({"EFI/BOOT/BOOTX64.EFI.extra.d/a.cred": b"x"}, "also reads"),
        ({"EFI/BOOT/bootx64.efi.EXTRA.D/a.raw": b"x"}, "also reads"),
        ({"loader/credentials/a.cred": b"x"}, "also reads"),
        ({"loader/addons/a": b"x"}, "also reads"),
        ({"loader/extensions/a.raw": b"x"}, "also reads"),
    ],
)
def test_what_may_be_started_or_read_beside_it_is_refused(
    tmp_path: Path, more: dict[str, bytes], why: str
) -> None:
    with pytest.raises(MinbuildError, match=why):
        measured(esp({BOOT: CLEAN, **more}, tmp_path), tmp_path)


def test_a_uki_is_told_wherever_its_header_lies(tmp_path: Path) -> None:
    far = 300_000
    moved = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", far)
    data = moved.ljust(far, b"\0") + CLEAN[0x40:512]
    assert read_disk_boot(fat({BOOT: data}, tmp_path), "x").uki == data
    with pytest.raises(MinbuildError, match="other programs"):
        read_disk_boot(fat({BOOT: CLEAN, "EFI/Linux/a.efi": data}, tmp_path), "x")


def test_a_boot_loader_with_one_uki_is_measured_and_named(tmp_path: Path) -> None:
    files = {BOOT: LOADER, "EFI/systemd/systemd-bootx64.efi": LOADER, "EFI/Linux/a.efi": EVIL}
    found = measured(esp({**files, "loader/loader.conf": b"timeout 3\n"}, tmp_path), tmp_path)
    assert found.totals.files == 2
    names = {row.name for row in found.sections}
    assert {f"disk {BOOT}", "disk loader/loader.conf"} <= names
    assert found.totals.packed == (tmp_path / "x.raw").stat().st_size


@pytest.mark.parametrize("name", ["loader/entries/a.conf", "EFI/Linux/b.efi"])
def test_a_boot_loader_with_a_choice_is_refused(tmp_path: Path, name: str) -> None:
    files = {BOOT: LOADER, "EFI/Linux/a.efi": CLEAN, name: EVIL if "efi" in name else b"x"}
    with pytest.raises(MinbuildError, match="cannot be measured"):
        measured(esp(files, tmp_path), tmp_path)


def test_two_partitions_that_may_start_are_refused(tmp_path: Path) -> None:
    second = disks.Part(fat({BOOT: EVIL}, tmp_path), disks.ESP)
    with pytest.raises(MinbuildError, match="several partitions"):
        measured(esp({BOOT: CLEAN}, tmp_path, second), tmp_path)


def test_a_file_system_on_a_partition_of_any_type_may_start(tmp_path: Path) -> None:
    part = fat({BOOT: CLEAN}, tmp_path)
    assert read_disk_boot(disks.gpt([disks.Part(b"x" * 512), disks.Part(part)]), "x").uki == CLEAN
    evil = fat({BOOT: EVIL}, tmp_path)
    with pytest.raises(MinbuildError, match="several partitions"):
        measured(disks.gpt([disks.Part(evil), disks.Part(part, disks.ESP)]), tmp_path)


def test_other_partitions_boot_code_and_what_lies_outside_are_named(tmp_path: Path) -> None:
    data = bytearray(esp({BOOT: CLEAN}, tmp_path, disks.Part(b"d" * 4096, name="my\x1bdata")))
    data[0:3] = b"\xeb\x63\x90"
    data[disks.START - 512 : disks.START] = b"h" * 512
    found = measured(bytes(data), tmp_path)
    rows = {row.name: row.packed for row in found.components}
    assert rows["disk partition 2 (my?data)"] == 4096
    assert rows["disk boot code"] == 440
    assert rows["disk space outside of partitions"] >= 512
    assert found.totals.packed == len(data)


def test_a_file_system_without_a_table_is_started_too(tmp_path: Path) -> None:
    assert read_disk_boot(fat({BOOT: CLEAN}, tmp_path), "x").uki == CLEAN
    with pytest.raises(NoUkiOnDisk):
        read_disk_boot(fat({"a": CLEAN[:1]}, tmp_path), "x")


def test_two_files_that_answer_to_one_name_are_refused(tmp_path: Path) -> None:
    data = bytearray(esp({BOOT: CLEAN, "EFI/BOOT/OTHER.EFI": EVIL}, tmp_path))
    at = data.index(b"OTHER   EFI")
    data[at : at + 11] = b"BOOTX64 EFI"
    with pytest.raises(MinbuildError, match="two files answer to EFI/BOOT/BOOTX64"):
        measured(bytes(data), tmp_path)


def test_a_cd_must_start_the_same(tmp_path: Path) -> None:
    data = bytearray(esp({BOOT: CLEAN}, tmp_path, disks.Part(fat({"a": b"x"}, tmp_path))))
    start = disks.START // 2048
    data[17 * 2048 : 17 * 2048 + 30] = b"\0CD001\x01EL TORITO SPECIFICATION"
    data[17 * 2048 + 0x47 : 17 * 2048 + 0x4B] = struct.pack("<I", 40)
    entry = struct.pack("<B7xI20x", 0x88, start)
    for platform, first, more, sound in (
        (0xEF, start, b"", True),
        (0xEF, start + 2, b"", False),
        (0, start, b"", False),
        (0xEF, start, b"\x91\0\1\0".ljust(32, b"\0") + entry, False),
    ):
        head = bytes([1, platform]).ljust(32, b"\0")
        catalog = head + struct.pack("<B7xI20x", 0x88, first) + more
        data[40 * 2048 : 41 * 2048] = catalog.ljust(2048, b"\0")
        if sound:
            assert read_disk_boot(bytes(data), "x").uki == CLEAN
        else:
            with pytest.raises(MinbuildError, match="a CD of it would start"):
                read_disk_boot(bytes(data), "x")


def test_a_bios_must_start_the_same(tmp_path: Path) -> None:
    (tmp_path / "K").write_bytes(b"K" * 600)
    (tmp_path / "I").write_bytes(archive([file(b"init", b"x", 0o755)]))
    image = uki(
        {
            ".linux": b"K" * 600,
            ".initrd": (tmp_path / "I").read_bytes(),
            ".cmdline": b'quiet a="b c"',
        }
    )
    (tmp_path / "uki").write_bytes(image)
    parts = UkiParts("amd64", tmp_path / "K", tmp_path / "I", 'quiet a="b c"', b"", "")
    config = grub.render_grub_config(parts, tmp_path / "uki", "BOOTX64.EFI").encode()
    loader = disks.Part(b"\xeb" * 512, grub.BIOS_PARTITION_TYPE)

    def disk(*changes: tuple[bytes, bytes]) -> bytes:
        text = config
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        return esp({BOOT: image, "EFI/BOOT/grub.cfg": text}, tmp_path, loader)

    assert read_disk_boot(disk(), "x").uki == image
    for change in (
        (b"quiet", b"init=/x"),
        (b"boot\n", b"source /x\nboot\n"),
        (b"(uki)1", b"(uki)2"),
    ):
        with pytest.raises(MinbuildError, match="a BIOS would start"):
            read_disk_boot(disk(change), "x")
    with pytest.raises(MinbuildError, match="a BIOS would start"):
        read_disk_boot(esp({BOOT: image}, tmp_path, loader), "x")
