"""What a traced boot used of an image, for people."""

from minbuild.footprint.usage import Unused, Usage
from minbuild.report.units import printable, size

MOST = 40
"""Lines of one kind that are printed."""


def text(usage: Usage) -> str:
    """List the files that no boot opened, by component, and the paths that were missed."""
    whole = len(usage.used) + len(usage.unused)
    idle = sum(one.size for one in usage.unused)
    lines = [f"opened, executed or mapped: {len(usage.used)} of {whole} files"]
    if usage.unused:
        lines += ["", f"never opened: {len(usage.unused)} files, {size(idle)}"]
        lines += _by_component(usage.unused)
    if usage.missed:
        lines += ["", f"asked for and not there: {len(usage.missed)} paths"]
        lines += _few([f"  {one.times:>5} x  {printable(one.path)}" for one in usage.missed])
    if usage.elsewhere:
        lines += ["", f"{usage.elsewhere} more below /proc, /sys, /dev, /run and the like"]
    return "\n".join(lines) + "\n"


def candidates(usage: Usage) -> str:
    """What `plan --suggest` adds: nothing is dropped by itself."""
    if not usage.unused:
        return ""
    head = (
        f"never opened in the last traced boot of {printable(usage.name)} "
        "(a boot does not do all that a host does):"
    )
    return "\n".join(["", head, *_by_component(usage.unused)]) + "\n"


def _by_component(unused: tuple[Unused, ...]) -> list[str]:
    groups: dict[str, list[Unused]] = {}
    for one in unused:
        groups.setdefault(one.component, []).append(one)
    lines = []
    for component in sorted(groups, key=lambda name: (-sum(x.size for x in groups[name]), name)):
        lines.append(f"  {printable(component)}")
        lines += [f"    {size(one.size):>8}  {printable(one.path)}" for one in groups[component]]
    return _few(lines)


def _few(lines: list[str]) -> list[str]:
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], f"  [{more} more: --json]"]
