"""Markdown for a pull request or a job summary: folded, and within the size of a comment."""

from collections.abc import Sequence

from minbuild.escape import escape_markdown as escape_markdown  # noqa: PLC0414
from minbuild.escape import format_code as format_code  # noqa: PLC0414

MAX_BYTES = 60_000
"""Bytes of a whole page: GitHub refuses comments of more than 65,536 characters."""
FoldedTable = tuple[str, Sequence[str], Sequence[Sequence[str]], int]
"""Title, head, body, and how many columns are numbers."""
MARKER = "<!-- minbuild -->"
"""First line, by which a later run finds its own comment."""


def render_rows(head: Sequence[str], body: Sequence[Sequence[str]], *, right: int = 0) -> list[str]:
    """A table; the last `right` columns hold numbers."""
    marks = ["---"] * (len(head) - right) + ["---:"] * right
    lines = [head, marks, *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def fold_lines(title: str, lines: Sequence[str]) -> list[str]:
    """Lines behind a summary that a click opens."""
    return [
        "<details>",
        f"<summary>{escape_markdown(title)}</summary>",
        "",
        *lines,
        "",
        "</details>",
        "",
    ]


def fit_tables(parts: Sequence[FoldedTable]) -> list[str]:
    """Folded tables, cut so that a page with all of them stays below the limit.

    A last line counts the rows that were cut.
    """
    table_budget = MAX_BYTES // 2 // max(1, len(parts))
    lines: list[str] = []
    for title, head, body, right in parts:
        shown: list[Sequence[str]] = []
        remaining = table_budget
        for row in body:
            remaining -= len(" | ".join(row).encode()) + 6
            if remaining < 0:
                break
            shown.append(row)
        cut = len(body) - len(shown)
        note_lines = ["", f"… and {cut} more, in the full report"] if cut else []
        lines += fold_lines(
            f"{title} ({len(body)})", [*render_rows(head, shown, right=right), *note_lines]
        )
    return lines


def render_page(lines: Sequence[str]) -> str:
    """A whole page with its marker; as a last resort cut at a line, visibly."""
    text = "\n".join([MARKER, *lines]).rstrip() + "\n"
    if len(text.encode()) < MAX_BYTES:
        return text
    cut = text.encode()[: MAX_BYTES - 200].decode("utf-8", "ignore").rpartition("\n")[0]
    remaining_lines = text.count("\n") - cut.count("\n")
    return f"{cut}\n\n… cut here: {remaining_lines} more lines in the full report\n"
