"""Damaged images: only errors that a user can read come out."""

import contextlib
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbuild.errors import MinbuildError
from minbuild.subject.disk import boot_file
from minbuild.subject.qcow2 import raw
from tests.support.subjects import open_subject
from tests.support.uki import uki
from tests.unit.subject.test_open import initramfs, qcow2

UKI = uki({".linux": b"K" * 600, ".initrd": initramfs(), ".uname": b"6.1"})
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le


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
    first = 40
    rows = (ESP + bytes(16) + struct.pack("<QQ", first, first + len(part) // 512 - 1)).ljust(
        128, b"\0"
    )
    head = (b"EFI PART" + bytes(64) + struct.pack("<QII", 2, 1, 128)).ljust(512, b"\0")
    return (bytes(512) + head + rows).ljust(first * 512, b"\0") + part


def test_the_uki_of_a_disk_is_found() -> None:
    assert boot_file(disk(UKI), "x") == UKI


@pytest.mark.parametrize("packed", [False, True])
def test_a_disk_weighs_what_its_file_weighs(tmp_path: Path, packed: bool) -> None:
    place = tmp_path / ("host.qcow2" if packed else "host.raw")
    place.write_bytes(qcow2(disk(UKI)) if packed else disk(UKI))
    found = open_subject(str(place))
    assert found.totals.packed == place.stat().st_size
    assert sum(one.packed for one in found.sections) == place.stat().st_size
    assert [one.name for one in found.sections][-2:] == ["image", "disk"]


DISK, QCOW2 = disk(UKI), qcow2(disk(UKI))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_damage_gives_an_error_or_a_footprint(tmp_path: Path, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([UKI, DISK, QCOW2, initramfs()]))
    at = data.draw(st.integers(0, min(len(whole), 60_000)))
    patch = data.draw(st.binary(max_size=24))
    end = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    place = tmp_path / "image"
    place.write_bytes((whole[:at] + patch + whole[at + len(patch) :])[:end])
    with contextlib.suppress(MinbuildError):
        open_subject(str(place))


@given(head=st.binary(max_size=104), rest=st.binary(max_size=200))
def test_a_made_up_qcow2_head_is_an_error(head: bytes, rest: bytes) -> None:
    with contextlib.suppress(MinbuildError):
        raw(b"QFI\xfb" + struct.pack(">I", 2) + bytes(8) + head + rest, "x")
