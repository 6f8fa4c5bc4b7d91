"""What a footprint's tables say: one line for each owner, sorted, cut, and still summing up."""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from minbuild.footprint.measure import weight
from minbuild.footprint.types import DISK, OVERHEAD, UNOWNED, FileRow, Footprint
from minbuild.resolve.weight import Graph

MADE = "[made by minbuild]"
NO_PACKAGE = "[in no package]"
"""Of files in an image that no manifest is known for."""
SPARE = {OVERHEAD: "[boot stub, headers and padding]", DISK: "[partitions and free space]"}


def is_spare(name: str) -> bool:
    """Tell the rows of what belongs to no file: `image`, `disk`, and parts of them by name."""
    return name in SPARE or name.startswith((f"{OVERHEAD} ", f"{DISK} "))


@dataclass(frozen=True, slots=True)
class Line:
    """What one owner weighs."""

    name: str
    files: int
    bytes: int
    packed: int
    """Estimated, but for the kernel and for what belongs to no file."""
    added: int | None = None
    """Bytes that would go if this went; None where no needs are known."""


@dataclass(frozen=True, slots=True)
class Table:
    """Lines that sum to `total`, whatever was cut."""

    by: str
    lines: tuple[Line, ...]
    total: Line


SORTS: Mapping[str, Callable[[Line], tuple[object, ...]]] = {
    "bytes": lambda line: (-line.bytes, -line.packed, line.name),
    "packed": lambda line: (-line.packed, -line.bytes, line.name),
    "added": lambda line: (-(line.added or 0), -line.bytes, line.name),
    "files": lambda line: (-line.files, -line.bytes, line.name),
    "name": lambda line: (line.name,),
}
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("kernel", re.compile(r"/boot/vmlinu[xz].*")),
    ("kernel module", re.compile(r"/usr/lib/modules/.*\.ko(\.xz|\.zst|\.gz)?")),
    ("module index", re.compile(r"/usr/lib/modules/.*")),
    ("firmware", re.compile(r"/usr/lib/firmware/.*|/usr/share/(qemu|seabios|OVMF)/.*")),
    ("library", re.compile(r".*/[^/]+\.so(\.[0-9][^/]*)?")),
    ("program", re.compile(r".*/s?bin/[^/]+|/init|/usr/libexec/.*")),
    ("configuration", re.compile(r"/etc/.*")),
    ("documentation", re.compile(r"/usr/share/(doc|man|info|locale)/.*")),
    ("script", re.compile(r".*\.(sh|py|pl)|/usr/lib/minbuild/.*")),
)
"""Kind of file by its path; the first that matches."""


def kind(row: FileRow) -> str:
    """What sort of file a path is."""
    return next((name for name, pattern in KINDS if pattern.fullmatch(row.path)), "other data")


OWNERS: Mapping[str, Callable[[FileRow], str]] = {
    "section": lambda row: row.section,
    "component": lambda row: row.component,
    "package": lambda row: row.package or (NO_PACKAGE if row.component == UNOWNED else MADE),
    "directory": lambda row: posixpath.dirname(row.path),
    "kind": kind,
    "file": lambda row: row.path,
}
"""What a table can sum up: name → the owner of a file."""


def table(footprint: Footprint, *, by: str, sort: str = "", top: int = 0) -> Table:
    """Sum a footprint up by one kind of owner.

    `top` lines are shown and the others together in one line; 0 shows all. Unsorted, sections
    stand in their own order and all else by bytes.
    """
    lines = _lines(footprint, by)
    order = sort or ("" if by == "section" else "bytes")
    if order:
        lines.sort(key=SORTS[order])
    total = _sum("total", lines + _spare(footprint))
    if top and len(lines) > top:
        rest = lines[top:]
        lines = [*lines[:top], _sum(f"[{len(rest)} others]", rest)]
    return Table(by, (*lines, *_spare(footprint)), total)


def is_foreign(footprint: Footprint) -> bool:
    """Tell an image that somebody else made: no manifest says which section a file is of."""
    return bool(footprint.files) and all(row.section == UNOWNED for row in footprint.files)


def added(footprint: Footprint) -> dict[str, int]:
    """Path or component → bytes that would go with it; empty where no needs are known."""
    if not footprint.edges:
        return {}
    sizes = {str(row.path): weight(row) for row in footprint.files if row.type == "file"}
    return Graph(sizes, footprint.edges).added()


def _lines(footprint: Footprint, by: str) -> list[Line]:
    owner = OWNERS[by]
    sums: dict[str, list[int]] = {}
    if by == "section":
        named = [row.name for row in footprint.sections if not is_spare(row.name)]
        sums = {name: [0, 0, 0] for name in ([UNOWNED] if is_foreign(footprint) else named)}
    for row in footprint.files:
        if row.type != "file":
            continue
        found = sums.setdefault(owner(row), [0, 0, 0])
        found[0] += 1
        found[1] += weight(row)
        found[2] += row.packed
    known = added(footprint) if by in {"component", "file"} else {}
    return [
        Line(name, count, size, packed, known.get(name))
        for name, (count, size, packed) in sums.items()
    ]


def _spare(footprint: Footprint) -> list[Line]:
    """What is packed of no file."""
    return [
        Line(SPARE.get(row.name, f"[{row.name}]"), row.files, row.bytes, row.packed)
        for row in footprint.sections
        if is_spare(row.name)
    ]


def _sum(name: str, lines: Iterable[Line]) -> Line:
    every = list(lines)
    return Line(
        name,
        sum(line.files for line in every),
        sum(line.bytes for line in every),
        sum(line.packed for line in every),
    )


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Contents that stand in a tree more than once."""

    contents: int
    bytes: int
    """What their repeats weigh."""


def duplicates(footprint: Footprint) -> Duplicates:
    """Count contents that stand at several paths; hard links are one file and do not count."""
    seen: dict[str, list[int]] = {}
    for row in footprint.files:
        if row.type == "file" and row.size:
            seen.setdefault(row.sha256, []).append(row.size)
    more = [sizes for sizes in seen.values() if len(sizes) > 1]
    return Duplicates(len(more), sum(sum(sizes[1:]) for sizes in more))
