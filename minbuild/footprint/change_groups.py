"""Changes of a diff in groups: a row for each updated package, then one for each other path."""

from collections.abc import Iterable
from dataclasses import dataclass

from minbuild.footprint.comparison import ChangeCause, ChangeKind, FootprintDiff, PathChange

CHANGE_TITLES = {
    ChangeKind.ADDED: "new",
    ChangeKind.REMOVED: "gone",
    ChangeKind.GROWN: "grown",
    ChangeKind.SHRUNK: "shrunk",
    ChangeKind.CONTENT: "changed in place",
    ChangeKind.MODE: "other mode",
    ChangeKind.OWNER: "other owner",
    ChangeKind.TYPE: "other type",
    ChangeKind.RENAMED: "renamed",
}
"""Title of the table of each kind of change."""
GROUPED_CHANGES = frozenset(
    {ChangeKind.GROWN, ChangeKind.SHRUNK, ChangeKind.CONTENT, ChangeKind.RENAMED}
)


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """One row of a table of changes.

    Example: name "linux-image-6.12: 40 files (39 grown, 1 renamed)", bytes 120_000,
    cause "version".
    """

    name: str
    """A path, or a package with the counts of its changed files."""
    bytes: int
    """Bytes gained; negative for a loss."""
    cause: str
    changes: tuple[PathChange, ...]
    """At least one."""


def list_groups(diff: FootprintDiff) -> list[tuple[str, list[ChangeGroup]]]:
    """Each table of a diff that is not empty: its title and its rows, largest change first."""
    updates = group_updates(diff)
    grouped_ids = {id(change) for group in updates for change in group.changes}
    tables = [("updated", updates)]
    tables += [(CHANGE_TITLES[kind], _list_single(diff, kind, grouped_ids)) for kind in ChangeKind]
    return [(title, rows) for title, rows in tables if rows]


def _list_single(diff: FootprintDiff, kind: ChangeKind, grouped_ids: set[int]) -> list[ChangeGroup]:
    """One row for each path with this kind of change that has no row with its package."""
    return _sort_groups(
        ChangeGroup(str(change.path), change.bytes, str(change.cause), (change,))
        for change in diff.select_changes(kind)
        if id(change) not in grouped_ids
    )


def group_updates(diff: FootprintDiff) -> list[ChangeGroup]:
    """One row for each package with another version, for all its files that differ.

    So a kernel's update is one row and not 40. A package with one such file has no row here: the
    file has its own. An index that is made for a kernel counts as a file of its package.
    """
    packages: dict[str, list[PathChange]] = {}
    for change in diff.select_changes(*GROUPED_CHANGES):
        row = change.after or change.before
        if change.cause is ChangeCause.VERSION and row is not None:
            packages.setdefault(row.package or _find_kernel_package(diff), []).append(change)
    return _sort_groups(
        _make_update(package, changes) for package, changes in packages.items() if len(changes) > 1
    )


def _make_update(package: str, changes: list[PathChange]) -> ChangeGroup:
    counts = [
        (CHANGE_TITLES[kind], sum(one.change is kind for one in changes)) for kind in ChangeKind
    ]
    counts_text = ", ".join(f"{count} {title}" for title, count in counts if count)
    return ChangeGroup(
        f"{package}: {len(changes)} files ({counts_text})",
        sum(change.bytes for change in changes),
        str(ChangeCause.VERSION),
        tuple(changes),
    )


def _sort_groups(groups: Iterable[ChangeGroup]) -> list[ChangeGroup]:
    return sorted(groups, key=lambda group: (-abs(group.bytes), group.name))


def _find_kernel_package(diff: FootprintDiff) -> str:
    rows = (row for row in diff.after.files if row.path.startswith("/boot/vmlinuz-"))
    return next((row.package for row in rows), "")
