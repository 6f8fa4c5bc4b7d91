from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import ToolError
from minbuild.image.disk import Identity, make_disk
from minbuild.image.fat import LEAST, MOST, SECTOR, fill, fit
from minbuild.image.layout import START, TABLE, layout
from minbuild.manifest.types import DiskWish, Holds, Partition, Where
from tests.unit.toolbox.real import toolbox

HERE = Where("host.yaml", 1, 1)
MIB = 1 << 20


def partition(holds: Holds, size: int | None = None, label: str = "", name: str = "") -> Partition:
    return Partition(HERE, holds, name, label, size)


ESP = partition(Holds.ESP)
OTHERS = st.lists(
    st.builds(
        partition,
        st.sampled_from([Holds.EXT4, Holds.FAT, Holds.EMPTY]),
        st.integers(3, 64).map(lambda size: size * MIB),
    ),
    max_size=5,
)


@given(OTHERS, st.integers(0, 5), st.integers(1, 30_000_000), st.integers(0, 100))
def test_partitions_lie_apart_and_inside(
    others: list[Partition], at: int, file: int, spare: int
) -> None:
    parts = (*others[:at], ESP, *others[at:])
    least = layout(DiskWish(None, parts), [file], 2)
    whole = layout(DiskWish(least.size + spare * MIB, parts), [file], 2)
    assert whole.places == least.places
    for place in least.places:
        assert place.start % START == 0
        assert place.start >= START
    for one, two in pairwise(least.places):
        assert one.start + one.size <= two.start
    last = least.places[-1]
    assert last.start + last.size + TABLE <= least.size <= whole.size


@given(st.integers(5_000, 10_000_000), st.integers(0, 40_000_000))
def test_a_given_size_is_used_whole_or_refused(kib: int, file: int) -> None:
    fat = fill(kib * 2, [file], 2)
    if fat is None:
        assert fit([file], 2).sectors > kib * 2 or kib * 2 > 32_000_000
        return
    assert fat.sectors == kib * 2
    clusters = fat.sectors * SECTOR // fat.cluster
    assert LEAST[fat.bits] <= clusters
    assert clusters <= MOST[fat.bits] * 1.02
    assert file < fat.sectors * SECTOR


def test_the_last_partition_takes_the_rest() -> None:
    wish = DiskWish(100 * MIB, (ESP, partition(Holds.EXT4)))
    data = layout(wish, [10 * MIB], 2).places[-1]
    assert 100 * MIB - TABLE - MIB < data.start + data.size <= 100 * MIB - TABLE


@pytest.mark.parametrize(
    "wish",
    [
        DiskWish(8 * MIB, (ESP,)),
        DiskWish(None, (partition(Holds.ESP, 5 * MIB),)),
        DiskWish(12 * MIB, (ESP, partition(Holds.EXT4))),
    ],
)
def test_what_is_too_small_is_an_error(wish: DiskWish) -> None:
    with pytest.raises(ToolError) as caught:
        layout(wish, [10 * MIB], 2)
    assert "larger" in caught.value.fix


@pytest.mark.mirror
@pytest.mark.oracle
def test_checkers_find_nothing_wrong_with_a_disk_of_many_partitions(tmp_path: Path) -> None:
    (tmp_path / "uki").write_bytes(b"MZ" + bytes(range(256)) * 12_000)
    wish = DiskWish(
        160 * MIB,
        (
            partition(Holds.FAT, 40 * MIB, "EXCHANGE", 'a "name" \\ of 36'),
            partition(Holds.ESP, 48 * MIB),
            partition(Holds.EMPTY, 2 * MIB),
            partition(Holds.EXT4, 16 * MIB, "small"),
            partition(Holds.EXT4, None, "minbuild-data"),
        ),
    )
    box, disks = toolbox(), []
    for name in ("one", "two"):
        place = tmp_path / name
        make_disk({"EFI/BOOT/BOOTX64.EFI": tmp_path / "uki"}, Identity("lock"), place, box, wish)
        disks.append(place.read_bytes())
    assert disks[0] == disks[1]
    assert len(disks[0]) == 160 * MIB
    disk = tmp_path / "one"
    assert b"No problems found" in box.run("sgdisk", ["-v", disk], what="checking")
    assert b"'a \"name\" \\ of 36'" in box.run("sgdisk", ["-i", "1", disk], what="reading")
    places = layout(wish, [(tmp_path / "uki").stat().st_size], 2).places
    for place in places:
        alone = tmp_path / "partition"
        alone.write_bytes(disks[0][place.start : place.start + place.size])
        if place.holds in {Holds.FAT, Holds.ESP}:
            assert b"FATs differ" not in box.run("fsck.fat", ["-n", alone], what="checking")
        if place.holds is Holds.EXT4:
            box.run("e2fsck", ["-f", "-n", alone], what="checking")
            assert place.label.encode() in alone.read_bytes()[1024:2048]
