"""The footprint as a page for a terminal."""

from collections.abc import Callable, Collection, Mapping, Sequence

from minbuild.footprint.types import STRING_PRIORITY, Footprint, Surface
from minbuild.paths import RootPath
from minbuild.report import minwin, surface
from minbuild.report.fit import columns, explained, prose, span
from minbuild.report.lines import OWNERS, Line, Table, duplicates, table
from minbuild.report.plain import plain
from minbuild.report.units import bar, printable, share, size
from minbuild.resolve.types import Caution, Possible

MINWIN_FILES, MINWIN_PACKED = minwin.FILES, minwin.PACKED
__all__ = [
    "MINWIN_FILES",
    "MINWIN_PACKED",
    "OWNERS",
    "budget",
    "named_paths",
    "page",
    "possible_data",
    "possible_dlopens",
    "warnings",
]


BARS = (20, 10, 0)
"""Columns of a table's longest bar, the first that leaves room for names."""
NAMES = 40
"""Columns of names that a bar gives way to."""


def page(
    footprint: Footprint, *, top: int = 10, by: str = "section", sort: str = "",
    full: bool = False, width: int = 0,
) -> str:  # fmt: skip
    """Totals beside MinWin's, a table by one kind of owner, and the `top` largest files.

    `by` is one of `OWNERS`; `top` 0 lists every file. With `full` also each row's share of the
    budget, MinWin's categories and the attack surface. No line is longer than `width`, but for
    names that are; 0 is a terminal without an end.
    """
    owners = table(footprint, by=by, sort=sort, top=0 if by == "section" else top)
    limit = footprint.budget.get("packed", 0) if full else 0
    parts = [
        "\n".join(prose(_head(footprint), width, blank="  ")),
        _totals(footprint, width),
        "\n".join(_table(owners, limit=limit, width=width)),
    ]
    if by != "file":
        files = table(footprint, by="file", sort=sort, top=top)
        parts.append("\n".join(_table(files, title="largest files", limit=limit, width=width)))
    if full:
        held = [(name, getattr(footprint.totals, name), limit, "")
                for name, limit in footprint.budget.items() if hasattr(footprint.totals, name)]  # fmt: skip
        parts += [_categories(footprint), budget(held).strip("\n"), _surface(footprint, width)]
    return "\n\n".join(part for part in parts if part) + "\n" + warnings(footprint.cautions, width)


def budget(limits: list[tuple[str, int, int, str]]) -> str:
    """One line for each limit that is set: what is, what may be, and a verdict or why not."""
    if not limits:
        return ""
    cells = [
        [
            f"budget {name}",
            size(is_) if name != "files" else str(is_),
            f"of {size(limit) if name != 'files' else limit}",
            share(is_, limit),
            "not judged:" if unjudged else "ok" if is_ <= limit else "OVER",
            unjudged or _room(name, is_, limit),
        ]
        for name, is_, limit, unjudged in limits
    ]
    return "\n" + "\n".join(columns(cells, frozenset({0, 4, 5}))) + "\n"


def _room(name: str, is_: int, limit: int) -> str:
    """A bar within a limit; beyond it, by how much: 17.6 MB of 17.6 MB tells nobody."""
    if is_ <= limit:
        return bar(is_, limit)
    return f"{is_ - limit:,} {'bytes ' if name != 'files' else ''}too many"


def possible_dlopens(found: Mapping[RootPath, tuple[str, ...]], width: int = 0) -> str:
    """Libraries that a file may load by name at run time; listed, never added."""
    if not found:
        return ""
    lines = [
        "",
        "Possible dlopens without a note, not in the image (name them in keep: if needed):",
    ]
    lines += [
        f"  {printable(path)}: {printable(', '.join(names))}" for path, names in found.items()
    ]
    return _lines(lines, width)


def _lines(lines: Sequence[str], width: int) -> str:
    broken = [part for line in lines for part in prose(line, width) or [""]]
    return "\n".join(broken) + "\n"


def warnings(found: Sequence[Caution], width: int = 0) -> str:
    """What may be wrong in files of the image, a line for each."""
    if not found:
        return ""
    lines = [printable(f"{one.path}:{one.line}: {one.what}") for one in found]
    head = "Warnings (allow-missing: waives them):"
    return _lines(["", head, *(f"  {line}" for line in lines)], width)


def possible_data(
    found: Sequence[Possible], missed: Collection[str] | None = None, width: int = 0
) -> str:
    """Files that rules know of for a chosen one, or that its text names; listed, never added.

    `missed`: paths that a traced boot asked for and did not find, which confirms or removes those
    that texts name; None without a traced boot.
    """
    lines = []
    removed = 0
    for one in found:
        because = f": {one.because}" if one.because else ""
        if one.priority == STRING_PRIORITY and missed is not None:
            if not _was_missed(one.wanted, missed):
                removed += 1
                continue
            because += "; a traced boot asked for it"
        lines.append(printable(f"  {one.by}: {one.wanted} ({one.priority}){because}"))
    if removed:
        lines.append(f"  [{removed} more that texts name, and that no traced boot has asked for]")
    if not lines:
        return ""
    head = "Files that may be of use, not in the image (keep: them, or ask with data: or paths:):"
    return _lines([*dict.fromkeys(["", head, *lines])], width)


