"""Damaged images: only errors that a user can read come out."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbuild.errors import MinbuildError
from minbuild.roots.boot_disk import find_boot_uki
from tests.support import disks
from tests.support.measured_inputs import measure_input
from tests.support.uki import uki
from tests.unit.roots.test_footprint import initramfs

UKI = uki({".linux": b"K" * 600, ".initrd": initramfs(), ".uname": b"6.1"})


def disk(boot: bytes) -> bytes:
    """A GPT disk with one FAT16 partition that holds EFI/BOOT/BOOTX64.EFI."""
    cluster = 512
    count = 5000
    size = 40  # sectors of the one FAT: 5002 * 2 / 512, rounded up twice over
    boot_sector = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb<\x90", b"TEST", 512, 1, 1, 1, 16,
                              1 + size + 1 + count, 0xF8, size, 0, 0, 0, 0).ljust(510, b"\0") + b"\x55\xaa"  # fmt: skip
    clusters = [b"", b""]  # EFI and BOOT, then the file
    need = -(-len(boot) // cluster)
    table = [0xFFF8, 0xFFFF, 0xFFFF, 0xFFFF, *range(5, 4 + need), 0xFFFF]

    def entry(name: bytes, kind: int, first: int, length: int) -> bytes:
        return struct.pack("<11sB8xHHHHI", name, kind, 0, 0, 0, first, length)

    root = entry(b"EFI        ", 0x10, 2, 0)
    clusters = [
        entry(b".          ", 0x10, 2, 0) + entry(b"BOOT       ", 0x10, 3, 0),
        entry(b"BOOTX64 EFI", 0x20, 4, len(boot)),
    ]
    data = b"".join(part.ljust(cluster, b"\0") for part in clusters) + boot
    fat = struct.pack(f"<{len(table)}H", *table).ljust(size * 512, b"\0")
    part = boot_sector + fat + root.ljust(512, b"\0") + data.ljust(count * cluster, b"\0")
    return disks.gpt([disks.Part(part, disks.ESP)])


def test_the_uki_of_a_disk_is_found() -> None:
    assert find_boot_uki(disk(UKI), "x") == UKI


@pytest.mark.mirror
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_a_disk_weighs_what_its_file_weighs(tmp_path: Path, form: str) -> None:
    place = tmp_path / f"host.{form}"
    place.write_bytes(disk(UKI))
    if form != "raw":
        disks.convert_disk(disk(UKI), place)
    found = measure_input(str(place))
    assert found.totals.packed == place.stat().st_size
    assert sum(one.packed for one in found.sections) == place.stat().st_size
    assert [one.name for one in found.sections][-2:] == ["image", "disk"]


DISK = disk(UKI)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_damage_gives_an_error_or_a_footprint(tmp_path: Path, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([UKI, DISK, initramfs()]))
    at = data.draw(st.one_of(st.integers(0, 60_000), st.integers(1 << 20, (1 << 20) + 60_000)))
    patch = data.draw(st.binary(max_size=24))
    end = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    place = tmp_path / "image"
    place.write_bytes((whole[:at] + patch + whole[at + len(patch) :])[:end])
    with contextlib.suppress(MinbuildError):
        measure_input(str(place))
