"""Files that could leave a host, as text and JSON: removals with what they break, and files that a
traced boot did not open."""

from collections.abc import Mapping, Sequence

from minbuild.escape import dump_json
from minbuild.explain import removal
from minbuild.explain.removal import LossTexts, Removal
from minbuild.footprint.boot_trace import TraceSummary, UnusedFile
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


def render_removal_json(
    footprint: Footprint,
    selectors: Sequence[str],
    result: Removal,
    options: Mapping[str, object] | None = None,
) -> str:
    """The same as a JSON object; `options`: keys about kernel options that would go, too."""
    return dump_json({**_removal_to_json(footprint, selectors, result), **(options or {})})


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


MAX_UNUSED_LINES = 40
"""Lines of one kind that are printed."""


def render_trace_summary(summary: TraceSummary) -> str:
    """List the files that no boot opened, by component, and the paths that were missed."""
    file_count = len(summary.used) + len(summary.unused)
    idle = sum(one.size for one in summary.unused)
    lines = [f"opened, executed or mapped: {len(summary.used)} of {file_count} files"]
    if summary.unused:
        lines += ["", f"never opened: {len(summary.unused)} files, {format_size(idle)}"]
        lines += _list_by_component(summary.unused)
    if summary.missed:
        lines += ["", f"asked for and not there: {len(summary.missed)} paths"]
        lines += _cut_unused_lines(
            [f"  {one.times:>5} x  {escape_line(one.path)}" for one in summary.missed]
        )
    if summary.outside_image:
        lines += ["", f"{summary.outside_image} more below /proc, /sys, /dev, /run and the like"]
    return "\n".join(lines) + "\n"


def render_drop_candidates(summary: TraceSummary) -> str:
    """What `plan --suggest` adds: nothing is dropped by itself."""
    if not summary.unused:
        return ""
    head = (
        f"never opened in the last traced boot of {escape_line(summary.name)} "
        "(a boot does not do all that a host does):"
    )
    return "\n".join(["", head, *_list_by_component(summary.unused)]) + "\n"


def _list_by_component(unused: tuple[UnusedFile, ...]) -> list[str]:
    groups: dict[str, list[UnusedFile]] = {}
    for unused_file in unused:
        groups.setdefault(unused_file.component, []).append(unused_file)
    lines = []
    for component in sorted(groups, key=lambda name: (-sum(x.size for x in groups[name]), name)):
        lines.append(f"  {escape_line(component)}")
        lines += [
            f"    {format_size(unused_file.size):>8}  {escape_line(unused_file.path)}"
            for unused_file in groups[component]
        ]
    return _cut_unused_lines(lines)


def _cut_unused_lines(lines: list[str]) -> list[str]:
    hidden = len(lines) - MAX_UNUSED_LINES
    return lines if hidden <= 0 else [*lines[:MAX_UNUSED_LINES], f"  [{hidden} more: --json]"]
