"""Tables of sizes: the files of a footprint summed by owner, by category and by content."""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from minbuild.explain.weights import find_added_bytes
from minbuild.footprint.measure import weigh_row
from minbuild.footprint.model import DISK_OVERHEAD, IMAGE_OVERHEAD, UNOWNED, FileRow, Footprint

GENERATED = "[made by minbuild]"
NO_PACKAGE = "[in no package]"
"""Owner of files in an image without a known manifest."""
OVERHEAD_LABELS = {
    IMAGE_OVERHEAD: "[boot stub, headers and padding]",
    DISK_OVERHEAD: "[partitions and free space]",
}


def is_overhead(name: str) -> bool:
    """Tell the rows of bytes outside of files: `image`, `disk`, and parts of them by name."""
    return name in OVERHEAD_LABELS or name.startswith((f"{IMAGE_OVERHEAD} ", f"{DISK_OVERHEAD} "))


@dataclass(frozen=True, slots=True)
class TableRow:
    """The size of one owner's files.

    Example: `TableRow("network/dhcp", 3, 41_000, 18_500, 12_000)`.
    """

    name: str
    files: int
    bytes: int
    packed: int
    """Estimated, except for the kernel and for bytes outside of files."""
    added: int | None = None
    """Bytes that a host without this owner would save; None where no needs are known."""


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """Rows that sum up to `total`, also when the last one stands for many."""

    by: str
    rows: tuple[TableRow, ...]
    total: TableRow


SORT_KEYS: Mapping[str, Callable[[TableRow], tuple[object, ...]]] = {
    "bytes": lambda line: (-line.bytes, -line.packed, line.name),
    "packed": lambda line: (-line.packed, -line.bytes, line.name),
    "added": lambda line: (-(line.added or 0), -line.bytes, line.name),
    "files": lambda line: (-line.files, -line.bytes, line.name),
    "name": lambda line: (line.name,),
}
FILE_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("kernel", re.compile(r"/boot/vmlinu[xz].*")),
    ("kernel module", re.compile(r"/usr/lib/modules/.*\.ko(\.xz|\.zst|\.gz)?")),
    ("module index", re.compile(r"/usr/lib/modules/.*")),
    ("firmware", re.compile(r"/usr/lib/firmware/.*|/usr/share/(qemu|seabios|OVMF)/.*")),
    ("library", re.compile(r".*/[^/]+\.so(\.[0-9][^/]*)?")),
    ("program", re.compile(r".*/s?bin/[^/]+|/init|/usr/libexec/.*")),
    ("configuration", re.compile(r"/etc/.*")),
    ("documentation", re.compile(r"/usr/share/(doc|man|info|locale)/.*")),
    ("script", re.compile(r".*\.(sh|py|pl)|/usr/lib/minbuild/.*")),
)
"""Kind of file by its path; the first that matches."""


def classify_file(row: FileRow) -> str:
    """The class of a file, by its path."""
    return next(
        (name for name, pattern in FILE_CLASSES if pattern.fullmatch(row.path)), "other data"
    )


OWNER_KEYS: Mapping[str, Callable[[FileRow], str]] = {
    "section": lambda row: row.section,
    "component": lambda row: row.component,
    "package": lambda row: row.package or (NO_PACKAGE if row.component == UNOWNED else GENERATED),
    "directory": lambda row: posixpath.dirname(row.path),
    "kind": classify_file,
    "file": lambda row: row.path,
}
"""Name of a table → the owner of a file in it."""


def build_table(footprint: Footprint, *, by: str, sort: str = "", top: int = 0) -> SummaryTable:
    """Sum a footprint up by one kind of owner.

    `top` rows are listed and the others summed in one row; 0 lists all. Without `sort`, sections
    keep their own order and all others are sorted by bytes.
    """
    rows = _sum_by_owner(footprint, by)
    order = sort or ("" if by == "section" else "bytes")
    if order:
        rows.sort(key=SORT_KEYS[order])
    total = _add_rows("total", rows + _list_overhead(footprint))
    if top and len(rows) > top:
        others = rows[top:]
        rows = [*rows[:top], _add_rows(f"[{len(others)} others]", others)]
    return SummaryTable(by, (*rows, *_list_overhead(footprint)), total)


