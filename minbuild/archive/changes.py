"""What differs between two locks, package by package."""

from collections.abc import Sequence

from minbuild.archive.types import Lock, Package


def changes(before: Lock | None, after: Lock) -> tuple[str, ...]:
    """List what a new lock adds, removes and changes, a line for each package."""
    lines = _changes("host", before.packages if before else (), after.packages)
    lines += _changes("toolbox", before.toolbox if before else (), after.toolbox)
    return tuple(lines)


def _changes(part: str, before: Sequence[Package], after: Sequence[Package]) -> list[str]:
    old = {package.name: package for package in before}
    new = {package.name: package for package in after}
    lines = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None and now is not None:
            lines.append(f"{part}: + {name} {now.version}")
        elif now is None and was is not None:
            lines.append(f"{part}: - {name} {was.version}")
        elif was is not None and now is not None and was.sha256 != now.sha256:
            lines.append(f"{part}: ~ {name} {was.version} -> {now.version}")
    return lines
