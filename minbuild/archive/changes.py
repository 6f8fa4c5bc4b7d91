"""What differs between two locks, package by package."""

from collections.abc import Sequence
from dataclasses import dataclass

from minbuild.archive.types import Lock, Package


@dataclass(frozen=True, slots=True)
class Change:
    """One package that comes, goes, or changes."""

    part: str
    """host or toolbox."""
    name: str
    before: str
    """Its version; "" when it comes."""
    after: str
    """Its version; "" when it goes."""
    suite: str


def changes(before: Lock | None, after: Lock) -> tuple[str, ...]:
    """List what a new lock adds, removes and changes, a line for each package."""
    return tuple(_line(change) for change in differences(before, after))


def differences(before: Lock | None, after: Lock) -> tuple[Change, ...]:
    """What a new lock adds, removes and changes: the host's first, sorted by name."""
    found = _changes("host", before.packages if before else (), after.packages)
    found += _changes("toolbox", before.toolbox if before else (), after.toolbox)
    return tuple(found)


def _line(change: Change) -> str:
    if not change.before:
        return f"{change.part}: + {change.name} {change.after}"
    if not change.after:
        return f"{change.part}: - {change.name} {change.before}"
    return f"{change.part}: ~ {change.name} {change.before} -> {change.after}"


def _changes(part: str, before: Sequence[Package], after: Sequence[Package]) -> list[Change]:
    old = {package.name: package for package in before}
    new = {package.name: package for package in after}
    found = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None or now is None or was.sha256 != now.sha256:
            suite = (now or was).suite if now or was else ""  # type: ignore[union-attr]
            versions = (was.version if was else "", now.version if now else "")
            found.append(Change(part, name, *versions, suite))
    return found
