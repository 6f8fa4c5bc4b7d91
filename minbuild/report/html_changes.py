"""What changed since another build, as sections of the HTML page: causes, then files."""

from collections.abc import Sequence

from minbuild.escape import escape_markup
from minbuild.footprint.change_causes import is_side_effect, list_causes
from minbuild.footprint.change_groups import ChangeGroup, list_groups
from minbuild.footprint.comparison import FootprintDiff
from minbuild.report.diff import count_changes, explain_change, format_signed
from minbuild.report.layout import escape_line

MAX_ROWS = 200
"""Rows of each table; the page's own table has all."""


def render_changes(diff: FootprintDiff) -> str:
    """Render the section that a comparison opens with: its causes, and a table of each kind of change."""
    if not diff:
        return '<section id="changes"><h2>What changed</h2><p>Nothing differs.</p></section>'
    causes = [
        (one.name, one.reason, str(one.files), format_signed(one.bytes))
        for one in list_causes(diff)
    ]
    parts = [_render_table(("cause", "why", "files", "change"), causes, numbers=2)]
    for title, rows in list_groups(diff):
        shown = [row for row in rows if not is_side_effect(row.changes[0])]
        if shown:
            parts.append(_render_files(title, shown, len(rows) - len(shown)))
    counts = _escape(count_changes(diff))
    return f'<section id="changes"><h2>What changed</h2><p>{counts}</p>{"".join(parts)}</section>'


def _render_files(title: str, rows: Sequence[ChangeGroup], left_out: int) -> str:
    """A table of one kind of change, folded when it is long."""
    cells = [(row.name, explain_change(row), format_signed(row.bytes)) for row in rows]
    note = f" and {left_out} links and directories" if left_out else ""
    count = f"{len(rows)} file{'s' * (len(rows) != 1)}" if title != "updated" else f"{len(rows)}"
    return (
        f"<details open><summary>{_escape(title.capitalize())}: {count}{note}</summary>"
        f"{_render_table(('path', 'why', 'change'), cells, numbers=1)}</details>"
    )


def _render_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> str:
    """A table whose last columns are numbers, the first one a path or a name."""
    kinds = ["path", *[""] * (len(head) - numbers - 1), *["n"] * numbers]
    head_cells = "".join(
        f'<th scope="col"{_as_class(kind)}>{_escape(name)}</th>'
        for name, kind in zip(head, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_as_class(kind)}>{_escape(cell)}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    others = len(rows) - MAX_ROWS
    note = f"<p>{others} more are in the table below.</p>" if others > 0 else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head_cells}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _as_class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _escape(text: str) -> str:
    return escape_markup(escape_line(text))
