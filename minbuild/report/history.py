"""The footprints of past builds: one JSON line each, a sparkline, a chart."""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from minbuild.errors import UsageError
from minbuild.escape import json_safe
from minbuild.footprint.types import Footprint
from minbuild.report.fit import columns
from minbuild.report.units import printable, size

SPARKS = "▁▂▃▄▅▆▇█"
MEASURES = ("files", "bytes", "packed")
WIDTH, HEIGHT, EDGE = 760, 180, 24
MOST = 1 << 53
"""Numbers from here on are no exact numbers of JSON. Source: RFC 8259, 6."""


@dataclass(frozen=True, slots=True)
class Point:
    """One build."""

    label: str
    """What the caller calls it: a commit, a date."""
    name: str
    kernel: str
    files: int
    bytes: int
    packed: int


def point(footprint: Footprint, label: str) -> Point:
    """The totals of a footprint under a label."""
    totals = footprint.totals
    return Point(label, footprint.name, footprint.kernel, totals.files, totals.bytes, totals.packed)


def line(one: Point) -> str:
    """A point as one line of JSON, keys sorted."""
    return json_safe(json.dumps(asdict(one), sort_keys=True, ensure_ascii=False)) + "\n"


def read(text: str, where: str) -> tuple[Point, ...]:
    """Read a history, oldest first.

    Raises: UsageError that names the first bad line.
    """
    found = []
    rows = text.removesuffix("\n").split("\n") if text else []  # a label may hold U+2028
    for number, row in enumerate(rows, 1):
        try:
            one = _point(json.loads(row))
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(
                f"this is no line of a history: {error}", where=f"{where}:{number}",
                fix="restore the file from your version control",
            ) from error  # fmt: skip
        found.append(one)
    return tuple(found)


def _point(document: object) -> Point:
    """A point of one line. Raises: TypeError or ValueError for anything else."""
    if not isinstance(document, dict):
        raise TypeError("it is no object")
    one = Point(**document)
    for name in MEASURES:
        value = getattr(one, name)
        if type(value) is not int or not 0 <= value < MOST:
            raise ValueError(f"{name} is no number from 0 to {MOST - 1}")
    for name in ("label", "name", "kernel"):
        if not isinstance(getattr(one, name), str):
            raise TypeError(f"{name} is no text")
    return one


def sparkline(values: Sequence[int]) -> str:
    """Values as a row of bars between their least and greatest."""
    low, high = min(values, default=0), max(values, default=0)
    top = len(SPARKS) - 1
    return "".join(SPARKS[(v - low) * top // (high - low) if high > low else 0] for v in values)


def as_text(points: Sequence[Point], *, last: int = 60) -> str:
    """A line for each measure with its trend, then the builds, newest last."""
    if not points:
        return "no builds yet\n"
    shown = points[-last:]
    trend = []
    for name in MEASURES:
        values = [getattr(one, name) for one in shown]
        show = str if name == "files" else size
        trend.append([name, sparkline(values), show(values[0]), "->", show(values[-1])])
    cells = [["build", "files", "installed", "packed"]]
    cells += [[printable(p.label), str(p.files), size(p.bytes), size(p.packed)] for p in shown]
    return "\n".join([*columns(trend, frozenset({0, 1})), "", *columns(cells)]) + "\n"


def as_html(points: Sequence[Point]) -> str:
    """A page with one chart for each measure: drawn as SVG, without script or network."""
    title = html.escape(printable(points[-1].name)) if points else "history"
    charts = "".join(f"<h2>{name}</h2>{_chart(points, name)}" for name in MEASURES)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
        f"<title>{title}: history</title></head><body><h1>{title}</h1>{charts}</body></html>\n"
    )


def _chart(points: Sequence[Point], name: str) -> str:
    values: list[int] = [getattr(one, name) for one in points]
    low, high = min(values, default=0), max(values, default=0)
    span = max(1, high - low)
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    places = [
        (EDGE + n * step, HEIGHT - EDGE - (v - low) * (HEIGHT - 2 * EDGE) / span)
        for n, v in enumerate(values)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    show = str if name == "files" else size
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0072b2"><title>'
        f"{html.escape(printable(p.label))}: {show(v)}</title></circle>"
        for (x, y), p, v in zip(places, points, values, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{name}">'
        f'<text x="2" y="14" font-size="12">{show(high)}</text>'
        f'<text x="2" y="{HEIGHT - 4}" font-size="12">{show(low)}</text>'
        f'<polyline points="{path}" fill="none" stroke="#0072b2" stroke-width="2"/>{dots}</svg>'
    )
