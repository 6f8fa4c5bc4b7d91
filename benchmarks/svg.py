"""A growth curve as a drawing, both axes logarithmic: a straight line at 45° is linear growth."""

from math import ceil, floor, log10
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from benchmarks.growth import Curve

WIDTH, HEIGHT = 640, 400
LEFT, TOP, RIGHT, BOTTOM = 70, 20, 170, 45
COLOURS = ("#0b6e99", "#b8461b", "#3b7a2a", "#7a3b8f")


def drawing(curve: "Curve") -> str:
    """The whole SVG file."""
    times = [max(time, 1e-4) for series in curve.series.values() for time in series]
    across = _decades(curve.sizes[0], curve.sizes[-1])
    up = _decades(min(times), max(times))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f"<title>Seconds by {escape(curve.unit)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for power in range(across[0], across[1] + 1):
        x = _x(10.0**power, across)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{10**power:,}", "middle"))
    for power in range(up[0], up[1] + 1):
        y = _y(10.0**power, up)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g} s", "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, curve.unit, "middle"))
    for number, (name, series) in enumerate(curve.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [
            f"{_x(size, across):.1f},{_y(max(time, 1e-4), up):.1f}"
            for size, time in zip(curve.sizes, series, strict=True)
        ]
        parts.append(
            f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(_text(WIDTH - RIGHT + 10, TOP + 14 + 18 * number, name, "start", colour))
    return "\n".join([*parts, "</svg>\n"])


def _decades(least: float, most: float) -> tuple[int, int]:
    first = floor(log10(least))
    return first, max(ceil(log10(most)), first + 1)


def _x(value: float, across: tuple[int, int]) -> float:
    return LEFT + (log10(value) - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, up: tuple[int, int]) -> float:
    return HEIGHT - BOTTOM - (log10(value) - up[0]) / (up[1] - up[0]) * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
