"""MinWin's categories, with our files and bytes in each.

Source: press reports of a leaked build of Windows 8, September 2010 (161 files, about 20 MB).
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minbuild.footprint.measure import weigh_row
from minbuild.footprint.model import FileRow, FindingKind, Footprint
from minbuild.report.layout import format_size
from minbuild.report.tables import TableRow

MINWIN_FILES = 161
MINWIN_PACKED = 20_000_000
"""Windows 8's MinWin as the press reported it; not a figure of Microsoft's."""
MINWIN_NOTE = "* reported by the press of a leaked build of Windows 8: 161 files, about 20 MB"
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
"""Category, the components in it, and the paths that stand for it where no component is known."""
OTHER_CATEGORY = "all else"


def find_category(row: FileRow) -> str:
    """The category of a file: by its component, or by its path where it has none."""
    for name, component, path in MINWIN_CATEGORIES:
        text, pattern = (row.component, component) if "/" in row.component else (row.path, path)
        if re.fullmatch(pattern, text):
            return name
    return OTHER_CATEGORY


def sum_by_category(footprint: Footprint) -> tuple[TableRow, ...]:
    """One line for each category, in MinWin's order; they sum to the files' totals."""
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


DEBIAN_DATA = Path(__file__).parent / "assets" / "plain.json"
DEBIAN_SCHEMA = "minbuild.plain/1"


@dataclass(frozen=True, slots=True)
class DebianBaseline:
    """A plain Debian host, measured."""

    made_by: str
    package_count: int
    """Packages."""
    files: int
    bytes: int
    surface: dict[str, int]
    """Kind of finding → how many; kinds that could not be looked at are not in it."""

    @property
    def note(self) -> str:
        """What the column is, in a line."""
        return (
            f"* Debian's base system with host.yaml's packages: {self.package_count} packages, "
            f"{self.files} files, {format_size(self.bytes)} (benchmarks/surface.py)"
        )

    def count(self, kind: FindingKind) -> str:
        """How many findings of a kind; "" where nobody looked."""
        return str(self.surface.get(kind, ""))


@cache
def load_debian_baseline() -> DebianBaseline:
    """The measured figures."""
    document = json.loads(DEBIAN_DATA.read_text("utf-8"))
    return DebianBaseline(
        document["made_by"],
        document["installed"],
        document["files"],
        document["bytes"],
        document["surface"],
    )
