"""Totals of past builds, one JSON line each, and their trend: sparklines for a terminal, charts for
a browser."""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from minbuild.errors import UsageError
from minbuild.escape import escape_json
from minbuild.footprint.model import Footprint
from minbuild.report.layout import align_columns, escape_line, format_size

MEASURES = ("files", "bytes", "packed")
MAX_NUMBER = 1 << 53
"""Integers from here on are not exact in JSON. Source: RFC 8259, 6."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The totals of one build."""

    label: str
    """Name given by the user: a commit, a date."""
    name: str
    kernel: str
    files: int
    bytes: int
    packed: int


def make_point(footprint: Footprint, label: str) -> HistoryPoint:
    """The totals of a footprint under a label."""
    totals = footprint.totals
    return HistoryPoint(
        label, footprint.name, footprint.kernel, totals.files, totals.bytes, totals.packed
    )


def point_to_json(entry: HistoryPoint) -> str:
    """A point as one line of JSON, keys sorted."""
    return escape_json(json.dumps(asdict(entry), sort_keys=True, ensure_ascii=False)) + "\n"


def read_history(text: str, where: str) -> tuple[HistoryPoint, ...]:
    """Read a history, oldest first.

    Raises: UsageError that names the first bad line.
    """
    points = []
    rows = text.removesuffix("\n").split("\n") if text else []  # a label may hold U+2028
    for number, row in enumerate(rows, 1):
        try:
            entry = _parse_point(json.loads(row))
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(
                f"not a line of a history: {error}", where=f"{where}:{number}",
                fix="restore the file from your version control",
            ) from error  # fmt: skip
        points.append(entry)
    return tuple(points)


def _parse_point(document: object) -> HistoryPoint:
    """Parse one line. Raises: TypeError or ValueError."""
    if not isinstance(document, dict):
        raise TypeError("it is not an object")
    entry = HistoryPoint(**document)
    for name in MEASURES:
        value = getattr(entry, name)
        if type(value) is not int or not 0 <= value < MAX_NUMBER:
            raise ValueError(f"{name} is not a number from 0 to {MAX_NUMBER - 1}")
    for name in ("label", "name", "kernel"):
        if not isinstance(getattr(entry, name), str):
            raise TypeError(f"{name} is not text")
    return entry


SPARK_BARS = "▁▂▃▄▅▆▇█"
WIDTH, HEIGHT, EDGE = 760, 180, 24


def draw_sparkline(values: Sequence[int]) -> str:
    """Draw values as a row of bars between the smallest and the largest."""
    low, high = min(values, default=0), max(values, default=0)
    top = len(SPARK_BARS) - 1
    return "".join(SPARK_BARS[(v - low) * top // (high - low) if high > low else 0] for v in values)


def render_history(points: Sequence[HistoryPoint], *, last: int = 60) -> str:
    """A line for each measure with its trend, then the builds, newest last."""
    if not points:
        return "no builds yet\n"
    recent = points[-last:]
    trend = []
    for name in MEASURES:
        values = [getattr(one, name) for one in recent]
        format_value = str if name == "files" else format_size
        trend.append(
            [name, draw_sparkline(values), format_value(values[0]), "->", format_value(values[-1])]
        )
    cells = [["build", "files", "installed", "packed"]]
    cells += [
        [escape_line(p.label), str(p.files), format_size(p.bytes), format_size(p.packed)]
        for p in recent
    ]
    return "\n".join([*align_columns(trend, frozenset({0, 1})), "", *align_columns(cells)]) + "\n"


def render_history_html(points: Sequence[HistoryPoint]) -> str:
    """A page with one chart for each measure: drawn as SVG, without script or network."""
    title = html.escape(escape_line(points[-1].name)) if points else "history"
    charts = "".join(f"<h2>{name}</h2>{_draw_chart(points, name)}" for name in MEASURES)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
        f"<title>{title}: history</title></head><body><h1>{title}</h1>{charts}</body></html>\n"
    )


def _draw_chart(points: Sequence[HistoryPoint], name: str) -> str:
    values: list[int] = [getattr(one, name) for one in points]
    low, high = min(values, default=0), max(values, default=0)
    span = max(1, high - low)
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    coordinates = [
        (EDGE + n * step, HEIGHT - EDGE - (v - low) * (HEIGHT - 2 * EDGE) / span)
        for n, v in enumerate(values)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in coordinates)
    format_value = str if name == "files" else format_size
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0072b2"><title>'
        f"{html.escape(escape_line(p.label))}: {format_value(v)}</title></circle>"
        for (x, y), p, v in zip(coordinates, points, values, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{name}">'
        f'<text x="2" y="14" font-size="12">{format_value(high)}</text>'
        f'<text x="2" y="{HEIGHT - 4}" font-size="12">{format_value(low)}</text>'
        f'<polyline points="{path}" fill="none" stroke="#0072b2" stroke-width="2"/>{dots}</svg>'
    )
