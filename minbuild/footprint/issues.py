"""What differs between two hosts in open security issues: frozen data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class OpenIssue:
    """One issue that is open for a package of a host."""

    source: str
    """The source package."""
    name: str
    """CVE-2026-1234."""
    fixed: str
    """The version that fixes it; "" when there is none yet."""
    packages: tuple[str, ...]
    """Packages of that source that have a file in the host; sorted."""


@dataclass(frozen=True, slots=True)
class Issues:
    """The open issues of two hosts."""

    before: int
    after: int
    new: tuple[OpenIssue, ...]
    """Open after and not before; sorted."""
    gone: tuple[OpenIssue, ...]
    """Open before and not after; sorted."""


def differ(before: tuple[OpenIssue, ...], after: tuple[OpenIssue, ...]) -> Issues:
    """Hold the open issues of two hosts against each other, each known by source and name."""
    old = {(one.source, one.name): one for one in before}
    new = {(one.source, one.name): one for one in after}
    return Issues(
        len(old),
        len(new),
        tuple(new[key] for key in sorted(new.keys() - old.keys())),
        tuple(old[key] for key in sorted(old.keys() - new.keys())),
    )
