"""What a disk's layout must keep to before anything is measured."""

from minbuild.manifest.problems import Problems
from minbuild.manifest.types import DiskWish, Holds, ImageWish, Partition

ALIGN = 1 << 20
"""Every partition begins and ends at a multiple of this."""
LONGEST = {Holds.FAT: 11, Holds.ESP: 11, Holds.EXT4: 16, Holds.EMPTY: 0}
"""Characters of a file system's label."""
LEAST_EXT4 = 2 << 20
"""Bytes below which mke2fs leaves no room for anything. Source: mke2fs(8), measured."""


def checked(image: ImageWish, problems: Problems) -> ImageWish:
    """Report what is wrong with the disk of `image`; gives it back."""
    disk = image.disk
    if not disk.partitions:
        return image
    esps = [one for one in disk.partitions if one.holds is Holds.ESP]
    if len(esps) != 1:
        where = (esps or disk.partitions)[-1].where
        found = "no partition is the ESP" if not esps else "two partitions are the ESP"
        problems.add(found, where, "write holds: esp for exactly one, which the firmware reads")
    open_ones = [one for one in disk.partitions if one.size is None and one.holds is not Holds.ESP]
    for one in open_ones:
        _open(one, disk, open_ones, problems)
    for one in disk.partitions:
        _partition(one, problems)
    return image


def _open(one: Partition, disk: DiskWish, others: list[Partition], problems: Problems) -> None:
    """A partition without a size takes the rest of a disk that has one."""
    if disk.size is None:
        fix = "give this partition a size, or the disk: image.disk.size"
        problems.add("nothing says how large the partition is", one.where, fix)
    elif one is not others[0]:
        problems.add("two partitions take the rest of the disk", one.where, "give one a size")
    elif one is not disk.partitions[-1]:
        fix = "give it a size, or put it last"
        problems.add("a partition takes the rest of the disk, and others follow", one.where, fix)


def _partition(one: Partition, problems: Problems) -> None:
    most = LONGEST[one.holds]
    if len(one.label) > most:
        what = (
            f"the label {one.label!r} has {len(one.label)} characters; {one.holds} takes {most}"
            if most
            else f"an {one.holds} partition has no file system to be labelled"
        )
        problems.add(what, one.where, "shorten it" if most else "remove label")
    if one.size is None:
        return
    if one.size % ALIGN or not one.size:
        fix = "write it in MiB: size: 64 MiB"
        problems.add(f"the size {one.size} is no multiple of 1 MiB", one.where, fix)
    elif one.holds is Holds.EXT4 and one.size < LEAST_EXT4:
        problems.add("the partition is too small for ext4", one.where, "make it 2 MiB or more")
