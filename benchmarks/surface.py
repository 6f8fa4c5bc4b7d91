"""A plain Debian's attack surface: the figures that reports show beside a host's own.

    sudo python -m benchmarks.surface BUILD [--tree DIR] [--write]

BUILD is a build directory. Debian's base system, as its own installer's bootstrap has it, and the
packages that the image takes files from are installed by mmdebstrap; that needs root. --tree takes
a root that was made before. --write keeps the figures in minbuild/report/assets/plain.json.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from minbuild.archive.mirror import find_mirror, repository_of
from minbuild.footprint.model import FindingKind, Footprint
from minbuild.report.footprint_formats import DEBIAN_DATA, DEBIAN_SCHEMA
from minbuild.report.layout import align_columns, format_size
from minbuild.report.surface import FINDING_NAMES, NOT_EVALUATED
from tests.support.measured_inputs import measure_input

VARIANT = "debootstrap"
"""Packages of priority required and important. Source: mmdebstrap(1), --variant."""


def main() -> None:
    """Measure both, print them side by side, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(prog="benchmarks.surface", description=main.__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--tree", type=Path, help="root of a plain Debian, made before")
    parser.add_argument("--write", action="store_true", help="keep the figures for reports")
    options = parser.parse_args()
    ours = measure_input(str(options.build))
    if options.tree is not None:
        theirs = measure_input(str(options.tree))
    else:
        with tempfile.TemporaryDirectory(prefix="minbuild-surface-") as scratch:
            theirs = measure_input(str(measure_plain(ours, Path(scratch))))
    if options.write:
        DEBIAN_DATA.write_text(document(ours, theirs), encoding="utf-8")
    print(table(ours, theirs))


def packages(ours: Footprint) -> list[str]:
    """What a plain Debian would have to install: the packages of an image."""
    return [row.name for row in ours.packages if row.name and row.version]


def measure_plain(ours: Footprint, scratch: Path) -> Path:
    """Install a plain Debian with the packages of an image."""
    top = scratch / "root"
    mirror = find_mirror("")
    sources = [
        f"deb {mirror.build_url(repository_of(suite), '').rstrip('/')} {suite} main"
        for suite in ours.suites
    ]
    argv = [f"--variant={VARIANT}", f"--include={','.join(packages(ours))}", ours.suites[0]]
    subprocess.run(["mmdebstrap", *argv, top, *sources], check=True)
    return top


def document(ours: Footprint, theirs: Footprint) -> str:
    """The figures of a plain Debian, and how they came about; without a date or a mirror's name."""
    surface = theirs.surface
    assert surface is not None
    figures = {
        str(kind): surface.count(kind) for kind in FindingKind if kind not in surface.unknown
    }
    result = {
        "schema": DEBIAN_SCHEMA,
        "made_by": "benchmarks/surface.py: mmdebstrap "
        f"--variant={VARIANT}, {', '.join(ours.suites)}, main, {ours.arch}",
        "packages": packages(ours),
        "installed": len([row for row in theirs.packages if row.name and row.version]),
        "files": theirs.totals.files,
        "bytes": theirs.totals.bytes,
        "surface": figures,
    }
    return json.dumps(result, indent=1, sort_keys=True) + "\n"


def table(ours: Footprint, theirs: Footprint) -> str:
    """One line for each total and each kind of finding."""
    rows = [["", ours.name, "plain Debian"]]
    for name in ("files", "bytes"):
        show = str if name == "files" else format_size
        rows.append([name, *(show(getattr(one.totals, name)) for one in (ours, theirs))])
    rows += [
        [FINDING_NAMES[kind], _count(ours, kind), _count(theirs, kind)] for kind in FindingKind
    ]
    return "\n".join(align_columns(rows))


def _count(footprint: Footprint, kind: FindingKind) -> str:
    surface = footprint.surface
    return NOT_EVALUATED if surface is None or kind in surface.unknown else str(surface.count(kind))


if __name__ == "__main__":
    main()
