"""What a plain Debian host with the packages of host.yaml has, beside which a surface is shown.

The figures are measured by benchmarks/surface.py, which writes assets/plain.json.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minbuild.footprint.types import FindingKind
from minbuild.report.units import size

DATA = Path(__file__).parent / "assets" / "plain.json"
SCHEMA = "minbuild.plain/1"


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain Debian host, measured."""

    made_by: str
    installed: int
    """Packages."""
    files: int
    bytes: int
    surface: dict[str, int]
    """Kind of finding → how many; kinds that could not be looked at are not in it."""

    @property
    def note(self) -> str:
        """What the column is, in a line."""
        return (
            f"* Debian's base system with host.yaml's packages: {self.installed} packages, "
            f"{self.files} files, {size(self.bytes)} (benchmarks/surface.py)"
        )

    def count(self, kind: FindingKind) -> str:
        """How many findings of a kind; "" where nobody looked."""
        return str(self.surface.get(kind, ""))


@cache
def plain() -> Plain:
    """The measured figures."""
    read = json.loads(DATA.read_text("utf-8"))
    return Plain(read["made_by"], read["installed"], read["files"], read["bytes"], read["surface"])
