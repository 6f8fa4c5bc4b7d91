"""MinWin's categories, with our files and bytes in each.

Source: press reports of a leaked build of Windows 8, September 2010 (161 files, about 20 MB).
"""

import re

from minbuild.footprint.measure import weight
from minbuild.footprint.types import FileRow, Footprint
from minbuild.report.lines import Line

FILES = 161
PACKED = 20_000_000
"""Windows 8's MinWin as the press reported it; not a figure of Microsoft's."""
NOTE = "* reported by the press of a leaked build of Windows 8: 161 files, about 20 MB"
CATEGORIES = (
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
OTHERS = "all else"


def category(row: FileRow) -> str:
    """The category of a file: by its component, or by its path where it has none."""
    for name, component, path in CATEGORIES:
        text, pattern = (row.component, component) if "/" in row.component else (row.path, path)
        if re.fullmatch(pattern, text):
            return name
    return OTHERS


def lines(footprint: Footprint) -> tuple[Line, ...]:
    """One line for each category, in MinWin's order; they sum to the files' totals."""
    sums = {name: [0, 0, 0] for name, _, _ in CATEGORIES} | {OTHERS: [0, 0, 0]}
    for row in footprint.files:
        if row.type == "file":
            found = sums[category(row)]
            found[0] += 1
            found[1] += weight(row)
            found[2] += row.packed
    if not sums[OTHERS][0]:
        del sums[OTHERS]
    return tuple(Line(name, *found) for name, found in sums.items())
