"""Markdown for a pull request or a job summary: short, folded, and never too long for a comment."""

from collections.abc import Sequence

from minbuild.escape import cell as cell  # noqa: PLC0414
from minbuild.escape import code as code  # noqa: PLC0414

MOST = 60_000
"""Bytes of a whole page: GitHub refuses comments of more than 65,536 characters."""
MARKER = "<!-- minbuild -->"
"""By this first line a later run finds its own comment again."""


def rows(head: Sequence[str], body: Sequence[Sequence[str]], *, right: int = 0) -> list[str]:
    """A table; the last `right` columns hold numbers."""
    marks = ["---"] * (len(head) - right) + ["---:"] * right
    lines = [head, marks, *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """Lines that are shown on a click."""
    return ["<details>", f"<summary>{cell(title)}</summary>", "", *lines, "", "</details>", ""]


def fitting(parts: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]], int]]) -> list[str]:
    """Folded tables, cut so that a page with all of them stays below the limit.

    Each part is title, head, body, and how many columns are numbers. What is cut is counted.
    """
    each = MOST // 2 // max(1, len(parts))
    lines: list[str] = []
    for title, head, body, right in parts:
        shown: list[Sequence[str]] = []
        left = each
        for row in body:
            left -= len(" | ".join(row).encode()) + 6
            if left < 0:
                break
            shown.append(row)
        cut = len(body) - len(shown)
        more = ["", f"… and {cut} more, in the full report"] if cut else []
        lines += folded(f"{title} ({len(body)})", [*rows(head, shown, right=right), *more])
    return lines


def page(lines: Sequence[str]) -> str:
    """A whole page with its marker; as a last resort cut at a line, visibly."""
    text = "\n".join([MARKER, *lines]).rstrip() + "\n"
    if len(text.encode()) < MOST:
        return text
    cut = text.encode()[: MOST - 200].decode("utf-8", "ignore").rpartition("\n")[0]
    left = text.count("\n") - cut.count("\n")
    return f"{cut}\n\n… cut here: {left} more lines in the full report\n"
