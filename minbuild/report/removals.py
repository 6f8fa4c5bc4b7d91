"""Removals from a host as text and JSON: what is saved, what breaks."""

from collections.abc import Sequence

from minbuild.escape import dump_json
from minbuild.explain import removal
from minbuild.explain.removal import LossTexts, Removal
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.report.layout import escape_line, format_size

SCHEMA = "minbuild.removal/1"
MAX_LINES = 20
"""Lines of one kind that are printed."""


def render_removal(footprint: Footprint, selectors: Sequence[str], result: Removal) -> str:
    """Print what would be removed, what would break, and what it would save."""
    lines = [
        f"without {', '.join(map(escape_line, selectors))}",
        "",
        f"would go: {_format_savings(footprint, result)}",
    ]
    rows = {str(row.path): row for row in footprint.files}
    weighty = sorted((p for p in result.removed if rows[p].type != FileType.DIRECTORY),
                     key=lambda path: (-rows[path].size, path))  # fmt: skip
    lines += _cut_lines(
        [f"  {format_size(rows[path].size):>8}  {escape_line(path)}" for path in weighty]
    )
    broken = [
        f"  {escape_line(need.needed_by)} needs {escape_line(need.path)}  [{need.kind}: {escape_line(need.evidence)}]"
        for need in result.broken
    ]
    broken += [f"  {name} needs it" for name in result.needed_by]
    broken += [f"  hurts {', '.join(result.affected)}"] if result.affected else []
    lines += ["", "would break:" if broken else "would break: nothing", *_cut_lines(broken)]
    return "\n".join(lines) + "\n"


def render_removal_json(footprint: Footprint, selectors: Sequence[str], result: Removal) -> str:
    """The same as a JSON object."""
    return dump_json(_removal_to_json(footprint, selectors, result))


def render_suggestions(
    footprint: Footprint,
    ranked: Sequence[tuple[str, Removal]],
    losses: LossTexts,
    opened_paths: frozenset[str] | None = None,
) -> str:
    """One entry for each removal: what it saves, what it costs, and how it is written.

    `opened_paths`: files that traced boots opened; None when no boot was traced.
    """
    lines = []
    for number, (name, result) in enumerate(ranked, 1):
        lines.append(f"{number:>3}  {escape_line(name)}: {_format_savings(footprint, result)}")
        lines.append(
            f"     costs: {'; '.join(map(escape_line, removal.list_consequences(name, result, losses)))}"
        )
        lines.append(f"     how:   {escape_line(removal.suggest_edit(name, footprint))}")
        if opened_paths is not None and not opened_paths & frozenset(result.removed):
            lines.append("     trace: nothing of it was opened in the last traced boot")
    return "\n".join(lines) + "\n"


def render_suggestions_json(
    footprint: Footprint,
    ranked: Sequence[tuple[str, Removal]],
    losses: LossTexts,
    opened_paths: frozenset[str] | None = None,
) -> str:
    """The same as a JSON object."""
    rows = [
        {
            **_removal_to_json(footprint, [name], result),
            "costs": [*map(escape_line, removal.list_consequences(name, result, losses))],
            "how": escape_line(removal.suggest_edit(name, footprint)),
            "opened": None
            if opened_paths is None
            else sorted(opened_paths & frozenset(result.removed)),
        }
        for name, result in ranked
    ]
    document = {"schema": "minbuild.suggest/1", "image": footprint.name, "removals": rows}
    return dump_json(document)


def _format_savings(footprint: Footprint, result: Removal) -> str:
    files, packed = removal.count_savings(footprint, result)
    return f"{files} files, {format_size(result.size)}, about {format_size(packed)} packed"


def _removal_to_json(
    footprint: Footprint, selectors: Sequence[str], result: Removal
) -> dict[str, object]:
    files, packed = removal.count_savings(footprint, result)
    return {
        "schema": SCHEMA,
        "image": footprint.name,
        "without": list(selectors),
        "files": files,
        "bytes": result.size,
        "packed": packed,
        "gone": list(result.removed),
        "broken": [
            {
                "to": need.path,
                "from": need.needed_by,
                "kind": str(need.kind),
                "evidence": need.evidence,
            }
            for need in result.broken
        ],
        "wanted_by": list(result.needed_by),
        "hurt": list(result.affected),
    }


def _cut_lines(lines: list[str]) -> list[str]:
    hidden = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], f"  and {hidden} more: --json lists all"] if hidden > 0 else lines
