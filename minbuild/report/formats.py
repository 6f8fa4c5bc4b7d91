"""The formats of a report: one function each."""

import csv
import io
from collections.abc import Callable, Mapping

from minbuild.escape import escape_csv as csv_text
from minbuild.escape import quote_dot
from minbuild.footprint import document
from minbuild.footprint.budget_check import check_embedded_limits
from minbuild.footprint.model import Footprint
from minbuild.report import baselines, budget_results, html, markdown, surface, text
from minbuild.report.baselines import load_debian_baseline
from minbuild.report.layout import format_share, format_size
from minbuild.report.tables import SummaryTable, TableRow, build_table


def render_markdown(footprint: Footprint, *, by: str, sort: str, top: int) -> str:
    """A page for a job summary: headline, totals, and folded tables."""
    totals = footprint.totals
    head = ["", "this host", "MinWin\\*", "of MinWin"]
    files, packed = str(totals.files), format_size(totals.packed)
    body = [
        [
            "files",
            files,
            str(baselines.MINWIN_FILES),
            format_share(totals.files, baselines.MINWIN_FILES),
        ],
        [
            "packed",
            packed,
            format_size(baselines.MINWIN_PACKED),
            format_share(totals.packed, baselines.MINWIN_PACKED),
        ],
        ["installed", format_size(totals.bytes), "", ""],
    ]
    lines = [
        f"### {markdown.escape_markdown(footprint.name)}: {totals.files} files, {packed} packed",
        "",
        *markdown.render_rows(head, body, right=3),
        "",
    ]
    owners = build_table(footprint, by=by, sort=sort, top=top)
    largest = build_table(footprint, by="file", sort=sort, top=top)
    parts = [_make_table(f"By {by}", owners), _make_table("Largest files", largest)]
    attack_surface = footprint.surface
    if attack_surface is not None:
        counts = [
            [
                markdown.escape_markdown(name),
                count,
                load_debian_baseline().count(kind),
                markdown.escape_markdown(some),
            ]
            for kind, name, count, some in surface.list_surface_rows(attack_surface)
        ]
        head = ["what", "this host", "plain Debian\\*\\*", ""]
        parts.append(("Attack surface", head, counts, 0))
        if prices := surface.list_prices(attack_surface):
            head = ["recommended kernel setting", "what is there", "what it would cost"]
            rows = [[markdown.escape_markdown(cell) for cell in row] for row in prices]
            parts.append(("Recommended kernel settings", head, rows, 0))
    lines += markdown.fit_tables(parts)
    notes = [baselines.MINWIN_NOTE.replace("*", "\\*", 1)]
    if attack_surface is not None:
        notes += ["", load_debian_baseline().note.replace("*", "\\*\\*", 1)]
    return markdown.render_page([*lines, *notes])


def _make_table(title: str, summary: SummaryTable) -> tuple[str, list[str], list[list[str]], int]:
    head = [summary.by, "files", "installed", "packed (est)", "added"]
    return title, head, [_render_cells(line) for line in (*summary.rows, summary.total)], 4


def _render_cells(line: TableRow) -> list[str]:
    added = "" if line.added is None else format_size(line.added)
    return [
        markdown.format_code(line.name),
        str(line.files),
        format_size(line.bytes),
        format_size(line.packed),
        added,
    ]


def render_csv(footprint: Footprint, *, by: str, sort: str, top: int) -> str:
    """One row for each line and one for the total; sizes in bytes. Source: RFC 4180."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([by, "files", "bytes", "packed_est", "added"])
    summary = build_table(footprint, by=by, sort=sort, top=top)
    for line in (*summary.rows, summary.total):
        added = "" if line.added is None else line.added
        writer.writerow([csv_text(line.name), line.files, line.bytes, line.packed, added])
    return out.getvalue()


def render_dot(footprint: Footprint) -> str:
    """The needs between components and files, for Graphviz; directories are left out."""
    rows: Mapping[str, int] = {row.path: row.size for row in footprint.files if row.type == "file"}
    lines = ["digraph needs {", "  rankdir=LR;", "  node [shape=box, fontname=sans];"]
    names = {need.needed_by for need in footprint.edges} | {
        str(need.path) for need in footprint.edges
    }
    nodes = sorted(name for name in names if name in rows or not name.startswith("/"))
    for name in nodes:
        label = f"{name}\\n{format_size(rows[name])}" if name in rows else name
        style = "" if name in rows else ", style=filled, fillcolor=lightgrey"
        lines.append(f"  {quote_dot(name)} [label={quote_dot(label)}{style}];")
    known_nodes = set(nodes)
    lines += sorted(
        {
            f"  {quote_dot(need.needed_by)} -> {quote_dot(need.path)} [label={quote_dot(str(need.kind))}];"
            for need in footprint.edges
            if need.needed_by in known_nodes and need.path in known_nodes
        }
    )
    return "\n".join([*lines, "}"]) + "\n"


Renderer = Callable[[], str]


def list_renderers(
    footprint: Footprint,
    baseline: Footprint | None,
    *,
    by: str,
    sort: str,
    top: int,
    width: int = 0,
) -> Mapping[str, Renderer]:
    """Each format's name and how it is rendered; text for a terminal of `width` columns."""
    return {
        "text": lambda: text.render_text(
            footprint, top=top, by=by, sort=sort, full=True, width=width
        ),
        "md": lambda: render_markdown(footprint, by=by, sort=sort, top=top),
        "json": lambda: document.render_footprint(footprint),
        "csv": lambda: render_csv(footprint, by=by, sort=sort, top=top),
        "html": lambda: html.render_html(footprint, baseline),
        "junit": lambda: budget_results.render_results_junit(check_embedded_limits(footprint)),
        "sarif": lambda: budget_results.render_results_sarif(check_embedded_limits(footprint)),
        "dot": lambda: render_dot(footprint),
    }
