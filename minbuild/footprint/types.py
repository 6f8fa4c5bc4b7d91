"""What an image weighs, by file and by owner, with the reasons: schema minbuild.footprint/1."""

from collections.abc import Mapping
from dataclasses import dataclass

from minbuild.paths import RootPath
from minbuild.resolve.types import Need

SCHEMA = "minbuild.footprint/1"
OVERHEAD = "image"
"""The row of bytes that belong to no file: boot stub, headers, padding."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One path of the image."""

    path: RootPath
    type: str
    """file, link, directory or hardlink."""
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str
    target: str
    package: str
    component: str
    section: str
    packed: int
    """Its estimated share of the image, in bytes; the kernel's is exact."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one owner weighs; rows of one table sum to the totals."""

    name: str
    files: int
    bytes: int
    packed: int


@dataclass(frozen=True, slots=True)
class PackageRow:
    """One package that has a file in the image."""

    name: str
    version: str
    files: int
    bytes: int
    packed: int


@dataclass(frozen=True, slots=True)
class Totals:
    files: int
    """Regular files of the running host, the kernel included."""
    links: int
    directories: int
    bytes: int
    """Sum of the files' sizes."""
    packed: int
    """Size of the one file that boots."""


@dataclass(frozen=True, slots=True)
class Footprint:
    name: str
    arch: str
    kernel: str
    suites: tuple[str, ...]
    packed: Mapping[str, int]
    """Bytes of each image that was written: efi, raw, …; sorted."""
    totals: Totals
    sections: tuple[Row, ...]
    components: tuple[Row, ...]
    packages: tuple[PackageRow, ...]
    files: tuple[FileRow, ...]
    """Sorted by path."""
    edges: tuple[Need, ...]
    """Sorted."""
