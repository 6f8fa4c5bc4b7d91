"""Footprint as Markdown, CSV and a Graphviz graph, and the figures that it is compared with: MinWin
and a plain Debian host.

Source: press reports of a leaked build of Windows 8, September 2010 (161 files, about 20 MB).
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minbuild.escape import escape_csv as csv_text
from minbuild.escape import quote_dot
from minbuild.explain.size_tables import SummaryTable, TableRow, build_table
from minbuild.footprint.model import FindingKind, Footprint, Surface, Totals
from minbuild.report import layout, surface
from minbuild.report.layout import format_share, format_size

MINWIN_FILES = 161
MINWIN_PACKED = 20_000_000
"""Windows 8's MinWin as the press reported it; not a figure of Microsoft's."""
MINWIN_NOTE = "* reported by the press of a leaked build of Windows 8: 161 files, about 20 MB"

DEBIAN_DATA = Path(__file__).parent / "assets" / "plain.json"
DEBIAN_SCHEMA = "minbuild.plain/1"


@dataclass(frozen=True, slots=True)
class DebianBaseline:
    """A plain Debian host, measured."""

    made_by: str
    package_count: int
    files: int
    bytes: int
    surface: dict[str, int]
    """Kind of finding → how many; a kind that cannot be measured is missing."""

    @property
    def note(self) -> str:
        """A line that explains the column."""
        return (
            f"* Debian's base system with host.yaml's packages: {self.package_count} packages, "
            f"{self.files} files, {format_size(self.bytes)} (benchmarks/surface.py)"
        )

    def count(self, kind: FindingKind) -> str:
        """How many findings of a kind; "" for a kind that was not measured."""
        return str(self.surface.get(kind, ""))


@cache
def load_debian_baseline() -> DebianBaseline:
    """The measured figures."""
    document = json.loads(DEBIAN_DATA.read_text("utf-8"))
    return DebianBaseline(
        document["made_by"],
        document["installed"],
        document["files"],
        document["bytes"],
        document["surface"],
    )


def render_markdown(footprint: Footprint, *, by: str, sort: str, top: int) -> str:
    """A page for a job summary: headline, totals, and folded tables."""
    totals = footprint.totals
    packed = format_size(totals.packed)
    lines = [
        f"### {layout.escape_markdown(footprint.name)}: {totals.files} files, {packed} packed",
        "",
        *layout.render_rows(
            ["", "this host", "MinWin\\*", "of MinWin"], _list_totals(totals), right=3
        ),
        "",
    ]
    owners = build_table(footprint, by=by, sort=sort, top=top)
    largest = build_table(footprint, by="file", sort=sort, top=top)
    parts = [_make_table(f"By {by}", owners), _make_table("Largest files", largest)]
    notes = [MINWIN_NOTE.replace("*", "\\*", 1)]
    if footprint.surface is not None:
        parts += _list_surface_tables(footprint.surface)
        notes += ["", load_debian_baseline().note.replace("*", "\\*\\*", 1)]
    lines += layout.fit_tables(parts)
    return layout.render_page([*lines, *notes])


def _list_totals(totals: Totals) -> list[list[str]]:
    """The rows of the headline's table, beside MinWin's figures."""
    return [
        [
            "files",
            str(totals.files),
            str(MINWIN_FILES),
            format_share(totals.files, MINWIN_FILES),
        ],
        [
            "packed",
            format_size(totals.packed),
            format_size(MINWIN_PACKED),
            format_share(totals.packed, MINWIN_PACKED),
        ],
        ["installed", format_size(totals.bytes), "", ""],
    ]


def _list_surface_tables(attack_surface: Surface) -> list[layout.FoldedTable]:
    """The attack surface beside plain Debian's, and the kernel settings that are not set."""
    counts = [
        [
            layout.escape_markdown(name),
            count,
            load_debian_baseline().count(kind),
            layout.escape_markdown(some),
        ]
        for kind, name, count, some in surface.list_surface_rows(attack_surface)
    ]
    head = ["what", "this host", "plain Debian\\*\\*", ""]
    tables: list[layout.FoldedTable] = [("Attack surface", head, counts, 0)]
    if prices := surface.list_prices(attack_surface):
        head = ["recommended kernel setting", "what is there", "what it would cost"]
        rows = [[layout.escape_markdown(cell) for cell in row] for row in prices]
        tables.append(("Recommended kernel settings", head, rows, 0))
    return tables


def _make_table(title: str, summary: SummaryTable) -> layout.FoldedTable:
    head = [summary.by, "files", "installed", "packed (est)", "added"]
    return title, head, [_render_cells(line) for line in (*summary.rows, summary.total)], 4


def _render_cells(line: TableRow) -> list[str]:
    added = "" if line.added is None else format_size(line.added)
    return [
        layout.format_code(line.name),
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
