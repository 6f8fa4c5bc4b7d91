"""What differs between two footprints, and why."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from minbuild.footprint.issues import Issues
from minbuild.footprint.measure import weight
from minbuild.footprint.pairing import normalised, pair
from minbuild.footprint.types import SEEN, FileRow, Finding, FindingKind, Footprint, Surface
from minbuild.paths import RootPath
from minbuild.resolve.types import Need, NeedKind


class Change(StrEnum):
    """What happened to a path; in the report's order."""

    ADDED = "added"
    REMOVED = "removed"
    GROWN = "grown"
    SHRUNK = "shrunk"
    CONTENT = "content"
    """Same size, other content or link text."""
    MODE = "mode"
    OWNER = "owner"
    TYPE = "type"
    RENAMED = "renamed"
    """Another name, and else the same."""


class Cause(StrEnum):
    """Why a path differs."""

    VERSION = "version"
    NEED = "new need"
    MANIFEST = "manifest"
    TEMPLATE = "template"
    REBUILD = "rebuild"
    GONE = "need gone"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs."""

    change: Change
    before: FileRow | None
    after: FileRow | None
    cause: Cause
    chain: tuple[Need, ...] = ()
    """For a new path: from a component down to it, in the tree after."""
    new_edge: Need | None = None
    """The first need of that chain that was not there before."""

    @property
    def path(self) -> RootPath:
        row = self.after or self.before
        assert row is not None
        return row.path

    @property
    def bytes(self) -> int:
        """Bytes that the tree gained; a path's size counts once, its mode and owner beside it not."""
        if self.change in {Change.MODE, Change.OWNER}:
            return 0
        return _weight(self.after) - _weight(self.before)


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that came, went, or has another version; "" where there is none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Diff:
    before: Footprint
    after: Footprint
    differences: tuple[Difference, ...]
    """By change, the heaviest first."""
    packages: tuple[PackageChange, ...]
    findings_new: tuple[Finding, ...]
    findings_gone: tuple[Finding, ...]
    issues: Issues | None = None
    """Open security issues; None: there are no data."""

    def __bool__(self) -> bool:
        return bool(
            self.differences
            or self.packages
            or self.findings_new
            or self.findings_gone
            or self.before.totals != self.after.totals
        )

    def of(self, *changes: Change) -> list[Difference]:
        """The differences of some kinds."""
        return [one for one in self.differences if one.change in changes]


def compare(before: Footprint, after: Footprint) -> Diff:
    """Compare two footprints; comparing the other way round gives the same with signs turned."""
    rows_before = {row.path: row for row in before.files}
    rows_after = {row.path: row for row in after.files}
    pairs = pair(rows_before, rows_after)  # type: ignore[arg-type]
    packages = _packages(before, after)
    versions = {normalised(one.name) for one in packages if one.before and one.after}
    known = _Known(before, after, pairs, versions)
    found: list[Difference] = []
    for path, other in pairs.items():
        found += known.changed(rows_before[RootPath(path)], rows_after[RootPath(other)])
    taken = set(pairs.values())
    found += [known.new(row) for row in after.files if row.path not in taken]
    found += [
        Difference(Change.REMOVED, row, None, Cause.GONE)
        for row in before.files
        if row.path not in pairs
    ]
    order = list(Change)
    found.sort(key=lambda one: (order.index(one.change), -abs(one.bytes), one.path))
    new, gone = _findings(before.surface, after.surface, pairs)
    return Diff(before, after, tuple(found), packages, new, gone)