def is_foreign(footprint: Footprint) -> bool:
    """Tell an image of somebody else: no file has a section."""
    return bool(footprint.files) and all(row.section == UNOWNED for row in footprint.files)


def _sum_by_owner(footprint: Footprint, by: str) -> list[TableRow]:
    owner = OWNER_KEYS[by]
    sums: dict[str, list[int]] = {}
    if by == "section":
        section_names = [row.name for row in footprint.sections if not is_overhead(row.name)]
        sums = {name: [0, 0, 0] for name in ([UNOWNED] if is_foreign(footprint) else section_names)}
    for row in footprint.files:
        if row.type != "file":
            continue
        totals = sums.setdefault(owner(row), [0, 0, 0])
        totals[0] += 1
        totals[1] += weigh_row(row)
        totals[2] += row.packed
    added_bytes = find_added_bytes(footprint) if by in {"component", "file"} else {}
    return [
        TableRow(name, count, size, packed, added_bytes.get(name))
        for name, (count, size, packed) in sums.items()
    ]


def _list_overhead(footprint: Footprint) -> list[TableRow]:
    """Rows of the bytes outside of files."""
    return [
        TableRow(OVERHEAD_LABELS.get(row.name, f"[{row.name}]"), row.files, row.bytes, row.packed)
        for row in footprint.sections
        if is_overhead(row.name)
    ]


def _add_rows(name: str, rows: Iterable[TableRow]) -> TableRow:
    row_list = list(rows)
    return TableRow(
        name,
        sum(line.files for line in row_list),
        sum(line.bytes for line in row_list),
        sum(line.packed for line in row_list),
    )


@dataclass(frozen=True, slots=True)
class DuplicateContents:
    """Contents that are in a tree more than once."""

    contents: int
    bytes: int
    """Bytes of the repeats."""


def find_duplicates(footprint: Footprint) -> DuplicateContents:
    """Count contents with several paths; hard links are one file and do not count."""
    sizes_by_content: dict[str, list[int]] = {}
    for row in footprint.files:
        if row.type == "file" and row.size:
            sizes_by_content.setdefault(row.sha256, []).append(row.size)
    repeated = [sizes for sizes in sizes_by_content.values() if len(sizes) > 1]
    return DuplicateContents(len(repeated), sum(sum(sizes[1:]) for sizes in repeated))


MINWIN_CATEGORIES = (
    ("kernel", r"kernel/.*", r"/boot/vmlinu[xz].*"),
    ("partition managers", r"filesystem/gpt", r".*bin/(cgpt|sfdisk|fdisk|parted|sgdisk)"),
    ("file-system drivers", r"filesystem/.*", r"/usr/lib/modules/.*/fs/.*"),
    ("DNS and DHCP clients", r"network/(dhcp|dns)", r".*bin/(udhcpc|dhclient|dhcpcd)"),
    ("TCP/IP", r"network/.*", r"/usr/lib/modules/.*/net/.*"),
    ("basic services", r"services/.*", r"/usr/(lib/systemd/.*|s?bin/.*d)"),
    ("boot files", r"boot/.*", r"/boot/.*|/init"),
    ("virtual machines (not in MinWin)", r"hypervisor/.*", r"/usr/bin/qemu-.*"),
)
"""Category, its components, and its paths where no component is known."""
OTHER_CATEGORY = "all else"


def find_category(row: FileRow) -> str:
    """The MinWin category of a file: by its component, or by its path without one."""
    for name, component, path in MINWIN_CATEGORIES:
        text, pattern = (row.component, component) if "/" in row.component else (row.path, path)
        if re.fullmatch(pattern, text):
            return name
    return OTHER_CATEGORY


def sum_by_category(footprint: Footprint) -> tuple[TableRow, ...]:
    """One row for each category, in MinWin's order; they sum up to the totals of files."""
    sums = {name: [0, 0, 0] for name, _, _ in MINWIN_CATEGORIES} | {OTHER_CATEGORY: [0, 0, 0]}
    for row in footprint.files:
        if row.type == "file":
            totals = sums[find_category(row)]
            totals[0] += 1
            totals[1] += weigh_row(row)
            totals[2] += row.packed
    if not sums[OTHER_CATEGORY][0]:
        del sums[OTHER_CATEGORY]
    return tuple(TableRow(name, *totals) for name, totals in sums.items())
