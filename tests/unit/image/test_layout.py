from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import ToolError
from minbuild.image.boot_media import DerivedIds, make_disk
from minbuild.image.disk_layout import (
    BACKUP_TABLE_SIZE,
    MAX_CLUSTERS,
    MIN_CLUSTERS,
    PARTITION_ALIGNMENT,
    SECTOR,
    compute_fat_of_size,
    compute_smallest_fat,
    plan_disk,
)
from minbuild.manifest.image_settings import DiskSettings, PartitionSettings, PartitionType
from minbuild.manifest.model import Location
from tests.unit.toolbox.real import toolbox

HERE = Location("host.yaml", 1, 1)
MIB = 1 << 20


def partition(
    content: PartitionType, size: int | None = None, label: str = "", name: str = ""
) -> PartitionSettings:
    return PartitionSettings(HERE, content, name, label, size)


ESP = partition(PartitionType.ESP)
OTHERS = st.lists(
    st.builds(
        partition,
        st.sampled_from([PartitionType.EXT4, PartitionType.FAT, PartitionType.EMPTY]),
        st.integers(3, 64).map(lambda size: size * MIB),
    ),
    max_size=5,
)


@given(OTHERS, st.integers(0, 5), st.integers(1, 30_000_000), st.integers(0, 100))
def test_partitions_lie_apart_and_inside(
    others: list[PartitionSettings], at: int, file: int, spare: int
) -> None:
    parts = (*others[:at], ESP, *others[at:])
    least = plan_disk(DiskSettings(None, parts), [file], 2)
    whole = plan_disk(DiskSettings(least.size + spare * MIB, parts), [file], 2)
    assert whole.partitions == least.partitions
    for place in least.partitions:
        assert place.start % PARTITION_ALIGNMENT == 0
        assert place.start >= PARTITION_ALIGNMENT
    for one, two in pairwise(least.partitions):
        assert one.start + one.size <= two.start
    last = least.partitions[-1]
    assert last.start + last.size + BACKUP_TABLE_SIZE <= least.size <= whole.size


@given(st.integers(5_000, 10_000_000), st.integers(0, 40_000_000))
def test_a_given_size_is_used_whole_or_refused(kib: int, file: int) -> None:
    fat = compute_fat_of_size(kib * 2, [file], 2)
    if fat is None:
        assert compute_smallest_fat([file], 2).sectors > kib * 2 or kib * 2 > 32_000_000
        return
    assert fat.sectors == kib * 2
    clusters = fat.sectors * SECTOR // fat.cluster_size
    assert MIN_CLUSTERS[fat.bits] <= clusters
    assert clusters <= MAX_CLUSTERS[fat.bits] * 1.02
    assert file < fat.sectors * SECTOR


def test_the_last_partition_takes_the_rest() -> None:
    spec = DiskSettings(100 * MIB, (ESP, partition(PartitionType.EXT4)))
    data = plan_disk(spec, [10 * MIB], 2).partitions[-1]
    assert (
        100 * MIB - BACKUP_TABLE_SIZE - MIB
        < data.start + data.size
        <= 100 * MIB - BACKUP_TABLE_SIZE
    )


@pytest.mark.parametrize(
    "spec",
    [
        DiskSettings(8 * MIB, (ESP,)),
        DiskSettings(None, (partition(PartitionType.ESP, 5 * MIB),)),
        DiskSettings(12 * MIB, (ESP, partition(PartitionType.EXT4))),
    ],
)
def test_what_is_too_small_is_an_error(spec: DiskSettings) -> None:
    with pytest.raises(ToolError) as caught:
        plan_disk(spec, [10 * MIB], 2)
    assert "larger" in caught.value.fix


@pytest.mark.mirror
@pytest.mark.oracle
def test_checkers_find_nothing_wrong_with_a_disk_of_many_partitions(tmp_path: Path) -> None:
    (tmp_path / "uki").write_bytes(b"MZ" + bytes(range(256)) * 12_000)
    spec = DiskSettings(
        160 * MIB,
        (
            partition(PartitionType.FAT, 40 * MIB, "EXCHANGE", 'a "name" \\ of 36'),
            partition(PartitionType.ESP, 48 * MIB),
            partition(PartitionType.EMPTY, 2 * MIB),
            partition(PartitionType.EXT4, 16 * MIB, "small"),
            partition(PartitionType.EXT4, None, "minbuild-data"),
        ),
    )
    box, disks = toolbox(), []
    for name in ("one", "two"):
        place = tmp_path / name
        make_disk({"EFI/BOOT/BOOTX64.EFI": tmp_path / "uki"}, DerivedIds("lock"), place, box, spec)
        disks.append(place.read_bytes())
    assert disks[0] == disks[1]
    assert len(disks[0]) == 160 * MIB
    disk = tmp_path / "one"
    assert b"No problems found" in box.run("sgdisk", ["-v", disk], purpose="checking")
    assert b"'a \"name\" \\ of 36'" in box.run("sgdisk", ["-i", "1", disk], purpose="reading")
    partitions = plan_disk(spec, [(tmp_path / "uki").stat().st_size], 2).partitions
    for plan in partitions:
        alone = tmp_path / "partition"
        alone.write_bytes(disks[0][plan.start : plan.start + plan.size])
        if plan.type in {PartitionType.FAT, PartitionType.ESP}:
            assert b"FATs differ" not in box.run("fsck.fat", ["-n", alone], purpose="checking")
        if plan.type is PartitionType.EXT4:
            box.run("e2fsck", ["-f", "-n", alone], purpose="checking")
            assert plan.label.encode() in alone.read_bytes()[1024:2048]