class _Known:
    """What both trees say of why a path is in them."""

    def __init__(
        self, before: Footprint, after: Footprint, pairs: Mapping[str, str], versions: set[str]
    ) -> None:
        self._versions = versions
        self._before = {
            (pairs.get(need.by, need.by), pairs.get(need.path, need.path)) for need in before.edges
        }
        self._parents = first_needs(after.edges)
        self._rendered = {str(need.path) for need in after.edges if need.kind is NeedKind.ROOT}

    def new(self, row: FileRow) -> Difference:
        chain = chain_to(self._parents, row.path)
        edge = next((n for n in chain if (n.by, str(n.path)) not in self._before), None)
        cause = Cause.UNKNOWN
        if edge is not None:
            cause = Cause.NEED if edge.by.startswith("/") else Cause.MANIFEST
            if cause is Cause.NEED and self._package_changed(row):
                cause = Cause.VERSION
        return Difference(Change.ADDED, None, row, cause, chain, edge)

    def changed(self, old: FileRow, new: FileRow) -> Iterable[Difference]:
        if old.type != new.type:
            yield Difference(Change.TYPE, old, new, self._cause(old, new))
            return
        size = weight(new) - weight(old)
        if size:
            change = Change.GROWN if size > 0 else Change.SHRUNK
            yield Difference(change, old, new, self._cause(old, new))
        elif (old.sha256, old.target) != (new.sha256, new.target):
            yield Difference(Change.CONTENT, old, new, self._cause(old, new))
        elif old.path != new.path:
            yield Difference(Change.RENAMED, old, new, self._cause(old, new))
        if old.mode != new.mode:
            yield Difference(Change.MODE, old, new, self._cause(old, new))
        if (old.uid, old.gid) != (new.uid, new.gid):
            yield Difference(Change.OWNER, old, new, self._cause(old, new))

    def _cause(self, old: FileRow, new: FileRow) -> Cause:
        if self._package_changed(new) or self._package_changed(old):
            return Cause.VERSION
        if new.package and new.package == old.package:
            return Cause.REBUILD
        if not new.package and not old.package:
            if old.path != new.path and normalised(old.path) == normalised(new.path):
                return Cause.VERSION
            return Cause.TEMPLATE if new.path in self._rendered else Cause.NEED
        return Cause.UNKNOWN

    def _package_changed(self, row: FileRow) -> bool:
        return bool(row.package) and normalised(row.package) in self._versions


def first_needs(edges: Iterable[Need]) -> dict[str, Need]:
    """For every path the need by which a shortest way from a component arrives at it."""
    below: dict[str, list[Need]] = {}
    for need in sorted(edges):
        below.setdefault(need.by, []).append(need)
    parents: dict[str, Need] = {}
    todo = deque(sorted(by for by in below if not by.startswith("/")))
    while todo:
        for need in below.get(todo.popleft(), ()):
            if need.path not in parents:
                parents[need.path] = need
                todo.append(need.path)
    return parents


def chain_to(parents: Mapping[str, Need], path: str) -> tuple[Need, ...]:
    """The chain from a component down to a path; empty where none is known."""
    chain: list[Need] = []
    while path in parents and len(chain) <= len(parents):
        chain.append(parents[path])
        path = parents[path].by
    return tuple(reversed(chain))


def _packages(before: Footprint, after: Footprint) -> tuple[PackageChange, ...]:
    """Changes by the package's name; of one whose name holds its version, without that; sorted."""
    old, new = _versions(before), _versions(after)
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        if was is None or now is None or was[0] == now[0]:
            name = (was or now or ("", ""))[0]
            found.append(PackageChange(name, was[1] if was else "", now[1] if now else ""))
        else:
            found.append(PackageChange(key, " ".join(was), " ".join(now)))
    return tuple(found)


def _versions(footprint: Footprint) -> dict[str, tuple[str, str]]:
    rows = (row for row in footprint.packages if row.name and row.version)
    return {normalised(row.name): (row.name, row.version) for row in rows}


def _findings(
    before: Surface | None, after: Surface | None, pairs: Mapping[str, str]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Findings that only one side has; a kind that one side could not look at is left out."""
    if before is None or after is None:
        return (), ()
    skipped = {*before.unknown, *after.unknown, FindingKind.EXPORTS}
    both_ran = before.in_lab and after.in_lab

    def counts(one: Finding) -> bool:
        return one.kind not in skipped and (both_ran or not one.detail.startswith(SEEN))

    old = {
        (one.kind, pairs.get(one.subject, one.subject)): one
        for one in before.findings
        if counts(one)
    }
    new = {(one.kind, one.subject): one for one in after.findings if counts(one)}
    return (
        tuple(new[key] for key in sorted(new.keys() - old.keys())),
        tuple(old[key] for key in sorted(old.keys() - new.keys())),
    )


def _weight(row: FileRow | None) -> int:
    return weight(row) if row is not None else 0
