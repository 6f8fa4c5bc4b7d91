"""Layout of a disk: start and size of each partition, and the geometry of FAT file systems."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.manifest.image_settings import DiskSettings, PartitionSettings, PartitionType

SECTOR = 512
ROOT_ENTRY_SIZE = 32
TABLE_COPIES = 2
"""File allocation tables."""
ROOT_ENTRIES = 512
"""Entries of FAT16's root directory, which is outside of the clusters."""
MIN_CLUSTERS = {16: 4085 + 16, 32: 65525 + 16}
"""Bits of FAT → least clusters: with fewer, drivers read it as the next smaller kind.

Plus a distance of 16, which Microsoft's fatgen103 recommends.
"""
MAX_CLUSTERS = {16: 65524 - 16, 32: 0x0FFFFFF5}
RESERVED_SECTORS = {16: 1, 32: 32}
"""Sectors before the first table."""
RESERVED_ENTRIES = 2
"""Entries of a table without a cluster."""


@dataclass(frozen=True, slots=True)
class FatGeometry:
    """The geometry of a FAT file system: 16 bits, clusters of 2048 bytes, 131072 sectors."""

    bits: int
    """16 or 32."""
    cluster_size: int
    """Bytes of a cluster."""
    sectors: int
    """Total sectors; an even number, since mkfs.fat counts in KiB."""


def compute_smallest_fat(files: Sequence[int], directories: int) -> FatGeometry:
    """Compute the smallest file system for files of these sizes and one-cluster directories."""
    return min(
        _iter_geometries(files, directories), key=lambda fat: (fat.sectors, fat.cluster_size)
    )


def compute_fat_of_size(sectors: int, files: Sequence[int], directories: int) -> FatGeometry | None:
    """Compute the file system of exactly `sectors` (even); None when the files do not fit."""
    for bits in (16, 32):
        for cluster in _CLUSTER_SIZES:
            clusters = _count_clusters(bits, cluster, sectors)
            if not MIN_CLUSTERS[bits] <= clusters <= MAX_CLUSTERS[bits]:
                continue
            if _count_needed_clusters(bits, cluster, files, directories) <= clusters:
                return FatGeometry(bits, cluster, sectors)
    return None


_CLUSTER_SIZES = tuple(SECTOR << n for n in range(7))


def _iter_geometries(files: Sequence[int], directories: int) -> Iterator[FatGeometry]:
    for bits in (16, 32):
        for cluster in _CLUSTER_SIZES:
            clusters = max(
                _count_needed_clusters(bits, cluster, files, directories), MIN_CLUSTERS[bits]
            )
            if clusters <= MAX_CLUSTERS[bits]:
                sectors = _count_sectors(bits, cluster, clusters)
                yield FatGeometry(bits, cluster, sectors + sectors % 2)


