"""Commands that compare: diff."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import image_options, partition_option
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    find_text_width,
    output_options,
    write_formats,
)

if TYPE_CHECKING:
    from minbuild.archive.model import Lock
    from minbuild.footprint.comparison import FootprintDiff, IssueChanges

GIT_PREFIX = "git:"
Renderers = Mapping[str, Callable[[], str]]


@click.command(cls=FormatOptionsCommand)
@click.argument("before", metavar="A", shell_complete=shell.complete_images)
@click.argument("after", metavar="B", shell_complete=shell.complete_images)
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Rows of each kind of change; 0: all.")  # fmt: skip
@click.option("--cve-data", metavar="FILE|URL", help="Debian's security tracker data, or OSV entries: "
              "which open issues came and went.")  # fmt: skip
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything differs.")
@partition_option
@image_options
@output_options("text", "md", "json", "csv", "html")
def diff(
    before: str, after: str, top: int, cve_data: str | None, exit_code: bool, **targets: str | None
) -> int:
    """Say what differs between A and B, and why.

    A and B are what report takes (a build directory, an image, a tree, git:REF), or two locks.
    For each new file: the chain of needs that leads to it, with the need that is new in B.
    """
    if before.endswith(".lock") and after.endswith(".lock"):
        is_changed, renderers = _compare_locks(before, after, cve_data)
    else:
        is_changed, renderers = _compare_footprints(
            before, after, top, cve_data, find_text_width(targets)
        )
    write_formats(renderers, targets)
    return int(exit_code and is_changed)


def _compare_footprints(
    before: str, after: str, top: int, data: str | None, width: int
) -> tuple[bool, Renderers]:
    from minbuild.cli.footprints import open_footprint
    from minbuild.footprint.comparison import compare_footprints
    from minbuild.report import diff as shown
    from minbuild.report.html import render_html

    comparison = compare_footprints(open_footprint(before), open_footprint(after))
    if data is not None:
        comparison = replace(comparison, issues=_compare_issues(comparison, (before, after), data))
    return bool(comparison), {
        "text": lambda: shown.render_diff(comparison, top=top, width=width),
        "md": lambda: shown.render_diff_markdown(comparison),
        "json": lambda: shown.render_diff_json(comparison),
        "csv": lambda: shown.render_diff_csv(comparison),
        "html": lambda: render_html(comparison.after, comparison.before),
    }


def _compare_issues(
    comparison: "FootprintDiff", names: tuple[str, str], data: str
) -> "IssueChanges":
    """The open issues of two footprints; sources are named by the locks that lie beside them."""
    from minbuild.compliance.cve import compare_cves, find_release, list_image_packages

    locks = [lock for word in names for lock in _find_locks(word)]
    before, after = comparison.before, comparison.after
    suites = [find_release(one.suites or after.suites or before.suites) for one in (before, after)]
    return compare_cves(
        list_image_packages(before, locks), list_image_packages(after, locks), _load_data(data), data,
        (suites[0], suites[1]),
    )  # fmt: skip


def _find_locks(name: str) -> Iterable["Lock"]:
    from minbuild.archive import lockfile

    source = Path(name)
    if name.startswith(GIT_PREFIX) or not source.exists():
        return ()
    directory = source if source.is_dir() else source.parent
    return [lockfile.read_lock(path) for path in sorted(directory.glob("*.lock"))]


def _compare_locks(before: str, after: str, data: str | None) -> tuple[bool, Renderers]:
    from minbuild.archive.lockfile import diff_locks
    from minbuild.compliance.cve import compare_cves, find_release
    from minbuild.report import lock_diff

    lock_before, lock_after = _read_lock(before), _read_lock(after)
    changes = diff_locks(lock_before, lock_after)
    issues = None
    if data is not None:
        suites = [
            find_release([suite.name for suite in one.suites]) for one in (lock_before, lock_after)
        ]
        issues = compare_cves(
            lock_before.packages, lock_after.packages, _load_data(data), data, (suites[0], suites[1])
        )  # fmt: skip
    return bool(changes), {
        "text": lambda: lock_diff.render_lock_diff(changes, issues),
        "md": lambda: lock_diff.render_lock_diff_markdown(changes, issues),
        "json": lambda: lock_diff.render_lock_diff_json(changes, issues),
        "csv": lambda: lock_diff.render_lock_diff_csv(changes),
        "html": _refuse_html,
    }


def _read_lock(source: str) -> "Lock":
    """The lock in a file, or in a commit: git:REF:PATH."""
    from minbuild.archive import lockfile
    from minbuild.process import run_program

    if not source.startswith(GIT_PREFIX):
        return lockfile.read_lock(Path(source))
    text = run_program(
        ["git", "show", "--end-of-options", source.removeprefix(GIT_PREFIX)],
        purpose=f"reading {source}",
    )
    return lockfile.parse_lock(text.decode("utf-8", "replace"), Path(source))


def _load_data(source: str) -> str:
    from minbuild.cli.ship import load_cve_data

    return load_cve_data(source)


def _refuse_html() -> str:
    from minbuild.errors import UsageError

    raise UsageError("two locks have no page", fix="compare two builds, or leave --html out")


COMMANDS = (diff,)
