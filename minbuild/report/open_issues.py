"""Changes of open security issues as text and JSON, or a note that there are no data."""

from dataclasses import asdict

from minbuild.footprint.comparison import IssueChanges, OpenIssue
from minbuild.report.layout import align_columns, escape_line

NOT_EVALUATED = "open issues: not evaluated (no data: --cve-data FILE|URL)"


def summarize_issues(issues: IssueChanges | None) -> str:
    """One line: how many were open, how many are, and how many came and went."""
    if issues is None:
        return NOT_EVALUATED
    return (
        f"open issues: {issues.before} -> {issues.after} (+{len(issues.new)}, -{len(issues.gone)})"
    )


def list_issue_lines(issues: IssueChanges | None, *, top: int = 0) -> list[str]:
    """The headline, and an issue a line; `top` of each kind, 0 for all."""
    lines = [summarize_issues(issues)]
    if issues is None:
        return lines
    for sign, open_issues in (("+", issues.new), ("-", issues.gone)):
        cells = [
            [f"  {sign} {escape_line(one.name)}", escape_line(one.source), describe_fix(one)]
            for one in open_issues[: top or None]
        ]
        lines += align_columns(cells, frozenset({0, 1, 2})) if cells else []
        if len(open_issues) > len(cells):
            lines.append(f"  {sign} [{len(open_issues) - len(cells)} others]")
    return lines


def describe_fix(issue: OpenIssue) -> str:
    """The version that fixes an issue, as text."""
    return f"fixed in {escape_line(issue.fixed)}" if issue.fixed else "no fix yet"


def issues_to_json(issues: IssueChanges | None) -> dict[str, object] | None:
    """The same as JSON; None when it was not evaluated, which is never the same as none."""
    return None if issues is None else asdict(issues)
