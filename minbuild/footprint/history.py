"""Totals of past builds: one JSON line each."""

import json
from dataclasses import asdict, dataclass

from minbuild.errors import UsageError
from minbuild.escape import escape_json
from minbuild.footprint.model import Footprint

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