def _count_needed_clusters(bits: int, cluster: int, files: Sequence[int], directories: int) -> int:
    """Count the clusters of files and directories; FAT32's root directory is one more."""
    return directories + sum(-(-size // cluster) for size in files) + (bits == 32)


def _count_sectors(bits: int, cluster: int, clusters: int) -> int:
    table = -(-(clusters + RESERVED_ENTRIES) * bits // 8 // SECTOR)
    root = ROOT_ENTRIES * ROOT_ENTRY_SIZE // SECTOR if bits == 16 else 0
    return RESERVED_SECTORS[bits] + TABLE_COPIES * table + root + clusters * cluster // SECTOR


def _count_clusters(bits: int, cluster: int, sectors: int) -> int:
    """Count the clusters that fit in `sectors` beside the tables."""
    low, high = 0, sectors * SECTOR // cluster
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high)
            if _count_sectors(bits, cluster, middle) <= sectors
            else (low, middle - 1)
        )
    return low


PARTITION_ALIGNMENT = 1 << 20
"""Start of the first partition, in bytes; all others start at a multiple, as in other tools."""
BACKUP_TABLE_SIZE = 34 * SECTOR
"""Bytes at the disk's end: 33 sectors of the backup table (UEFI 2.10, 5.3.1), and one more.

mkfs.fat counts in KiB, and would add the odd last sector of a file to the file system.
"""
ENLARGE_FIX = "make it larger in the manifest (image.disk), or leave out its size"


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """One partition on the disk."""

    start: int
    """Offset on the disk in bytes."""
    size: int
    """Bytes."""
    type: PartitionType
    name: str
    label: str
    fat: FatGeometry | None
    """The geometry of ESP and FAT partitions; None for others."""


@dataclass(frozen=True, slots=True)
class DiskLayout:
    """The size of a disk and its partitions, in their order on the disk."""

    size: int
    """Bytes of the whole disk."""
    partitions: tuple[PartitionPlan, ...]
    bios: bool
    """True: the BIOS boot partition precedes these, and is the first in the table."""


DEFAULT_NAMES = {
    PartitionType.ESP: "EFI System",
    PartitionType.EXT4: "Linux filesystem",
    PartitionType.FAT: "Basic data",
    PartitionType.EMPTY: "Empty",
}


def plan_disk(spec: DiskSettings, files: Sequence[int], directories: int) -> DiskLayout:
    """Plan a disk with an ESP for files of these sizes; of the requested or the least size.

    Raises: ToolError when the ESP or the disk is too small.
    """
    plans: list[PartitionPlan] = []
    end = PARTITION_ALIGNMENT
    for partition in spec.partitions or (None,):
        start = -(-end // PARTITION_ALIGNMENT) * PARTITION_ALIGNMENT
        plan = _plan_partition(partition, start, spec, files, directories)
        plans.append(plan)
        end = start + plan.size
    size = end + BACKUP_TABLE_SIZE
    if spec.size is not None:
        if spec.size < size:
            message = f"the partitions need {size} bytes and image.disk.size is {spec.size}"
            raise ToolError(message, fix=ENLARGE_FIX)
        size = spec.size // SECTOR * SECTOR
    return DiskLayout(size, tuple(plans), spec.bios)


def _plan_partition(
    partition: PartitionSettings | None,
    start: int,
    spec: DiskSettings,
    files: Sequence[int],
    directories: int,
) -> PartitionPlan:
    if partition is None or (partition.type is PartitionType.ESP and partition.size is None):
        fat = compute_smallest_fat(files, directories)
        label = partition.label if partition else ""
        name = partition.name if partition else ""
        return _make_plan(start, fat.sectors * SECTOR, PartitionType.ESP, name, label, fat)
    size = partition.size or _compute_remaining(spec, start)
    if size < PARTITION_ALIGNMENT:
        message = f"no space is left on the disk for partition {partition.name or partition.type}"
        raise ToolError(message, where=str(partition.where), fix="make image.disk.size larger")
    geometry = None
    if partition.type in {PartitionType.ESP, PartitionType.FAT}:
        contents = (files, directories) if partition.type is PartitionType.ESP else ((), 0)
        geometry = compute_fat_of_size(size // SECTOR, *contents)
        if geometry is None:
            raise ToolError(
                f"{sum(contents[0])} bytes of files and the FAT do not fit in the "
                f"{partition.type} partition of {size} bytes",
                where=str(partition.where),
                fix=ENLARGE_FIX,
            )
    return _make_plan(start, size, partition.type, partition.name, partition.label, geometry)


def _compute_remaining(spec: DiskSettings, start: int) -> int:
    assert spec.size is not None, "the manifest was checked"
    return max(
        (spec.size - BACKUP_TABLE_SIZE - start) // PARTITION_ALIGNMENT * PARTITION_ALIGNMENT, 0
    )


def _make_plan(
    start: int,
    size: int,
    partition_type: PartitionType,
    name: str,
    label: str,
    fat: FatGeometry | None,
) -> PartitionPlan:
    return PartitionPlan(
        start, size, partition_type, name or DEFAULT_NAMES[partition_type], label, fat
    )
