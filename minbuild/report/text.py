"""Footprint as a page for a terminal."""

from collections.abc import Callable, Collection, Mapping, Sequence

from minbuild.explain.size_tables import (
    SummaryTable,
    TableRow,
    build_table,
    find_duplicates,
    sum_by_category,
)
from minbuild.footprint.budget_check import check_embedded_limits
from minbuild.footprint.budget_result import BudgetResult, RuleState
from minbuild.footprint.model import STRING_PRIORITY, Footprint, Surface
from minbuild.paths import RootPath
from minbuild.report import footprint_formats, surface
from minbuild.report.footprint_formats import load_debian_baseline
from minbuild.report.layout import (
    align_columns,
    escape_line,
    format_bar,
    format_share,
    format_size,
    layout_lines,
    measure_table,
    wrap_line,
)
from minbuild.resolve.model import OptionalFile, ScriptWarning

BAR_WIDTHS = (20, 10, 0)
"""Columns of a table's longest bar, the first that leaves room for names."""
MIN_NAMES = 40
"""Columns of names that a bar gives way to."""


def render_text(
    footprint: Footprint, *, top: int = 10, by: str = "section", sort: str = "",
    full: bool = False, width: int = 0,
) -> str:  # fmt: skip
    """Totals beside MinWin's, a table by one kind of owner, and the `top` largest files.

    `by` is one of `OWNERS`; `top` 0 lists every file. With `full` also each row's share of the
    budget, MinWin's categories and the attack surface. No line is longer than `width`, but for
    names that are; 0 is a terminal without an end.
    """
    owners = build_table(footprint, by=by, sort=sort, top=0 if by == "section" else top)
    limit = footprint.budget.get("packed", 0) if full else 0
    parts = [
        "\n".join(wrap_line(_render_head(footprint), width, blank="  ")),
        _render_totals(footprint, width),
        "\n".join(_render_table(owners, limit=limit, width=width)),
    ]
    if by != "file":
        files = build_table(footprint, by="file", sort=sort, top=top)
        parts.append(
            "\n".join(_render_table(files, title="largest files", limit=limit, width=width))
        )
    if full:
        parts += [
            _render_categories(footprint),
            render_budget(check_embedded_limits(footprint)).strip("\n"),
            _render_surface(footprint, width),
        ]
    return (
        "\n\n".join(part for part in parts if part)
        + "\n"
        + render_warnings(footprint.warnings, width)
    )


def render_budget(results: Sequence[BudgetResult]) -> str:
    """One line for each limit of the totals: the figure, its limit, and whether it is kept."""
    if not results:
        return ""
    cells = []
    for result in results:
        name = result.rule.removeprefix("budget.")
        format_figure = str if name == "files" else format_size
        cells.append(
            [
                f"budget {name}",
                format_figure(result.actual),
                f"of {format_figure(result.maximum)}",
                format_share(result.actual, result.maximum),
                LIMIT_VERDICTS[result.state],
                result.message if result.state is RuleState.SKIPPED else _describe_room(result),
            ]
        )
    return "\n" + "\n".join(align_columns(cells, frozenset({0, 4, 5}))) + "\n"


LIMIT_VERDICTS = {
    RuleState.PASSED: "ok",
    RuleState.FAILED: "OVER",
    RuleState.WAIVED: "waived",
    RuleState.SKIPPED: "not judged:",
}


def _describe_room(result: BudgetResult) -> str:
    """A bar within a limit; beyond it, by how much, since two sizes may look the same."""
    if result.state is not RuleState.FAILED:
        return format_bar(result.actual, result.maximum)
    unit = "" if result.rule == "budget.files" else "bytes "
    return f"{result.actual - result.maximum:,} {unit}too many"


def render_possible_dlopens(dlopens: Mapping[RootPath, tuple[str, ...]], width: int = 0) -> str:
    """Libraries that a file may load by name at run time; listed, never added."""
    if not dlopens:
        return ""
    lines = [
        "",
        "Possible dlopens without a note, not in the image (name them in keep: if needed):",
    ]
    lines += [
        f"  {escape_line(path)}: {escape_line(', '.join(names))}" for path, names in dlopens.items()
    ]
    return _wrap_lines(lines, width)


def _wrap_lines(lines: Sequence[str], width: int) -> str:
    broken = [part for line in lines for part in wrap_line(line, width) or [""]]
    return "\n".join(broken) + "\n"


def render_warnings(cautions: Sequence[ScriptWarning], width: int = 0) -> str:
    """What may be wrong in files of the image, a line for each."""
    if not cautions:
        return ""
    lines = [escape_line(f"{one.path}:{one.line}: {one.what}") for one in cautions]
    head = "Warnings (allow-missing: waives them):"
    return _wrap_lines(["", head, *(f"  {line}" for line in lines)], width)


def render_possible_data(
    candidates: Sequence[OptionalFile], missed: Collection[str] | None = None, width: int = 0
) -> str:
    """Files that rules know of for a chosen one, or that its text names; listed, never added.

    `missed`: paths that a traced boot asked for and did not find, which confirms or removes those
    that texts name; None without a traced boot.
    """
    lines = []
    removed = 0
    for candidate in candidates:
        because = f": {candidate.because}" if candidate.because else ""
        if candidate.priority == STRING_PRIORITY and missed is not None:
            if not _is_missed(candidate.wanted, missed):
                removed += 1
                continue
            because += "; a traced boot asked for it"
        lines.append(
            escape_line(f"  {candidate.by}: {candidate.wanted} ({candidate.priority}){because}")
        )
    if removed:
        lines.append(f"  [{removed} more that texts name, and that no traced boot has asked for]")
    if not lines:
        return ""
    head = "Files that may be of use, not in the image (keep: them, or ask with data: or paths:):"
    return _wrap_lines([*dict.fromkeys(["", head, *lines])], width)


