"""The footprint as a page for a terminal."""

import posixpath
from collections.abc import Callable, Mapping

from minbuild.footprint.measure import rows
from minbuild.footprint.types import OVERHEAD, FileRow, Footprint, Row
from minbuild.paths import RootPath
from minbuild.report.units import bar, columns, printable, share, size

MINWIN_FILES = 161
MINWIN_PACKED = 20_000_000
"""Windows 8's MinWin as the press reported it of a leaked build; not a figure of Microsoft's."""


def page(footprint: Footprint, *, top: int = 10, by: str = "section") -> str:
    """Totals beside MinWin's, a table by one kind of owner, and the `top` largest files.

    `by` is one of `OWNERS`; `top` 0 lists every file.
    """
    owners = table(by, OWNERS[by](footprint), footprint.totals.packed)
    parts = [_head(footprint), _totals(footprint), "\n".join(owners), _largest(footprint, top)]
    return "\n\n".join(part for part in parts if part) + "\n"


def budget(limits: list[tuple[str, int, int]]) -> str:
    """One line for each limit that is set: what is, what may be, and a verdict."""
    if not limits:
        return ""
    cells = [
        [
            f"budget {name}",
            size(is_) if name != "files" else str(is_),
            f"of {size(limit) if name != 'files' else limit}",
            share(is_, limit),
            "ok" if is_ <= limit else "OVER",
        ]
        for name, is_, limit in limits
    ]
    return "\n" + "\n".join(columns(cells, frozenset({0, 4}))) + "\n"


def possible_dlopens(found: Mapping[RootPath, tuple[str, ...]]) -> str:
    """Libraries that a file may load by name at run time; listed, never added."""
    if not found:
        return ""
    lines = [
        "",
        "Possible dlopens without a note, not in the image (name them in keep: if needed):",
    ]
    lines += [
        f"  {printable(path)}: {printable(', '.join(names))}" for path, names in found.items()
    ]
    return "\n".join(lines) + "\n"


def _directories(footprint: Footprint) -> tuple[Row, ...]:
    return (*rows(footprint.files, lambda row: posixpath.dirname(row.path)), _overhead(footprint))


def _overhead(footprint: Footprint) -> Row:
    return next(row for row in footprint.sections if row.name == OVERHEAD)


def _packages(footprint: Footprint) -> tuple[Row, ...]:
    return tuple(
        Row(row.name or "[made by minbuild]", row.files, row.bytes, row.packed)
        for row in footprint.packages
    )


OWNERS: Mapping[str, Callable[[Footprint], tuple[Row, ...]]] = {
    "section": lambda footprint: footprint.sections,
    "component": lambda footprint: footprint.components,
    "package": _packages,
    "directory": _directories,
}
"""What the page's table can sum up: name → rows, whose sum is the totals."""


def _head(footprint: Footprint) -> str:
    return printable(
        f"{footprint.name}  {footprint.arch}  Linux {footprint.kernel}  "
        f"from {', '.join(footprint.suites)}"
    )


def _totals(footprint: Footprint) -> str:
    totals = footprint.totals
    packed = "packed" if "efi" in footprint.packed else "packed (est)"
    rows = [
        ["", "this host", "MinWin*", "of MinWin", ""],
        _against("files", totals.files, MINWIN_FILES, str),
        _against(packed, totals.packed, MINWIN_PACKED, size),
        ["installed", size(totals.bytes), "", "", ""],
    ]
    notes = [
        f"{totals.links} links and {totals.directories} directories beside the files.",
        "* reported by the press of a leaked build of Windows 8: 161 files, about 20 MB",
    ]
    return "\n".join([*columns(rows, frozenset({0, 4})), "", *notes])


def _against(name: str, ours: int, theirs: int, show: Callable[[int], str]) -> list[str]:
    return [name, show(ours), show(theirs), share(ours, theirs), bar(ours, theirs)]


def table(title: str, owners: tuple[Row, ...], whole: int) -> list[str]:
    """One row for each owner and a last one with their sum."""
    cells = [[title, "files", "installed", "packed est", ""]]
    cells += [
        [
            printable(row.name),
            str(row.files),
            size(row.bytes),
            size(row.packed),
            bar(row.packed, whole),
        ]
        for row in owners
    ]
    cells.append(
        [
            "total",
            str(sum(row.files for row in owners)),
            size(sum(row.bytes for row in owners)),
            size(sum(row.packed for row in owners)),
            "",
        ]
    )
    return columns(cells, frozenset({0, 4}))


def _largest(footprint: Footprint, top: int) -> str:
    files = [row for row in footprint.files if row.type == "file"]
    largest = sorted(files, key=lambda row: (-row.size, row.path))[: top or None]
    cells = [["largest files", "installed", "packed est", "component"]]
    cells += [_file(row) for row in largest]
    rest = len(files) - len(largest)
    if rest:
        shown = {row.path for row in largest}
        others = [row for row in files if row.path not in shown]
        cells.append(
            [
                f"[{rest} others]",
                size(sum(row.size for row in others)),
                size(sum(row.packed for row in others)),
                "",
            ]
        )
    return "\n".join(columns(cells, frozenset({0, 3})))


def _file(row: FileRow) -> list[str]:
    return [printable(row.path), size(row.size), size(row.packed), printable(row.component)]