def named_paths(found: Sequence[Possible]) -> str:
    """How many paths that texts name are not in the image, in a line; "" for none."""
    count = len({one.wanted for one in found if one.priority == STRING_PRIORITY})
    if not count:
        return ""
    paths = "path that a file names is" if count == 1 else "paths that files name are"
    return f"\n{count} {paths} not in the image: minbuild plan lists them\n"


def _was_missed(wanted: str, missed: Collection[str]) -> bool:
    return any(path == wanted or path.startswith(f"{wanted}/") for path in missed)


def _head(footprint: Footprint) -> str:
    parts = [footprint.name, footprint.arch]
    parts += [f"Linux {footprint.kernel}"] if footprint.kernel else []
    parts += [f"from {', '.join(footprint.suites)}"] if footprint.suites else []
    return printable("  ".join(part for part in parts if part))


def _totals(footprint: Footprint, width: int) -> str:
    totals = footprint.totals
    packed = "packed" if footprint.packed else "packed (est)"
    rows = [
        ["", "this host", "MinWin*", "of MinWin", ""],
        _against("files", totals.files, MINWIN_FILES, str),
        _against(packed, totals.packed, MINWIN_PACKED, size),
        ["installed", size(totals.bytes), "", "", ""],
    ]
    notes = [f"{totals.links} links and {totals.directories} directories beside the files."]
    twice = duplicates(footprint)
    if twice.contents:
        notes.append(f"{twice.contents} contents stand there more than once: {size(twice.bytes)}.")
    notes.append(minwin.NOTE)
    told = [part for note in notes for part in prose(note, width)]
    return "\n".join([*columns(rows, frozenset({0, 4})), "", *told])


def _against(name: str, ours: int, theirs: int, show: Callable[[int], str]) -> list[str]:
    if ours > 10 * theirs:  # a distribution's root, which is no smallest host
        return [name, show(ours), show(theirs), "", ""]
    return [name, show(ours), show(theirs), share(ours, theirs), bar(ours, theirs)]


def _table(found: Table, *, title: str = "", limit: int = 0, width: int = 0) -> list[str]:
    """One row for each line and a last one with their sum.

    `limit`: packed bytes that the budget allows, of which each row has a share; 0 for none.
    In a terminal of `width` columns first the bars are shorter, then the names.
    """
    longest, cells = next(
        (longest, cells)
        for longest in BARS
        for cells in [_rows(found, title, limit, longest)]
        if not longest or _leaves_names(cells, width)
    )
    right = frozenset({0, len(cells[0]) - 1}) if longest else frozenset({0})
    return columns(cells, right, width=width)


def _leaves_names(cells: list[list[str]], width: int) -> bool:
    names = max(len(row[0]) for row in cells)
    return not width or span(cells) - width <= max(0, names - NAMES)


def _rows(found: Table, title: str, limit: int, longest: int) -> list[list[str]]:
    """The cells of a table, with bars of at most `longest` columns; 0: without bars."""
    has_added = any(line.added is not None for line in found.lines)
    head = [title or found.by, "files", "installed", "packed est"]
    last = [""] if longest else []
    cells = [[*head, *(["added"] if has_added else []), *(["of budget"] if limit else []), *last]]
    for line in (*found.lines, found.total):
        whole = 0 if line is found.total and not limit else limit or found.total.packed
        drawn = [bar(line.packed, whole, longest)] if longest else []
        added = [] if not has_added else ["" if line.added is None else size(line.added)]
        part = [share(line.packed, limit)] if limit else []
        cells.append([*_cells(line), *added, *part, *drawn])
    return cells


def _cells(line: Line) -> list[str]:
    return [printable(line.name), str(line.files), size(line.bytes), size(line.packed)]


def _categories(footprint: Footprint) -> str:
    cells = [["MinWin's categories", "files", "installed", "packed est"]]
    cells += [_cells(line) for line in minwin.lines(footprint)]
    totals = footprint.totals
    whole = "every file, and the image"
    cells.append([whole, str(totals.files), size(totals.bytes), size(totals.packed)])
    cells.append(["MinWin*", str(MINWIN_FILES), "", size(MINWIN_PACKED)])
    return "\n".join(columns(cells))


def _surface(footprint: Footprint, width: int) -> str:
    if footprint.surface is None:
        return "attack surface  not evaluated: this footprint was written without it"
    debian = plain()
    cells = [["attack surface", "this host", "plain Debian*", ""]]
    cells += [
        [name, count, debian.count(kind), printable(some)]
        for kind, name, count, some in surface.rows(footprint.surface)
    ]
    return "\n".join(
        [
            *explained(cells, frozenset({0, 3}), width=width),
            "",
            *prose(debian.note, width),
            *_prices(footprint.surface, width),
        ]
    )


def _prices(found: Surface, width: int) -> list[str]:
    rows = surface.prices(found)
    if not rows:
        return []
    cells = [["recommended kernel settings", "what is there", "and what it would cost"]]
    cells += [[printable(cell) for cell in row] for row in rows]
    return ["", *explained(cells, frozenset({0, 1, 2}), width=width, sentences=2)]
