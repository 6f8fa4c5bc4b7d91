"""Layout of tables and sentences, for a terminal (a width of 0 has no limit) and as Markdown."""

import re
from collections.abc import Sequence

from minbuild.escape import escape_line as escape_line  # noqa: PLC0414 - the tables' own word
from minbuild.escape import escape_markdown as escape_markdown  # noqa: PLC0414
from minbuild.escape import format_code as format_code  # noqa: PLC0414

GAP = 2
MIN_NAME = 16
"""Columns that a shortened name keeps."""
MIN_PROSE = 28
"""Columns that sentences beside a table need; with fewer they go below their row."""
MARGIN = 4
_LEAD = re.compile(r"[│├└─ ]*")


def align_columns(
    rows: Sequence[Sequence[str]],
    left_aligned: frozenset[int] = frozenset({0}),
    *,
    width: int = 0,
    shrinkable: int = 0,
) -> list[str]:
    """Lay cells out in columns, right-aligned but for those in `left`.

    In a terminal of `width` columns the names of column `gives` are shortened.
    """
    widths = _measure_columns(rows)
    excess = measure_table(rows) - width
    if width and excess > 0:
        widths[shrinkable] = max(MIN_NAME, widths[shrinkable] - excess)
    lines = []
    for row in rows:
        cells = [
            shorten(cell, widths[n]) if n == shrinkable else cell for n, cell in enumerate(row)
        ]
        padded = [
            cell.ljust(room) if n in left_aligned else cell.rjust(room)
            for n, (cell, room) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append((" " * GAP).join(padded).rstrip())
    return lines


def layout_lines(
    rows: Sequence[Sequence[str]],
    left_aligned: frozenset[int] = frozenset({0}),
    *,
    width: int = 0,
    sentences: int = 1,
) -> list[str]:
    """The lines of `blocks`."""
    return [line for lines in layout_rows(rows, left_aligned, width, sentences) for line in lines]


def layout_rows(
    rows: Sequence[Sequence[str]], left_aligned: frozenset[int], width: int, sentences: int = 1
) -> list[list[str]]:
    """Lay out rows whose last `sentences` cells are sentences.

    Where they do not fit, one is broken between words under its own beginning; where that leaves
    no room, or there are several, they stand below their row. Returns the lines of each row.
    """
    if not rows:
        return []
    if not width or measure_table(rows) <= width:
        return [[line] for line in align_columns(rows, left_aligned)]
    heads = [row[:-sentences] for row in rows]
    used = measure_table(heads) + GAP
    fits_beside = sentences == 1 and width - used >= MIN_PROSE
    row_lines = []
    for row, head in zip(rows, align_columns(heads, left_aligned, width=width), strict=True):
        if fits_beside and row[-1]:
            first, *continuation = wrap_line(row[-1], width - used)
            row_lines.append(
                [f"{head:<{used}}{first}", *(f"{'':{used}}{line}" for line in continuation)]
            )
        else:
            below = [
                line for cell in row[-sentences:] for line in wrap_line(cell, width, " " * MARGIN)
            ]
            row_lines.append([head, *below])
    return row_lines


def measure_table(rows: Sequence[Sequence[str]]) -> int:
    """How wide a table of these rows is."""
    widths = _measure_columns(rows)
    return sum(widths) + GAP * (len(widths) - 1)


def _measure_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]


def shorten(name: str, max_width: int) -> str:
    """A name in at most `room` columns: of a path its end (…/kernel/net/ipv6.ko), else both ends."""
    if len(name) <= max_width:
        return name
    start = _LEAD.match(name)
    lead = start[0] if start else ""
    name = name[len(lead) :]
    max_width = max(max_width - len(lead), 8)
    if "/" in name:
        for cut in range(1, name.count("/") + 1):
            tail = name.split("/", cut)[-1]
            if len(tail) + 2 <= max_width:
                return f"{lead}…/{tail}"
        name = name.rpartition("/")[2] or name
        if len(name) <= max_width:
            return f"{lead}{name}"
        lead, max_width = f"{lead}…/", max_width - 2
    before = (max_width - 1) // 2
    return f"{lead}{name[:before]}…{name[len(name) - (max_width - 1 - before) :]}"


def wrap_line(text: str, width: int, margin: str = "", blank: str = " ") -> list[str]:
    """Break a line between words; `margin` is before each, `blank` between words.

    A word that is longer than the terminal stays whole. Further lines of a line that begins with
    blanks begin with as many, and two more.
    """
    if not width or len(margin) + len(text) <= width:
        return [margin + text] if text else []
    indent = text[: len(text) - len(text.lstrip())]
    lines: list[str] = []
    line = margin + indent
    empty = True
    for word in text.strip().split(blank):
        if not empty and len(line) + len(blank) + len(word) > width:
            lines.append(line)
            line, empty = margin + indent + (" " * GAP if indent else ""), True
        line += word if empty else blank + word
        empty = False
    return [*lines, line]


def wrap_text(text: str, width: int) -> str:
    """Break each line of a text between words."""
    if not width:
        return text
    lines = [part for line in text.splitlines() for part in wrap_line(line, width) or [""]]
    return "".join(f"{line}\n" for line in lines)


def format_entry(margin: str, path: str, note: str, width: int = 0) -> list[str]:
    """A path of a chain with a note beside it, or below it where there is no room."""
    line = f"{margin}{path}  {note}"
    if not width or len(line) <= width:
        return [line]
    room = width - len(margin) - GAP - len(note)
    if room >= len(path.rpartition("/")[2]) + GAP:
        return [f"{margin}{shorten(path, room)}  {note}"]
    indent = " " * (len(margin) + GAP)
    return [
        margin + shorten(path, max(MIN_NAME, width - len(margin))),
        *wrap_line(note, width, indent),
    ]


def format_size(count: int) -> str:
    """Bytes as people read them, in decimal units: 17.4 MB, 820 kB, 12 B."""
    if abs(count) >= 999_500:
        return f"{count / 1e6:,.1f} MB"
    if abs(count) >= 1000:
        return f"{count / 1e3:,.0f} kB"
    return f"{count} B"


def format_share(part: int, total: int) -> str:
    """A part of a whole in percent; "" of nothing."""
    return f"{100 * part / total:.0f} %" if total else ""


def format_bar(part: int, total: int, width: int = 20) -> str:
    """A bar of `width` characters for part of whole, in eighths of a character."""
    if total <= 0 or part <= 0:
        return ""
    eighths = max(1, round(8 * width * min(part, total) / total))
    full, remainder = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[remainder] if remainder else "")


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
