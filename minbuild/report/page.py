"""A footprint in every format that `minbuild report` writes, but for HTML and the terminal."""

import csv
import io
from collections.abc import Mapping

from minbuild.escape import csv as csv_text
from minbuild.escape import dot
from minbuild.footprint.types import Footprint
from minbuild.report import markdown, minwin, surface
from minbuild.report.lines import Line, Table, table
from minbuild.report.plain import plain
from minbuild.report.units import share, size


def as_markdown(footprint: Footprint, *, by: str, sort: str, top: int) -> str:
    """A page for a job summary: headline, totals, and folded tables."""
    totals = footprint.totals
    head = ["", "this host", "MinWin\\*", "of MinWin"]
    files, packed = str(totals.files), size(totals.packed)
    body = [
        ["files", files, str(minwin.FILES), share(totals.files, minwin.FILES)],
        ["packed", packed, size(minwin.PACKED), share(totals.packed, minwin.PACKED)],
        ["installed", size(totals.bytes), "", ""],
    ]
    lines = [
        f"### {markdown.cell(footprint.name)}: {totals.files} files, {packed} packed",
        "",
        *markdown.rows(head, body, right=3),
        "",
    ]
    owners = table(footprint, by=by, sort=sort, top=top)
    largest = table(footprint, by="file", sort=sort, top=top)
    parts = [_part(f"By {by}", owners), _part("Largest files", largest)]
    found = footprint.surface
    if found is not None:
        counts = [
            [markdown.cell(name), count, plain().count(kind), markdown.cell(some)]
            for kind, name, count, some in surface.rows(found)
        ]
        head = ["what", "this host", "plain Debian\\*\\*", ""]
        parts.append(("Attack surface", head, counts, 0))
        if prices := surface.prices(found):
            head = ["recommended kernel setting", "what is there", "what it would cost"]
            rows = [[markdown.cell(cell) for cell in row] for row in prices]
            parts.append(("Recommended kernel settings", head, rows, 0))
    lines += markdown.fitting(parts)
    notes = [minwin.NOTE.replace("*", "\\*", 1)]
    if found is not None:
        notes += ["", plain().note.replace("*", "\\*\\*", 1)]
    return markdown.page([*lines, *notes])


def _part(title: str, found: Table) -> tuple[str, list[str], list[list[str]], int]:
    head = [found.by, "files", "installed", "packed (est)", "added"]
    return title, head, [_cells(line) for line in (*found.lines, found.total)], 4


def _cells(line: Line) -> list[str]:
    added = "" if line.added is None else size(line.added)
    return [markdown.code(line.name), str(line.files), size(line.bytes), size(line.packed), added]


def as_csv(footprint: Footprint, *, by: str, sort: str, top: int) -> str:
    """One row for each line and one for the total; sizes in bytes. Source: RFC 4180."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([by, "files", "bytes", "packed_est", "added"])
    found = table(footprint, by=by, sort=sort, top=top)
    for line in (*found.lines, found.total):
        added = "" if line.added is None else line.added
        writer.writerow([csv_text(line.name), line.files, line.bytes, line.packed, added])
    return out.getvalue()


def as_dot(footprint: Footprint) -> str:
    """The needs between components and files, for Graphviz; directories are left out."""
    rows: Mapping[str, int] = {row.path: row.size for row in footprint.files if row.type == "file"}
    lines = ["digraph needs {", "  rankdir=LR;", "  node [shape=box, fontname=sans];"]
    names = {need.by for need in footprint.edges} | {str(need.path) for need in footprint.edges}
    kept = sorted(name for name in names if name in rows or not name.startswith("/"))
    for name in kept:
        label = f"{name}\\n{size(rows[name])}" if name in rows else name
        style = "" if name in rows else ", style=filled, fillcolor=lightgrey"
        lines.append(f"  {dot(name)} [label={dot(label)}{style}];")
    known = set(kept)
    lines += sorted(
        {
            f"  {dot(need.by)} -> {dot(need.path)} [label={dot(str(need.kind))}];"
            for need in footprint.edges
            if need.by in known and need.path in known
        }
    )
    return "\n".join([*lines, "}"]) + "\n"
