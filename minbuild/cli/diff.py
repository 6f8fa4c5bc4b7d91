"""Commands that compare builds: diff, history."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import click

from minbuild.archive import lockfile
from minbuild.archive.model import Lock
from minbuild.cli.footprints import open_footprint
from minbuild.cli.format_arguments import STDOUT
from minbuild.cli.options import complete, image_options, partition_option
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    find_text_width,
    json_option,
    output_options,
    render_json,
    write_formats,
    write_text,
)
from minbuild.compliance.cve import compare_cves, find_release, list_image_packages
from minbuild.compliance.security_data import load_security_data
from minbuild.errors import UsageError
from minbuild.file_io import read_named_text
from minbuild.footprint.comparison import FootprintDiff, IssueChanges, compare_footprints
from minbuild.process import run_program
from minbuild.report.formats import (
    DIFF_FORMATS,
    DiffReport,
    LockDiffReport,
    list_diff_renderers,
)
from minbuild.report.history import (
    make_point,
    point_to_json,
    read_history,
    render_history,
    render_history_html,
)

GIT_PREFIX = "git:"


@click.command(cls=FormatOptionsCommand)
@click.argument("before", metavar="A", shell_complete=complete("images"))
@click.argument("after", metavar="B", shell_complete=complete("images"))
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Rows of each kind of change; 0: all.")  # fmt: skip
@click.option("--cve-data", metavar="FILE|URL", help="Debian's security tracker data, or OSV entries: "
              "show which issues were opened or closed.")  # fmt: skip
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything differs.")
@partition_option
@image_options
@output_options(*DIFF_FORMATS)
def diff(
    before: str, after: str, top: int, cve_data: str | None, exit_code: bool,
    targets: FormatTargets,
) -> int:  # fmt: skip
    """Show what differs between A and B, and why.

    A and B are what report takes (a build directory, an image, a tree, git:REF), or two locks.
    For each new file: the chain of needs that leads to it, with the need that is new in B.
    """
    if before.endswith(".lock") and after.endswith(".lock"):
        if targets["html"] is not None:
            raise UsageError(
                "--html is not supported for lock files", fix="compare two builds, or omit --html"
            )
        lock_report = _compare_locks(before, after, cve_data)
        write_formats(list_diff_renderers(lock_report), targets)
        return int(exit_code and bool(lock_report.changes))
    comparison = compare_footprints(open_footprint(before), open_footprint(after))
    if cve_data is not None:
        issues = _compare_issues(comparison, (before, after), cve_data)
        comparison = replace(comparison, issues=issues)
    report = DiffReport(comparison, top=top, width=find_text_width(targets))
    write_formats(list_diff_renderers(report), targets)
    return int(exit_code and bool(comparison))


def _compare_issues(comparison: FootprintDiff, names: tuple[str, str], data: str) -> IssueChanges:
    """The open issues of two footprints; the locks beside them name the sources."""
    locks = [lock for name in names for lock in _find_locks(name)]
    before, after = comparison.before, comparison.after
    suites = [
        find_release(footprint.suites or after.suites or before.suites)
        for footprint in (before, after)
    ]
    return compare_cves(
        list_image_packages(before, locks),
        list_image_packages(after, locks),
        load_security_data(data),
        data,
        (suites[0], suites[1]),
    )


def _find_locks(name: str) -> Iterable[Lock]:
    source = Path(name)
    if name.startswith(GIT_PREFIX) or not source.exists():
        return ()
    directory = source if source.is_dir() else source.parent
    return [lockfile.read_lock(path) for path in sorted(directory.glob("*.lock"))]


def _compare_locks(before: str, after: str, data: str | None) -> LockDiffReport:
    lock_before, lock_after = _read_lock(before), _read_lock(after)
    changes = lockfile.diff_locks(lock_before, lock_after)
    if data is None:
        return LockDiffReport(changes, None)
    suites = [
        find_release([suite.name for suite in lock.suites]) for lock in (lock_before, lock_after)
    ]
    issues = compare_cves(
        lock_before.packages,
        lock_after.packages,
        load_security_data(data),
        data,
        (suites[0], suites[1]),
    )
    return LockDiffReport(changes, issues)


def _read_lock(source: str) -> Lock:
    """The lock in a file, or in a commit: git:REF:PATH."""
    if not source.startswith(GIT_PREFIX):
        return lockfile.read_lock(Path(source))
    text = run_program(
        ["git", "show", "--end-of-options", source.removeprefix(GIT_PREFIX)],
        purpose=f"reading {source}",
    )
    return lockfile.parse_lock(text.decode("utf-8", "replace"), Path(source))


@click.group()
def history() -> None:
    """Keep the footprints of past builds, and show their trend."""


@history.command()
@click.argument("image")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True,
              help="File of the totals, one line a build.")  # fmt: skip
@click.option("--label", required=True, help="Name of this build: a commit, a version.")
@image_options
def append(image: str, file: Path, label: str) -> None:
    """Add the totals of IMAGE as one JSON line."""
    before = read_named_text(file) if file.exists() else ""
    read_history(before, str(file))
    write_text(file, before + point_to_json(make_point(open_footprint(image), label)))


@history.command()
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("footprint-history.jsonl"), show_default=True,
              help="File of the totals, one line a build.")  # fmt: skip
@click.option("--html", "page", metavar="FILE", help="Write a page with charts; - for stdout.")
@json_option
def show(file: Path, page: str | None, as_json: bool) -> None:
    """Print the trend: a sparkline for each measure, then the builds."""
    if not file.exists():
        raise UsageError(
            "there is no history yet",
            where=str(file),
            fix="start one after a build: minbuild history append build/host --label COMMIT",
        )
    points = read_history(read_named_text(file), str(file))
    write_formats(
        {
            "text": lambda: render_history(points),
            "html": lambda: render_history_html(points),
            "json": lambda: render_json("history", builds=[asdict(point) for point in points]),
        },
        {"html": page, "json": STDOUT if as_json else None},
    )
