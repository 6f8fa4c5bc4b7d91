"""Figures that a footprint is compared with: MinWin and a plain Debian host.

Source: press reports of a leaked build of Windows 8, September 2010 (161 files, about 20 MB).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minbuild.footprint.model import FindingKind
from minbuild.report.layout import format_size

MINWIN_FILES = 161
MINWIN_PACKED = 20_000_000
"""Windows 8's MinWin as the press reported it; not a figure of Microsoft's."""
MINWIN_NOTE = "* reported by the press of a leaked build of Windows 8: 161 files, about 20 MB"

DEBIAN_DATA = Path(__file__).parent / "assets" / "plain.json"
DEBIAN_SCHEMA = "minbuild.plain/1"


@dataclass(frozen=True, slots=True)
class DebianBaseline:
    """A plain Debian host, measured."""

    made_by: str
    package_count: int
    files: int
    bytes: int
    surface: dict[str, int]
    """Kind of finding → how many; a kind that cannot be measured is missing."""

    @property
    def note(self) -> str:
        """A line that explains the column."""
        return (
            f"* Debian's base system with host.yaml's packages: {self.package_count} packages, "
            f"{self.files} files, {format_size(self.bytes)} (benchmarks/surface.py)"
        )

    def count(self, kind: FindingKind) -> str:
        """How many findings of a kind; "" for a kind that was not measured."""
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
