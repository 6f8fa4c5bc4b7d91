"""Footprint as one HTML file that uses no network and runs only its own script."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from minbuild.escape import dump_json, escape_markup
from minbuild.explain.size_tables import TableRow, build_table
from minbuild.explain.weights import find_added_bytes
from minbuild.footprint.change_groups import CHANGE_TITLES
from minbuild.footprint.comparison import (
    FootprintDiff,
    PathChange,
    compare_footprints,
    find_first_needs,
)
from minbuild.footprint.model import FileRow, Footprint, Surface
from minbuild.report import surface
from minbuild.report.diff import format_signed
from minbuild.report.footprint_formats import load_debian_baseline
from minbuild.report.html_changes import render_changes
from minbuild.report.layout import escape_line, format_size

ASSETS = Path(__file__).parent / "assets"
MAX_FILES = 50
"""Files that a reader without script sees."""
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")


def render_html(footprint: Footprint, baseline: Footprint | None = None) -> str:
    """Render a footprint; with a baseline the page opens with what has changed since."""
    diff = compare_footprints(baseline, footprint) if baseline is not None else None
    style, script = (
        (ASSETS / "page.css").read_text("utf-8"),
        (ASSETS / "page.js").read_text("utf-8"),
    )
    largest = build_table(footprint, by="file", top=MAX_FILES)
    owners = {str(row.path): row.component for row in footprint.files}
    parts = {
        "TITLE": _escape(f"{footprint.name}: {'what changed' if diff else 'footprint'}"),
        "CHANGES": render_changes(diff) if diff is not None else "",
        "NAME": _escape(footprint.name),
        "ABOUT": _escape(_describe_image(footprint)),
        "TOTALS": _render_totals(footprint, baseline),
        "ROWS": "".join(_render_row(line, owners) for line in largest.rows),
        "SHOWN": str(min(MAX_FILES, footprint.totals.files)),
        "SURFACE": _render_surface(footprint),
        "DATA": _render_data(footprint, diff),
        "STYLE": style,
        "STYLE_HASH": _hash_source(style),
        "SCRIPT": script,
        "SCRIPT_HASH": _hash_source(script),
    }
    template = (ASSETS / "page.html").read_text("utf-8")
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], template)


def _escape(text: str) -> str:
    return escape_markup(text)


def _hash_source(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _describe_image(footprint: Footprint) -> str:
    parts = [footprint.arch]
    parts += [f"Linux {footprint.kernel}"] if footprint.kernel else []
    parts += [f"from {', '.join(footprint.suites)}"] if footprint.suites else []
    return " · ".join(part for part in parts if part)


def _render_totals(footprint: Footprint, baseline: Footprint | None) -> str:
    totals, totals_before = footprint.totals, baseline.totals if baseline else None
    cells = [
        (
            "files",
            f"{totals.files}",
            f"{totals.files - totals_before.files:+d}" if totals_before else "",
        ),
        (
            "installed",
            format_size(totals.bytes),
            format_signed(totals.bytes - totals_before.bytes) if totals_before else "",
        ),
        (
            "packed",
            format_size(totals.packed),
            format_signed(totals.packed - totals_before.packed) if totals_before else "",
        ),
        ("links", str(totals.links), ""),
        ("directories", str(totals.directories), ""),
    ]
    return "".join(
        f"<li><b>{value}</b><span>{name}{f' ({change})' if change else ''}</span></li>"
        for name, value, change in cells
    )


def _render_row(line: TableRow, owners: Mapping[str, str]) -> str:
    return (
        f'<tr><td class="path">{_escape(line.name)}</td><td>{_escape(owners.get(line.name, ""))}</td>'
        f'<td class="n">{format_size(line.bytes)}</td><td class="n">{format_size(line.packed)}</td></tr>'
    )


def _render_surface(footprint: Footprint) -> str:
    if footprint.surface is None:
        return ""
    debian = load_debian_baseline()
    rows = "".join(
        f'<tr><th scope="row">{_escape(name)}</th><td class="n">{_escape(count)}</td>'
        f'<td class="n">{_escape(debian.count(kind))}</td><td>{_escape(some)}</td></tr>'
        for kind, name, count, some in surface.list_surface_rows(footprint.surface)
    )
    return (
        '<section id="surface"><h2>Attack surface</h2><div class="scroll"><table>'
        '<thead><tr><th scope="col">what</th><th scope="col" class="n">this host</th>'
        '<th scope="col" class="n">plain Debian*</th><th scope="col">which</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>{_escape(debian.note)}</p>"
        f"{_render_prices(footprint.surface)}</section>"
    )


def _render_prices(attack_surface: Surface) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_escape(name)}</th><td>{_escape(current)}</td><td>{_escape(cost)}</td></tr>'
        for name, current, cost in surface.list_prices(attack_surface)
    )
    head = '<thead><tr><th scope="col">recommended kernel setting</th><th scope="col">what is there</th><th scope="col">what it would cost</th></tr></thead>'
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>' if rows else ""


def _render_data(footprint: Footprint, diff: FootprintDiff | None) -> str:
    """The data of the script; no text in it can end its element."""
    added_bytes = find_added_bytes(footprint)
    changes = {one.path: one for one in diff.differences} if diff is not None else {}
    rows = [
        _make_entry(row, added_bytes.get(row.path), changes.get(row.path))
        for row in footprint.files
        if row.type == "file"
    ]
    rows += [
        [
            *_make_entry(row, None, change)[:4],
            0,
            0,
            None,
            change.bytes,
            CHANGE_TITLES[change.change],
        ]
        for change in changes.values()
        if change.after is None and (row := change.before) is not None and row.type == "file"
    ]
    needs = {
        escape_line(path): [escape_line(need.needed_by), str(need.kind), escape_line(need.evidence)]
        for path, need in sorted(find_first_needs(footprint.edges).items())
    }
    document = {
        "name": escape_line(footprint.name), "compared": diff is not None, "rows": rows, "needs": needs
    }  # fmt: skip
    text = dump_json(document, indent=None).rstrip("\n")
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _make_entry(row: FileRow, weight: int | None, change: PathChange | None) -> list[object]:
    return [
        escape_line(row.path), escape_line(row.component), escape_line(row.section),
        escape_line(row.package), row.size, row.packed, weight,
        change.bytes if change else 0, CHANGE_TITLES[change.change] if change else "",
    ]  # fmt: skip
