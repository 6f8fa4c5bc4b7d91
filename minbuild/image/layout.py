"""Where each partition of a disk lies: pure reckoning."""

from collections.abc import Sequence
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.image.fat import SECTOR, Fat, fill, fit
from minbuild.manifest.types import DiskWish, Holds, Partition

START = 1 << 20
"""Bytes before the first partition, and what later ones begin at a multiple of: what every
partition tool keeps to."""
TABLE = 34 * SECTOR
"""The second partition table, at the disk's end: 33 sectors (UEFI 2.10, 5.3.1), and one because
mkfs.fat counts in KiB and adds a file's odd last sector to the file system."""
FIX = "make it larger in the manifest (image.disk), or leave out its size"


@dataclass(frozen=True, slots=True)
class Place:
    """One partition on the disk."""

    start: int
    """Bytes from the disk's first."""
    size: int
    holds: Holds
    name: str
    label: str
    fat: Fat | None
    """The shape of a FAT file system."""


@dataclass(frozen=True, slots=True)
class Layout:
    size: int
    """Bytes of the whole disk."""
    places: tuple[Place, ...]
    bios: bool
    """True: a boot loader's partition lies before them, and is the first one of the table."""


NAMES = {
    Holds.ESP: "EFI System",
    Holds.EXT4: "Linux filesystem",
    Holds.FAT: "Basic data",
    Holds.EMPTY: "Empty",
}


def layout(wish: DiskWish, files: Sequence[int], directories: int) -> Layout:
    """Lay out a disk whose ESP holds files of these sizes; no larger than asked for or needed.

    Raises: ToolError when the ESP or the disk is too small.
    """
    places: list[Place] = []
    end = START
    for one in wish.partitions or (None,):
        start = -(-end // START) * START
        place = _place(one, start, wish, files, directories)
        places.append(place)
        end = start + place.size
    size = end + TABLE
    if wish.size is not None:
        if wish.size < size:
            what = f"the disk needs {size} bytes and image.disk.size is {wish.size}"
            raise ToolError(what, fix=FIX)
        size = wish.size // SECTOR * SECTOR
    return Layout(size, tuple(places), wish.bios)


def _place(
    one: Partition | None, start: int, wish: DiskWish, files: Sequence[int], directories: int
) -> Place:
    if one is None or (one.holds is Holds.ESP and one.size is None):
        fat = fit(files, directories)
        label = one.label if one else ""
        name = one.name if one else ""
        return _named(start, fat.sectors * SECTOR, Holds.ESP, name, label, fat)
    size = one.size or _rest(wish, start)
    if size < START:
        what = f"nothing is left of the disk for the partition {one.name or one.holds}"
        raise ToolError(what, where=str(one.where), fix="make image.disk.size larger")
    shape = None
    if one.holds in {Holds.ESP, Holds.FAT}:
        held = (files, directories) if one.holds is Holds.ESP else ((), 0)
        shape = fill(size // SECTOR, *held)
        if shape is None:
            raise ToolError(
                f"the {one.holds} partition of {size} bytes does not hold "
                f"{sum(held[0])} bytes of files and its own tables",
                where=str(one.where),
                fix=FIX,
            )
    return _named(start, size, one.holds, one.name, one.label, shape)


def _rest(wish: DiskWish, start: int) -> int:
    assert wish.size is not None, "the manifest was checked"
    return max((wish.size - TABLE - start) // START * START, 0)


def _named(start: int, size: int, holds: Holds, name: str, label: str, fat: Fat | None) -> Place:
    return Place(start, size, holds, name or NAMES[holds], label, fat)