def render_named_paths(candidates: Sequence[OptionalFile]) -> str:
    """How many paths that texts name are not in the image, in a line; "" for none."""
    count = len({one.wanted for one in candidates if one.priority == STRING_PRIORITY})
    if not count:
        return ""
    paths = "path that a file names is" if count == 1 else "paths that files name are"
    return f"\n{count} {paths} not in the image: minbuild plan lists them\n"


def _is_missed(candidate: str, missed: Collection[str]) -> bool:
    return any(path == candidate or path.startswith(f"{candidate}/") for path in missed)


def _render_head(footprint: Footprint) -> str:
    parts = [footprint.name, footprint.arch]
    parts += [f"Linux {footprint.kernel}"] if footprint.kernel else []
    parts += [f"from {', '.join(footprint.suites)}"] if footprint.suites else []
    return escape_line("  ".join(part for part in parts if part))


def _render_totals(footprint: Footprint, width: int) -> str:
    totals = footprint.totals
    packed = "packed" if footprint.packed else "packed (est)"
    rows = [
        ["", "this host", "MinWin*", "of MinWin", ""],
        _compare_row("files", totals.files, footprint_formats.MINWIN_FILES, str),
        _compare_row(packed, totals.packed, footprint_formats.MINWIN_PACKED, format_size),
        ["installed", format_size(totals.bytes), "", "", ""],
    ]
    notes = [f"{totals.links} links and {totals.directories} directories beside the files."]
    repeated = find_duplicates(footprint)
    if repeated.contents:
        notes.append(
            f"{repeated.contents} contents stand there more than once: {format_size(repeated.bytes)}."
        )
    notes.append(footprint_formats.MINWIN_NOTE)
    note_lines = [part for note in notes for part in wrap_line(note, width)]
    return "\n".join([*align_columns(rows, frozenset({0, 4})), "", *note_lines])


def _compare_row(name: str, ours: int, theirs: int, show: Callable[[int], str]) -> list[str]:
    if ours > 10 * theirs:  # a distribution's root, which is no smallest host
        return [name, show(ours), show(theirs), "", ""]
    return [name, show(ours), show(theirs), format_share(ours, theirs), format_bar(ours, theirs)]


def _render_table(
    summary: SummaryTable, *, title: str = "", limit: int = 0, width: int = 0
) -> list[str]:
    """One row for each line and a last one with their sum.

    `limit`: packed bytes that the budget allows, of which each row has a share; 0 for none.
    In a terminal of `width` columns first the bars are shorter, then the names.
    """
    longest, cells = next(
        (longest, cells)
        for longest in BAR_WIDTHS
        for cells in [_make_cells(summary, title, limit, longest)]
        if not longest or _has_room_for_names(cells, width)
    )
    right = frozenset({0, len(cells[0]) - 1}) if longest else frozenset({0})
    return align_columns(cells, right, width=width)


def _has_room_for_names(cells: list[list[str]], width: int) -> bool:
    names = max(len(row[0]) for row in cells)
    return not width or measure_table(cells) - width <= max(0, names - MIN_NAMES)


def _make_cells(summary: SummaryTable, title: str, limit: int, longest: int) -> list[list[str]]:
    """The cells of a table, with bars of at most `longest` columns; 0: without bars."""
    has_added = any(line.added is not None for line in summary.rows)
    head = [title or summary.by, "files", "installed", "packed est"]
    last = [""] if longest else []
    cells = [[*head, *(["added"] if has_added else []), *(["of budget"] if limit else []), *last]]
    for line in (*summary.rows, summary.total):
        bar_total = 0 if line is summary.total and not limit else limit or summary.total.packed
        drawn = [format_bar(line.packed, bar_total, longest)] if longest else []
        added = [] if not has_added else ["" if line.added is None else format_size(line.added)]
        part = [format_share(line.packed, limit)] if limit else []
        cells.append([*_render_cells(line), *added, *part, *drawn])
    return cells


def _render_cells(line: TableRow) -> list[str]:
    return [
        escape_line(line.name),
        str(line.files),
        format_size(line.bytes),
        format_size(line.packed),
    ]


def _render_categories(footprint: Footprint) -> str:
    cells = [["MinWin's categories", "files", "installed", "packed est"]]
    cells += [_render_cells(line) for line in sum_by_category(footprint)]
    totals = footprint.totals
    label = "every file, and the image"
    cells.append([label, str(totals.files), format_size(totals.bytes), format_size(totals.packed)])
    cells.append(
        [
            "MinWin*",
            str(footprint_formats.MINWIN_FILES),
            "",
            format_size(footprint_formats.MINWIN_PACKED),
        ]
    )
    return "\n".join(align_columns(cells))


def _render_surface(footprint: Footprint, width: int) -> str:
    if footprint.surface is None:
        return "attack surface  not evaluated: this footprint was written without it"
    debian = load_debian_baseline()
    cells = [["attack surface", "this host", "plain Debian*", ""]]
    cells += [
        [name, count, debian.count(kind), escape_line(some)]
        for kind, name, count, some in surface.list_surface_rows(footprint.surface)
    ]
    return "\n".join(
        [
            *layout_lines(cells, frozenset({0, 3}), width=width),
            "",
            *wrap_line(debian.note, width),
            *_render_prices(footprint.surface, width),
        ]
    )


def _render_prices(attack_surface: Surface, width: int) -> list[str]:
    rows = surface.list_prices(attack_surface)
    if not rows:
        return []
    cells = [["recommended kernel settings", "what is there", "and what it would cost"]]
    cells += [[escape_line(cell) for cell in row] for row in rows]
    return ["", *layout_lines(cells, frozenset({0, 1, 2}), width=width, sentences=2)]
