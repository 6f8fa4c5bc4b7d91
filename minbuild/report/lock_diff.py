"""Diff of two locks as text, Markdown, JSON and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.archive.lockfile import LockChange
from minbuild.escape import dump_json
from minbuild.escape import escape_csv as csv_text
from minbuild.footprint.comparison import IssueChanges
from minbuild.report import layout
from minbuild.report.layout import align_columns, escape_line
from minbuild.report.surface import issues_to_json, list_issue_lines, summarize_issues

LOCK_DIFF_SCHEMA = "minbuild.lockdiff/1"
ABSENT = "(none)"


def summarize_lock_diff(changes: Sequence[LockChange]) -> str:
    """One line of counts for the host and for the toolbox."""
    if not changes:
        return "nothing differs"
    parts = []
    for part in dict.fromkeys(one.part for one in changes):
        of_part = [one for one in changes if one.part == part]
        added = sum(not one.before for one in of_part)
        removed = sum(not one.after for one in of_part)
        changed = len(of_part) - added - removed
        parts.append(f"{part}: {added} new, {removed} gone, {changed} changed")
    return "; ".join(parts)


def render_lock_diff(changes: Sequence[LockChange], issue_changes: IssueChanges | None) -> str:
    """The headline, a line for each package, and the open issues."""
    cells = [
        [f"{one.part}:", escape_line(one.name), escape_line(one.before or ABSENT), "->",
         escape_line(one.after or ABSENT)]
        for one in changes
    ]  # fmt: skip
    rows = align_columns(cells, frozenset(range(5))) if cells else []
    return "\n".join([summarize_lock_diff(changes), *rows, *list_issue_lines(issue_changes)]) + "\n"


def render_lock_diff_markdown(
    changes: Sequence[LockChange], issue_changes: IssueChanges | None
) -> str:
    """A comment for a pull request."""
    body = [
        [
            one.part,
            layout.format_code(one.name),
            layout.escape_markdown(one.before),
            layout.escape_markdown(one.after),
        ]
        for one in changes
    ]
    lines = [
        f"### {layout.escape_markdown(summarize_lock_diff(changes))}",
        "",
        layout.escape_markdown(summarize_issues(issue_changes)),
        "",
    ]
    parts = [("Packages", ["", "package", "before", "after"], body, 0)] if body else []
    return layout.render_page([*lines, *layout.fit_tables(parts)])


def render_lock_diff_json(changes: Sequence[LockChange], issue_changes: IssueChanges | None) -> str:
    """A JSON object, keys sorted."""
    document = {
        "schema": LOCK_DIFF_SCHEMA,
        "packages": [asdict(one) for one in changes],
        "issues": issues_to_json(issue_changes),
    }
    return dump_json(document, sort=True)


def render_lock_diff_csv(changes: Sequence[LockChange]) -> str:
    """One row for each package."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["part", "package", "before", "after", "suite"])
    for change in changes:
        cells = (change.part, change.name, change.before, change.after, change.suite)
        writer.writerow([csv_text(cell) for cell in cells])
    return out.getvalue()
