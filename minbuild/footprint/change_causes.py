"""Causes of a diff: what brought, took away or changed its files, each with all that came of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minbuild.footprint.comparison import (
    ChangeCause,
    ChangeKind,
    FootprintDiff,
    PathChange,
    build_chain,
    find_first_needs,
)
from minbuild.footprint.model import Footprint
from minbuild.manifest.components import OWN_COMPONENT
from minbuild.resolve.model import Need

UNKNOWN_CAUSE = "not known"


@dataclass(frozen=True, slots=True)
class RootCause:
    """One cause: a new component `ssh`, a kept program `curl`, an updated package."""

    name: str
    bytes: int
    """Bytes gained; negative for a loss."""
    files: int
    """Regular files among the changes."""
    reason: str
    """`services/ssh -> /usr/sbin/dropbear (root: ssh.yaml:8:3)`; "" where no need says it."""
    changes: tuple[PathChange, ...]
    """At least one."""


def list_causes(diff: FootprintDiff) -> tuple[RootCause, ...]:
    """List the causes of a diff, the heaviest first; every changed path is in one of them.

    The cause of a new path is the first need on the shortest way to it that was not there before:
    a component that is new, or else the path which that need names. A path that is gone has the
    first need that is there no longer.
    """
    gone_needs = _find_gone_needs(diff)
    grouped: dict[str, list[tuple[PathChange, Need | None]]] = {}
    components_before = _list_components(diff.before)
    components_after = _list_components(diff.after)
    for change in diff.differences:
        need = change.new_need
        others = components_before
        if change.change is ChangeKind.REMOVED:
            need, others = gone_needs.get(change.path), components_after
        name = _name_cause(change, need, others)
        grouped.setdefault(name, []).append((change, need))
    causes = [_make_cause(name, entries) for name, entries in grouped.items()]
    return tuple(sorted(causes, key=lambda one: (-abs(one.bytes), -one.files, one.name)))


def _find_gone_needs(diff: FootprintDiff) -> Mapping[str, Need]:
    """For each path that is gone: the first need on the way to it that is no longer there."""
    removed = diff.select_changes(ChangeKind.REMOVED)
    if not removed:
        return {}
    needs_after = {(need.needed_by, str(need.path)) for need in diff.after.edges}
    parents = find_first_needs(diff.before.edges)
    found: dict[str, Need] = {}
    for change in removed:
        for need in build_chain(parents, change.path):
            if (need.needed_by, str(need.path)) not in needs_after:
                found[change.path] = need
                break
    return found


def _list_components(footprint: Footprint) -> frozenset[str]:
    return frozenset(need.needed_by for need in footprint.edges if need.needed_by[:1] != "/")


def _name_cause(change: PathChange, need: Need | None, others: frozenset[str]) -> str:
    """Name the cause of one change; `others` are the components of the other side."""
    row = change.after or change.before
    assert row is not None
    if change.cause is ChangeCause.VERSION:
        return f"{row.package or UNKNOWN_CAUSE} (update)"
    if need is not None:
        if need.needed_by.startswith("/"):
            return f"{_get_name(need.needed_by)} (its needs)"
        component = need.needed_by.partition("/")[2]
        is_new = need.needed_by not in others and component != OWN_COMPONENT
        return component if is_new else _get_name(need.path)
    if change.cause is ChangeCause.TEMPLATE:
        return "values and templates"
    if change.cause is ChangeCause.REBUILD:
        return f"{row.package} (other content)"
    return row.package or UNKNOWN_CAUSE


def _get_name(path: str) -> str:
    return str(path).rpartition("/")[2] or str(path)


def _make_cause(name: str, entries: Iterable[tuple[PathChange, Need | None]]) -> RootCause:
    """Make a cause; its reason is the need of its heaviest change."""
    ordered = sorted(entries, key=lambda one: (-abs(one[0].bytes), str(one[0].path)))
    needs = [need for _, need in ordered if need is not None]
    reason = ""
    if needs:
        need = needs[0]
        reason = f"{need.needed_by} -> {need.path} ({need.kind}: {need.evidence})"
    changes = tuple(change for change, _ in ordered)
    rows = [row for change in changes for row in [change.after or change.before] if row is not None]
    files = len({row.path for row in rows if row.type == "file"})
    return RootCause(name, sum(change.bytes for change in changes), files, reason, changes)


def is_side_effect(change: PathChange) -> bool:
    """Whether it is a link or a directory that came or went with files: 0 bytes of its own."""
    row = change.after or change.before
    is_presence = change.change in {ChangeKind.ADDED, ChangeKind.REMOVED}
    return is_presence and row is not None and row.type != "file"
