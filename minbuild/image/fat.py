"""How big a FAT file system must be for what it is to hold: pure reckoning.

Source: Microsoft FAT32 File System Specification 1.03 (fatgen103), "FAT Type Determination".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SECTOR = 512
ENTRY = 32
COPIES = 2
"""File allocation tables."""
ROOT_ENTRIES = 512
"""Of FAT16's root directory, which lies outside of the clusters."""
LEAST = {16: 4085 + 16, 32: 65525 + 16}
"""Clusters below which drivers take it for the next smaller kind; 16 away from it, as fatgen103
advises."""
MOST = {16: 65524 - 16, 32: 0x0FFFFFF5}
RESERVED = {16: 1, 32: 32}
"""Sectors before the first table."""
SPECIAL = 2
"""Entries of a table that stand for no cluster."""


@dataclass(frozen=True, slots=True)
class Fat:
    """The shape of a FAT file system."""

    bits: int
    """16 or 32."""
    cluster: int
    """Bytes of a cluster."""
    sectors: int
    """In all; an even number, mkfs.fat counts in KiB."""


def fit(files: Sequence[int], directories: int) -> Fat:
    """The smallest file system for files of these sizes and some one-cluster directories."""
    return min(_shapes(files, directories), key=lambda fat: (fat.sectors, fat.cluster))


def fill(sectors: int, files: Sequence[int], directories: int) -> Fat | None:
    """The shape that makes use of all `sectors`, an even number; None when the files do not fit."""
    for bits in (16, 32):
        for cluster in _CLUSTERS:
            clusters = _clusters(bits, cluster, sectors)
            if not LEAST[bits] <= clusters <= MOST[bits]:
                continue
            if _wanted(bits, cluster, files, directories) <= clusters:
                return Fat(bits, cluster, sectors)
    return None


_CLUSTERS = tuple(SECTOR << n for n in range(7))


def _shapes(files: Sequence[int], directories: int) -> Iterator[Fat]:
    for bits in (16, 32):
        for cluster in _CLUSTERS:
            clusters = max(_wanted(bits, cluster, files, directories), LEAST[bits])
            if clusters <= MOST[bits]:
                sectors = _sectors(bits, cluster, clusters)
                yield Fat(bits, cluster, sectors + sectors % 2)


def _wanted(bits: int, cluster: int, files: Sequence[int], directories: int) -> int:
    """Clusters of the files and directories; FAT32's root is one more."""
    return directories + sum(-(-size // cluster) for size in files) + (bits == 32)


def _sectors(bits: int, cluster: int, clusters: int) -> int:
    table = -(-(clusters + SPECIAL) * bits // 8 // SECTOR)
    root = ROOT_ENTRIES * ENTRY // SECTOR if bits == 16 else 0
    return RESERVED[bits] + COPIES * table + root + clusters * cluster // SECTOR


def _clusters(bits: int, cluster: int, sectors: int) -> int:
    """The most clusters that `sectors` hold, the tables taken off."""
    low, high = 0, sectors * SECTOR // cluster
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if _sectors(bits, cluster, middle) <= sectors else (low, middle - 1)
        )
    return low
