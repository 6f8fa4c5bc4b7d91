"""What differs between two locks, package by package, in several formats."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from minbuild.archive.changes import Change
from minbuild.escape import csv as csv_text
from minbuild.escape import dump
from minbuild.footprint.issues import Issues
from minbuild.report import issues, markdown
from minbuild.report.fit import columns
from minbuild.report.units import printable

SCHEMA = "minbuild.lockdiff/1"
NONE = "(none)"


def headline(changes: Sequence[Change]) -> str:
    """One line of counts for the host and for the toolbox."""
    if not changes:
        return "nothing differs"
    parts = []
    for part in dict.fromkeys(one.part for one in changes):
        of_part = [one for one in changes if one.part == part]
        new = sum(not one.before for one in of_part)
        gone = sum(not one.after for one in of_part)
        other = len(of_part) - new - gone
        parts.append(f"{part}: {new} new, {gone} gone, {other} changed")
    return "; ".join(parts)


def as_text(changes: Sequence[Change], found: Issues | None) -> str:
    """The headline, a line for each package, and the open issues."""
    cells = [
        [f"{one.part}:", printable(one.name), printable(one.before or NONE), "->",
         printable(one.after or NONE)]
        for one in changes
    ]  # fmt: skip
    rows = columns(cells, frozenset(range(5))) if cells else []
    return "\n".join([headline(changes), *rows, *issues.as_lines(found)]) + "\n"


def as_markdown(changes: Sequence[Change], found: Issues | None) -> str:
    """A comment for a pull request."""
    body = [
        [one.part, markdown.code(one.name), markdown.cell(one.before), markdown.cell(one.after)]
        for one in changes
    ]
    lines = [
        f"### {markdown.cell(headline(changes))}",
        "",
        markdown.cell(issues.headline(found)),
        "",
    ]
    parts = [("Packages", ["", "package", "before", "after"], body, 0)] if body else []
    return markdown.page([*lines, *markdown.fitting(parts)])


def as_json(changes: Sequence[Change], found: Issues | None) -> str:
    """A JSON object, keys sorted."""
    document = {
        "schema": SCHEMA,
        "packages": [asdict(one) for one in changes],
        "issues": issues.as_document(found),
    }
    return dump(document, sort=True)


def as_csv(changes: Sequence[Change]) -> str:
    """One row for each package."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["part", "package", "before", "after", "suite"])
    for one in changes:
        cells = (one.part, one.name, one.before, one.after, one.suite)
        writer.writerow([csv_text(cell) for cell in cells])
    return out.getvalue()
