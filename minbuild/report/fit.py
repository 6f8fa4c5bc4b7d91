"""How tables and sentences are laid out, and made to fit a terminal; a width of 0 has no end."""

import re
from collections.abc import Sequence

GAP = 2
LEAST = 16
"""Columns that a shortened name keeps."""
PROSE = 28
"""Columns that sentences beside a table need; with fewer they stand below their row."""
MARGIN = 4
_LEAD = re.compile(r"[│├└─ ]*")


def columns(
    rows: Sequence[Sequence[str]],
    left: frozenset[int] = frozenset({0}),
    *,
    width: int = 0,
    gives: int = 0,
) -> list[str]:
    """Lay cells out in columns, right-aligned but for those in `left`.

    In a terminal of `width` columns the names of column `gives` are shortened.
    """
    widths = _widths(rows)
    spare = span(rows) - width
    if width and spare > 0:
        widths[gives] = max(LEAST, widths[gives] - spare)
    lines = []
    for row in rows:
        cells = [shorten(cell, widths[n]) if n == gives else cell for n, cell in enumerate(row)]
        padded = [
            cell.ljust(room) if n in left else cell.rjust(room)
            for n, (cell, room) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append((" " * GAP).join(padded).rstrip())
    return lines


def explained(
    rows: Sequence[Sequence[str]],
    left: frozenset[int] = frozenset({0}),
    *,
    width: int = 0,
    sentences: int = 1,
) -> list[str]:
    """The lines of `blocks`."""
    return [line for lines in blocks(rows, left, width, sentences) for line in lines]


def blocks(
    rows: Sequence[Sequence[str]], left: frozenset[int], width: int, sentences: int = 1
) -> list[list[str]]:
    """Lay out rows whose last `sentences` cells are sentences.

    Where they do not fit, one is broken between words under its own beginning; where that leaves
    no room, or there are several, they stand below their row. Returns the lines of each row.
    """
    if not rows:
        return []
    if not width or span(rows) <= width:
        return [[line] for line in columns(rows, left)]
    heads = [row[:-sentences] for row in rows]
    used = span(heads) + GAP
    beside = sentences == 1 and width - used >= PROSE
    found = []
    for row, head in zip(rows, columns(heads, left, width=width), strict=True):
        if beside and row[-1]:
            first, *more = prose(row[-1], width - used)
            found.append([f"{head:<{used}}{first}", *(f"{'':{used}}{line}" for line in more)])
        else:
            below = [line for cell in row[-sentences:] for line in prose(cell, width, " " * MARGIN)]
            found.append([head, *below])
    return found


def span(rows: Sequence[Sequence[str]]) -> int:
    """How wide a table of these rows is."""
    widths = _widths(rows)
    return sum(widths) + GAP * (len(widths) - 1)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]


def shorten(name: str, room: int) -> str:
    """A name in at most `room` columns: of a path its end (…/kernel/net/ipv6.ko), else both ends."""
    if len(name) <= room:
        return name
    start = _LEAD.match(name)
    lead = start[0] if start else ""
    name = name[len(lead) :]
    room = max(room - len(lead), 8)
    if "/" in name:
        for cut in range(1, name.count("/") + 1):
            tail = name.split("/", cut)[-1]
            if len(tail) + 2 <= room:
                return f"{lead}…/{tail}"
        name = name.rpartition("/")[2] or name
        if len(name) <= room:
            return f"{lead}{name}"
        lead, room = f"{lead}…/", room - 2
    before = (room - 1) // 2
    return f"{lead}{name[:before]}…{name[len(name) - (room - 1 - before) :]}"


def prose(text: str, width: int, margin: str = "", blank: str = " ") -> list[str]:
    """Break a line between words; `margin` is before each, `blank` between words.

    A word that is longer than the terminal stays whole. Further lines of a line that begins with
    blanks begin with as many, and two more.
    """
    if not width or len(margin) + len(text) <= width:
        return [margin + text] if text else []
    own = text[: len(text) - len(text.lstrip())]
    lines: list[str] = []
    line = margin + own
    empty = True
    for word in text.strip().split(blank):
        if not empty and len(line) + len(blank) + len(word) > width:
            lines.append(line)
            line, empty = margin + own + (" " * GAP if own else ""), True
        line += word if empty else blank + word
        empty = False
    return [*lines, line]


def wrap(text: str, width: int) -> str:
    """Break each line of a text between words."""
    if not width:
        return text
    lines = [part for line in text.splitlines() for part in prose(line, width) or [""]]
    return "".join(f"{line}\n" for line in lines)


def entry(margin: str, path: str, note: str, width: int = 0) -> list[str]:
    """A path of a chain with a note beside it, or below it where there is no room."""
    whole = f"{margin}{path}  {note}"
    if not width or len(whole) <= width:
        return [whole]
    room = width - len(margin) - GAP - len(note)
    if room >= len(path.rpartition("/")[2]) + GAP:
        return [f"{margin}{shorten(path, room)}  {note}"]
    under = " " * (len(margin) + GAP)
    return [margin + shorten(path, max(LEAST, width - len(margin))), *prose(note, width, under)]
