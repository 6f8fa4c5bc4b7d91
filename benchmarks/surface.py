"""A host's attack surface beside a plain Debian's with the same packages.

    sudo python -m benchmarks.surface BUILD [--tree DIR]

BUILD is a build directory. Without --tree, debootstrap installs Debian's base system and the
packages that the image takes files from; that needs root and debootstrap.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from minbuild.archive.mirror import find_mirror
from minbuild.footprint.types import FindingKind, Footprint
from minbuild.report.surface import NAMES, UNKNOWN
from minbuild.report.units import columns, size
from minbuild.subject.open import open_subject


def main() -> None:
    """Measure both and print a table in Markdown's columns."""
    parser = argparse.ArgumentParser(prog="benchmarks.surface", description=main.__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--tree", type=Path, help="root of a plain Debian, made before")
    words = parser.parse_args()
    ours = open_subject(str(words.build))
    if words.tree is not None:
        print(table(ours, open_subject(str(words.tree))))
        return
    with tempfile.TemporaryDirectory(prefix="minbuild-surface-") as scratch:
        print(table(ours, open_subject(str(plain(ours, Path(scratch))))))


def plain(ours: Footprint, scratch: Path) -> Path:
    """Install a plain Debian with the packages of an image."""
    packages = ",".join(row.name for row in ours.packages if row.name and row.version)
    top = scratch / "root"
    mirror = find_mirror("").url("debian", "").rstrip("/")
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", ours.suites[0], top, mirror],
        check=True,
    )
    return top


def table(ours: Footprint, theirs: Footprint) -> str:
    """One line for each total and each kind of finding."""
    rows = [["", ours.name, "plain Debian"]]
    for name in ("files", "bytes"):
        show = str if name == "files" else size
        rows.append([name, *(show(getattr(one.totals, name)) for one in (ours, theirs))])
    rows += [[NAMES[kind], _count(ours, kind), _count(theirs, kind)] for kind in FindingKind]
    return "\n".join(columns(rows))


def _count(footprint: Footprint, kind: FindingKind) -> str:
    surface = footprint.surface
    return UNKNOWN if surface is None or kind in surface.unknown else str(surface.count(kind))


if __name__ == "__main__":
    main()
