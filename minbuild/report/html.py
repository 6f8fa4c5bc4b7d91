"""The footprint as one HTML file: no network, and nothing runs in it but its own script."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from minbuild.escape import dump, markup
from minbuild.footprint.diff import Difference, compare, first_needs
from minbuild.footprint.types import FileRow, Footprint, Surface
from minbuild.report import surface
from minbuild.report.diff import TITLES, signed
from minbuild.report.lines import Line, added, table
from minbuild.report.plain import plain
from minbuild.report.units import printable, size

ASSETS = Path(__file__).parent / "assets"
SHOWN = 50
"""Files that a reader without script sees."""
_MARK = re.compile(r"@([A-Z_]+)@")


def page(footprint: Footprint, baseline: Footprint | None = None) -> str:
    """Render a footprint; with a baseline also what has changed since."""
    style, script = (
        (ASSETS / "page.css").read_text("utf-8"),
        (ASSETS / "page.js").read_text("utf-8"),
    )
    largest = table(footprint, by="file", top=SHOWN)
    owners = {str(row.path): row.component for row in footprint.files}
    parts = {
        "TITLE": _safe(f"{footprint.name}: footprint"),
        "NAME": _safe(footprint.name),
        "ABOUT": _safe(_about(footprint)),
        "TOTALS": _totals(footprint, baseline),
        "ROWS": "".join(_row(line, owners) for line in largest.lines),
        "SHOWN": str(min(SHOWN, footprint.totals.files)),
        "SURFACE": _surface(footprint),
        "DATA": _data(footprint, baseline),
        "STYLE": style,
        "STYLE_HASH": _hash(style),
        "SCRIPT": script,
        "SCRIPT_HASH": _hash(script),
    }
    template = (ASSETS / "page.html").read_text("utf-8")
    return _MARK.sub(lambda found: parts[found[1]], template)


def _safe(text: str) -> str:
    return markup(text)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _about(footprint: Footprint) -> str:
    parts = [footprint.arch]
    parts += [f"Linux {footprint.kernel}"] if footprint.kernel else []
    parts += [f"from {', '.join(footprint.suites)}"] if footprint.suites else []
    return " · ".join(part for part in parts if part)


def _totals(footprint: Footprint, baseline: Footprint | None) -> str:
    new, old = footprint.totals, baseline.totals if baseline else None
    cells = [
        ("files", f"{new.files}", f"{new.files - old.files:+d}" if old else ""),
        ("installed", size(new.bytes), signed(new.bytes - old.bytes) if old else ""),
        ("packed", size(new.packed), signed(new.packed - old.packed) if old else ""),
        ("links", str(new.links), ""),
        ("directories", str(new.directories), ""),
    ]
    return "".join(
        f"<li><b>{value}</b><span>{name}{f' ({change})' if change else ''}</span></li>"
        for name, value, change in cells
    )


def _row(line: Line, owners: Mapping[str, str]) -> str:
    return (
        f'<tr><td class="path">{_safe(line.name)}</td><td>{_safe(owners.get(line.name, ""))}</td>'
        f'<td class="n">{size(line.bytes)}</td><td class="n">{size(line.packed)}</td></tr>'
    )


def _surface(footprint: Footprint) -> str:
    if footprint.surface is None:
        return ""
    debian = plain()
    rows = "".join(
        f'<tr><th scope="row">{_safe(name)}</th><td class="n">{_safe(count)}</td>'
        f'<td class="n">{_safe(debian.count(kind))}</td><td>{_safe(some)}</td></tr>'
        for kind, name, count, some in surface.rows(footprint.surface)
    )
    return (
        '<section id="surface"><h2>Attack surface</h2><div class="scroll"><table>'
        '<thead><tr><th scope="col">what</th><th scope="col" class="n">this host</th>'
        '<th scope="col" class="n">plain Debian*</th><th scope="col">which</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>{_safe(debian.note)}</p>"
        f"{_prices(footprint.surface)}</section>"
    )


def _prices(found: Surface) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_safe(name)}</th><td>{_safe(there)}</td><td>{_safe(cost)}</td></tr>'
        for name, there, cost in surface.prices(found)
    )
    head = '<thead><tr><th scope="col">recommended kernel setting</th><th scope="col">what is there</th><th scope="col">what it would cost</th></tr></thead>'
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>' if rows else ""


def _data(footprint: Footprint, baseline: Footprint | None) -> str:
    """What the script reads; no text in it can end the element that holds it."""
    known = added(footprint)
    changes = _changes(footprint, baseline)
    rows = [
        _entry(row, known.get(row.path), changes.get(row.path))
        for row in footprint.files
        if row.type == "file"
    ]
    rows += [
        [*_entry(row, None, one)[:4], 0, 0, None, one.bytes, TITLES[one.change]]
        for one in changes.values()
        if one.after is None and (row := one.before) is not None and row.type == "file"
    ]
    needs = {
        printable(path): [printable(need.by), str(need.kind), printable(need.evidence)]
        for path, need in sorted(first_needs(footprint.edges).items())
    }
    document = {
        "name": printable(footprint.name), "compared": baseline is not None, "rows": rows, "needs": needs
    }  # fmt: skip
    text = dump(document, indent=None).rstrip("\n")
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _changes(footprint: Footprint, baseline: Footprint | None) -> dict[str, Difference]:
    if baseline is None:
        return {}
    return {one.path: one for one in compare(baseline, footprint).differences}


def _entry(row: FileRow, weight: int | None, one: Difference | None) -> list[object]:
    return [
        printable(row.path), printable(row.component), printable(row.section),
        printable(row.package), row.size, row.packed, weight,
        one.bytes if one else 0, TITLES[one.change] if one else "",
    ]  # fmt: skip
