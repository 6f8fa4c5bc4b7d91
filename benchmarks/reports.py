"""How long a report of a large tree takes, and whether totals are those of find and of the file.

    python -m benchmarks.reports [--files N] [SUBJECT=TREE…]

Makes a tree of N files (100,000) and measures `minbuild report` of it in all formats at once: at
most 15 s and 1 GiB. Each SUBJECT is an image or a tree of anyone's making, TREE the same unpacked.
"""

import argparse
import os
import random
import stat
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import run_timed
from minbuild.footprint.model import Footprint
from minbuild.report.layout import align_columns, format_size
from tests.support.measured_inputs import measure_input

FILES = 100_000
SECONDS, PEAK = 15.0, 1 << 30
FORMATS = ("--text=r.txt", "--md=r.md", "--json=r.json", "--csv=r.csv", "--html=r.html")
DIRECTORY = 100
"""Files in one directory."""


def main() -> int:
    """Measure and compare; 1 when a limit is exceeded or a total differs."""
    parser = argparse.ArgumentParser(prog="benchmarks.reports", description=main.__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT=TREE")
    parser.add_argument("--files", type=int, default=FILES, help="0: measure nothing")
    options = parser.parse_args()
    good = True
    if options.files:
        with tempfile.TemporaryDirectory(prefix="minbuild-reports-") as scratch:
            good = measure_report(Path(scratch), options.files)
    for pair in options.subjects:
        subject, _, tree = pair.partition("=")
        good &= compare_reports(subject, Path(tree or subject))
    return 0 if good else 1


def measure_report(scratch: Path, files: int) -> bool:
    """Report a tree that is made up, the same each time; says what it took."""
    tree = scratch / "tree"
    chance = random.Random(0)
    for number in range(files):
        path = tree / f"usr/share/d{number // DIRECTORY}"
        if number % DIRECTORY == 0:
            path.mkdir(parents=True)
        text = f"{chance.getrandbits(64):x}\n"
        (path / f"file-{number}").write_text(text * chance.randrange(1, 200), encoding="ascii")
    run = run_timed([sys.executable, "-m", "minbuild", "report", tree, *FORMATS], cwd=scratch)
    result = run.seconds <= SECONDS and run.peak <= PEAK
    print(
        f"report of {files:,} files in {len(FORMATS)} formats: {run.seconds:.1f} s "
        f"({run.cpu:.1f} s of processor time), {run.peak / (1 << 20):.0f} MiB; limits {SECONDS:.0f} s "
        f"and {PEAK >> 20} MiB: {'ok' if result else 'OVER'}"
    )
    return result and compare_reports(str(tree), tree)


def compare_reports(subject: str, tree: Path) -> bool:
    """Hold a report's totals against the unpacked tree and the size of the image's file."""
    output = measure_input(subject)
    path = Path(subject)
    packed = path.stat().st_size if path.is_file() else output.totals.packed
    rows = [
        ["", "report", "find and stat"],
        *([name, str(ours), str(theirs)] for name, ours, theirs in _rows(output, tree)),
        ["packed", str(output.totals.packed), str(packed)],
        ["rows sum to", str(sum(row.packed for row in output.packages)), str(output.totals.packed)],
    ]
    same = all(row[1] == row[2] for row in rows[1:])
    print(
        f"\n{subject}: {'the same' if same else 'DIFFERENT'} ({format_size(output.totals.bytes)})"
    )
    print("\n".join(align_columns(rows)))
    return same


def _rows(output: Footprint, tree: Path) -> list[tuple[str, int, int]]:
    inodes: dict[tuple[int, int], int] = {}
    count = {"files": 0, "links": 0, "directories": 0}
    for top, directories, names in os.walk(tree):
        for name in (*directories, *names):
            result = os.lstat(f"{top}/{name}")
            if stat.S_ISREG(result.st_mode):
                count["links"] += (result.st_dev, result.st_ino) in inodes
                inodes[(result.st_dev, result.st_ino)] = result.st_size
            count["links"] += stat.S_ISLNK(result.st_mode)
            count["directories"] += stat.S_ISDIR(result.st_mode)
    count["files"] = len(inodes)
    totals = output.totals
    return [
        ("files", totals.files, count["files"]),
        ("links", totals.links, count["links"]),
        ("directories", totals.directories, count["directories"]),
        ("bytes", totals.bytes, sum(inodes.values())),
    ]


if __name__ == "__main__":
    sys.exit(main())
