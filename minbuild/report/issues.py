"""What differs in open security issues, for people and programs; without data that is said."""

from dataclasses import asdict

from minbuild.footprint.issues import Issues, OpenIssue
from minbuild.report.fit import columns
from minbuild.report.units import printable

UNKNOWN = "open issues: not evaluated (no data: --cve-data FILE|URL)"


def headline(issues: Issues | None) -> str:
    """One line: how many were open, how many are, and how many came and went."""
    if issues is None:
        return UNKNOWN
    return (
        f"open issues: {issues.before} -> {issues.after} (+{len(issues.new)}, -{len(issues.gone)})"
    )


def as_lines(issues: Issues | None, *, top: int = 0) -> list[str]:
    """The headline, and an issue a line; `top` of each kind, 0 for all."""
    lines = [headline(issues)]
    if issues is None:
        return lines
    for sign, some in (("+", issues.new), ("-", issues.gone)):
        cells = [
            [f"  {sign} {printable(one.name)}", printable(one.source), fix(one)]
            for one in some[: top or None]
        ]
        lines += columns(cells, frozenset({0, 1, 2})) if cells else []
        if len(some) > len(cells):
            lines.append(f"  {sign} [{len(some) - len(cells)} others]")
    return lines


def fix(one: OpenIssue) -> str:
    """The version that fixes an issue, in words."""
    return f"fixed in {printable(one.fixed)}" if one.fixed else "no fix yet"


def as_document(issues: Issues | None) -> dict[str, object] | None:
    """The same as JSON; None when it was not evaluated, which is never the same as none."""
    return None if issues is None else asdict(issues)
