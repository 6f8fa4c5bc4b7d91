"""Files that a traced boot did not open, as text."""

from minbuild.footprint.boot_trace import TraceSummary, UnusedFile
from minbuild.report.layout import escape_line, format_size

MAX_LINES = 40
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
        lines += _cut_lines(
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
    return _cut_lines(lines)


def _cut_lines(lines: list[str]) -> list[str]:
    hidden = len(lines) - MAX_LINES
    return lines if hidden <= 0 else [*lines[:MAX_LINES], f"  [{hidden} more: --json]"]
