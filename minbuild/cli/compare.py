"""Commands that compare: diff."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import image_options, partition_option
from minbuild.cli.outputs import Outputting, output_options, room, write

if TYPE_CHECKING:
    from minbuild.archive.types import Lock
    from minbuild.footprint.diff import Diff
    from minbuild.footprint.issues import Issues

GIT = "git:"
Renders = Mapping[str, Callable[[], str]]


@click.command(cls=Outputting)
@click.argument("before", metavar="A", shell_complete=shell.images)
@click.argument("after", metavar="B", shell_complete=shell.images)
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Rows of each kind of change; 0: all.")  # fmt: skip
@click.option("--cve-data", metavar="FILE|URL", help="Debian's security tracker data, or OSV entries: "
              "which open issues came and went.")  # fmt: skip
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything differs.")
@partition_option
@image_options
@output_options("text", "md", "json", "csv", "html")
def diff(
    before: str, after: str, top: int, cve_data: str | None, exit_code: bool, **given: str | None
) -> int:
    """Say what differs between A and B, and why.

    A and B are what report takes (a build directory, an image, a tree, git:REF), or two locks.
    For each new file: the chain of needs that leads to it, with the need that is new in B.
    """
    if before.endswith(".lock") and after.endswith(".lock"):
        changed, renders = _locks(before, after, cve_data)
    else:
        changed, renders = _footprints(before, after, top, cve_data, room(given))
    write(renders, given)
    return int(exit_code and changed)


def _footprints(
    before: str, after: str, top: int, data: str | None, width: int
) -> tuple[bool, Renders]:
    from minbuild.cli.inspect import subject
    from minbuild.footprint.diff import compare
    from minbuild.report import diff as shown
    from minbuild.report.html import page

    found = compare(subject(before), subject(after))
    if data is not None:
        found = replace(found, issues=_issues(found, (before, after), data))
    return bool(found), {
        "text": lambda: shown.as_text(found, top=top, width=width),
        "md": lambda: shown.as_markdown(found),
        "json": lambda: shown.as_json(found),
        "csv": lambda: shown.as_csv(found),
        "html": lambda: page(found.after, found.before),
    }


def _issues(found: "Diff", words: tuple[str, str], data: str) -> "Issues":
    """The open issues of two footprints; sources are named by the locks that lie beside them."""
    from minbuild.supply.compared import compared, packages_of, release_of

    locks = [lock for word in words for lock in _beside(word)]
    before, after = found.before, found.after
    suites = [release_of(one.suites or after.suites or before.suites) for one in (before, after)]
    return compared(
        packages_of(before, locks), packages_of(after, locks), _data(data), data,
        (suites[0], suites[1]),
    )  # fmt: skip


def _beside(word: str) -> Iterable["Lock"]:
    from minbuild.archive import lockfile

    place = Path(word)
    if word.startswith(GIT) or not place.exists():
        return ()
    directory = place if place.is_dir() else place.parent
    return [lockfile.read(path) for path in sorted(directory.glob("*.lock"))]


def _locks(before: str, after: str, data: str | None) -> tuple[bool, Renders]:
    from minbuild.archive.changes import differences
    from minbuild.report import locks
    from minbuild.supply.compared import compared, release_of

    old, new = _lock(before), _lock(after)
    changes = differences(old, new)
    issues = None
    if data is not None:
        suites = [release_of([suite.name for suite in one.suites]) for one in (old, new)]
        issues = compared(
            old.packages, new.packages, _data(data), data, (suites[0], suites[1])
        )  # fmt: skip
    return bool(changes), {
        "text": lambda: locks.as_text(changes, issues),
        "md": lambda: locks.as_markdown(changes, issues),
        "json": lambda: locks.as_json(changes, issues),
        "csv": lambda: locks.as_csv(changes),
        "html": _no_page,
    }


def _lock(word: str) -> "Lock":
    """The lock in a file, or in a commit: git:REF:PATH."""
    from minbuild.archive import lockfile
    from minbuild.run import run

    if not word.startswith(GIT):
        return lockfile.read(Path(word))
    text = run(["git", "show", "--end-of-options", word.removeprefix(GIT)], what=f"reading {word}")
    return lockfile.parse(text.decode("utf-8", "replace"), Path(word))


def _data(place: str) -> str:
    from minbuild.cli.supply import data_of

    return data_of(place)


def _no_page() -> str:
    from minbuild.errors import UsageError

    raise UsageError("two locks have no page", fix="compare two builds, or leave --html out")


COMMANDS = (diff,)
