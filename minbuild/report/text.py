"""The footprint as a page for a terminal."""

from collections.abc import Callable, Collection, Mapping, Sequence

from minbuild.footprint.types import STRING_PRIORITY, Footprint, Surface
from minbuild.paths import RootPath
from minbuild.report import minwin, surface
from minbuild.report.lines import OWNERS, Line, Table, duplicates, table
from minbuild.report.plain import plain
from minbuild.report.units import bar, columns, printable, share, size
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


def page(
    footprint: Footprint, *, top: int = 10, by: str = "section", sort: str = "", full: bool = False
) -> str:
    """Totals beside MinWin's, a table by one kind of owner, and the `top` largest files.

    `by` is one of `OWNERS`; `top` 0 lists every file. With `full` also each row's share of the
    budget, MinWin's categories and the attack surface.
    """
    owners = table(footprint, by=by, sort=sort, top=0 if by == "section" else top)
    limit = footprint.budget.get("packed", 0) if full else 0
    parts = [_head(footprint), _totals(footprint), "\n".join(_table(owners, limit=limit))]
    if by != "file":
        files = table(footprint, by="file", sort=sort, top=top)
        parts.append("\n".join(_table(files, title="largest files", limit=limit)))
    if full:
        held = [(name, getattr(footprint.totals, name), limit, "")
                for name, limit in footprint.budget.items() if hasattr(footprint.totals, name)]  # fmt: skip
        parts += [_categories(footprint), budget(held).strip("\n"), _surface(footprint)]
    return "\n\n".join(part for part in parts if part) + "\n" + warnings(footprint.cautions)


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
            unjudged or bar(is_, limit),
        ]
        for name, is_, limit, unjudged in limits
    ]
    return "\n" + "\n".join(columns(cells, frozenset({0, 4, 5}))) + "\n"


def possible_dlopens(found: Mapping[RootPath, tuple[str, ...]]) -> str:
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
    return "\n".join(lines) + "\n"


def warnings(found: Sequence[Caution]) -> str:
    """What may be wrong in files of the image, a line for each."""
    if not found:
        return ""
    lines = [printable(f"{one.path}:{one.line}: {one.what}") for one in found]
    return (
        "\n".join(["", "Warnings (allow-missing: waives them):", *(f"  {line}" for line in lines)])
        + "\n"
    )


def possible_data(found: Sequence[Possible], missed: Collection[str] | None = None) -> str:
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
    return "\n".join(dict.fromkeys(["", head, *lines])) + "\n"


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


def _totals(footprint: Footprint) -> str:
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
    return "\n".join([*columns(rows, frozenset({0, 4})), "", *notes])


def _against(name: str, ours: int, theirs: int, show: Callable[[int], str]) -> list[str]:
    if ours > 10 * theirs:  # a distribution's root, which is no smallest host
        return [name, show(ours), show(theirs), "", ""]
    return [name, show(ours), show(theirs), share(ours, theirs), bar(ours, theirs)]


def _table(found: Table, *, title: str = "", limit: int = 0) -> list[str]:
    """One row for each line and a last one with their sum.

    `limit`: packed bytes that the budget allows, of which each row has a share; 0 for none.
    """
    has_added = any(line.added is not None for line in found.lines)
    head = [title or found.by, "files", "installed", "packed est"]
    cells = [[*head, *(["added"] if has_added else []), *(["of budget"] if limit else []), ""]]
    for line in (*found.lines, found.total):
        last = line is found.total
        drawn = "" if last and not limit else bar(line.packed, limit or found.total.packed)
        added = [] if not has_added else ["" if line.added is None else size(line.added)]
        part = [share(line.packed, limit)] if limit else []
        cells.append([*_cells(line), *added, *part, drawn])
    return columns(cells, frozenset({0, len(cells[0]) - 1}))


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


def _surface(footprint: Footprint) -> str:
    if footprint.surface is None:
        return "attack surface  not evaluated: this footprint was written without it"
    debian = plain()
    cells = [["attack surface", "this host", "plain Debian*", ""]]
    cells += [
        [name, count, debian.count(kind), printable(some)]
        for kind, name, count, some in surface.rows(footprint.surface)
    ]
    return "\n".join(
        [*columns(cells, frozenset({0, 3})), "", debian.note, *_prices(footprint.surface)]
    )


def _prices(found: Surface) -> list[str]:
    rows = surface.prices(found)
    if not rows:
        return []
    cells = [["recommended kernel settings", "what is there", "and what it would cost"]]
    cells += [[printable(cell) for cell in row] for row in rows]
    return ["", *columns(cells, frozenset({0, 1, 2}))]
