"""Comparison of two footprints: changed paths, packages, findings and issues, with causes."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from minbuild.footprint.measure import weigh_row
from minbuild.footprint.model import (
    SEEN_IN_LAB,
    FileRow,
    FindingKind,
    Footprint,
    Surface,
    SurfaceFinding,
)
from minbuild.footprint.rename_detection import match_paths, strip_version
from minbuild.kconfig.needs import OptionChange, compare_options
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind


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
class IssueChanges:
    """The open issues of two hosts."""

    before: int
    after: int
    new: tuple[OpenIssue, ...]
    """Open after and not before; sorted."""
    gone: tuple[OpenIssue, ...]
    """Open before and not after; sorted."""


def compare_issues(before: tuple[OpenIssue, ...], after: tuple[OpenIssue, ...]) -> IssueChanges:
    """Compare the open issues of two hosts, identified by source and name."""
    issues_before = {(one.source, one.name): one for one in before}
    issues_after = {(one.source, one.name): one for one in after}
    return IssueChanges(
        len(issues_before),
        len(issues_after),
        tuple(issues_after[key] for key in sorted(issues_after.keys() - issues_before.keys())),
        tuple(issues_before[key] for key in sorted(issues_before.keys() - issues_after.keys())),
    )


class ChangeKind(StrEnum):
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


class ChangeCause(StrEnum):
    """Why a path differs."""

    VERSION = "version"
    NEED = "new need"
    MANIFEST = "manifest"
    TEMPLATE = "template"
    REBUILD = "rebuild"
    GONE = "need gone"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class PathChange:
    """One path that differs."""

    change: ChangeKind
    before: FileRow | None
    after: FileRow | None
    cause: ChangeCause
    chain: tuple[Need, ...] = ()
    """For a new path: from a component down to it, in the tree after."""
    new_need: Need | None = None
    """The first need of that chain that was not there before."""

    @property
    def path(self) -> RootPath:
        row = self.after or self.before
        assert row is not None
        return row.path

    @property
    def bytes(self) -> int:
        """Bytes that the tree gained; a path's size counts once, its mode and owner beside it not."""
        if self.change in {ChangeKind.MODE, ChangeKind.OWNER}:
            return 0
        return _weigh_or_zero(self.after) - _weigh_or_zero(self.before)


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that came, went, or has another version; "" where there is none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FootprintDiff:
    before: Footprint
    after: Footprint
    differences: tuple[PathChange, ...]
    """By change, the heaviest first."""
    packages: tuple[PackageChange, ...]
    findings_new: tuple[SurfaceFinding, ...]
    findings_gone: tuple[SurfaceFinding, ...]
    issues: IssueChanges | None = None
    """Open security issues; None: there are no data."""
    options: tuple[OptionChange, ...] = ()
    """Of kernels that were both built for their hosts."""

    def __bool__(self) -> bool:
        return bool(
            self.differences
            or self.packages
            or self.findings_new
            or self.findings_gone
            or self.options
            or self.before.totals != self.after.totals
        )

    def select_changes(self, *changes: ChangeKind) -> list[PathChange]:
        """The differences of some kinds."""
        return [one for one in self.differences if one.change in changes]


def compare_footprints(before: Footprint, after: Footprint) -> FootprintDiff:
    """Compare two footprints; comparing the other way round gives the same with signs turned."""
    rows_before = {row.path: row for row in before.files}
    rows_after = {row.path: row for row in after.files}
    pairs = match_paths(rows_before, rows_after)  # type: ignore[arg-type]
    packages = _compare_packages(before, after)
    versions = {strip_version(one.name) for one in packages if one.before and one.after}
    provenance = _Provenance(before, after, pairs, versions)
    differences: list[PathChange] = []
    for path, path_after in pairs.items():
        differences += provenance.explain_changed(
            rows_before[RootPath(path)], rows_after[RootPath(path_after)]
        )
    paired_paths = set(pairs.values())
    differences += [
        provenance.explain_added(row) for row in after.files if row.path not in paired_paths
    ]
    differences += [
        PathChange(ChangeKind.REMOVED, row, None, ChangeCause.GONE)
        for row in before.files
        if row.path not in pairs
    ]
    change_order = list(ChangeKind)
    differences.sort(key=lambda one: (change_order.index(one.change), -abs(one.bytes), one.path))
    new_findings, gone_findings = _compare_findings(before.surface, after.surface, pairs)
    options: tuple[OptionChange, ...] = ()
    if before.kernel_options and after.kernel_options:
        options = compare_options(before.kernel_options, after.kernel_options)
    return FootprintDiff(
        before, after, tuple(differences), packages, new_findings, gone_findings, options=options
    )


class _Provenance:
    """What both trees say of why a path is in them."""

    def __init__(
        self,
        before: Footprint,
        after: Footprint,
        pairs: Mapping[str, str],
        updated_packages: set[str],
    ) -> None:
        self._updated_packages = updated_packages
        self._needs_before = {
            (pairs.get(need.needed_by, need.needed_by), pairs.get(need.path, need.path))
            for need in before.edges
        }
        self._parents = find_first_needs(after.edges)
        self._rendered_paths = {
            str(need.path) for need in after.edges if need.kind is NeedKind.ROOT
        }

    def explain_added(self, row: FileRow) -> PathChange:
        chain = build_chain(self._parents, row.path)
        new_need = next(
            (n for n in chain if (n.needed_by, str(n.path)) not in self._needs_before), None
        )
        cause = ChangeCause.UNKNOWN
        if new_need is not None:
            cause = ChangeCause.NEED if new_need.needed_by.startswith("/") else ChangeCause.MANIFEST
            if cause is ChangeCause.NEED and self._has_new_version(row):
                cause = ChangeCause.VERSION
        return PathChange(ChangeKind.ADDED, None, row, cause, chain, new_need)

    def explain_changed(self, old: FileRow, new: FileRow) -> Iterable[PathChange]:
        if old.type != new.type:
            yield PathChange(ChangeKind.TYPE, old, new, self._find_cause(old, new))
            return
        size = weigh_row(new) - weigh_row(old)
        if size:
            change = ChangeKind.GROWN if size > 0 else ChangeKind.SHRUNK
            yield PathChange(change, old, new, self._find_cause(old, new))
        elif (old.sha256, old.target) != (new.sha256, new.target):
            yield PathChange(ChangeKind.CONTENT, old, new, self._find_cause(old, new))
        elif old.path != new.path:
            yield PathChange(ChangeKind.RENAMED, old, new, self._find_cause(old, new))
        if old.mode != new.mode:
            yield PathChange(ChangeKind.MODE, old, new, self._find_cause(old, new))
        if (old.uid, old.gid) != (new.uid, new.gid):
            yield PathChange(ChangeKind.OWNER, old, new, self._find_cause(old, new))

    def _find_cause(self, old: FileRow, new: FileRow) -> ChangeCause:
        if self._has_new_version(new) or self._has_new_version(old):
            return ChangeCause.VERSION
        if new.package and new.package == old.package:
            return ChangeCause.REBUILD
        if not new.package and not old.package:
            if old.path != new.path and strip_version(old.path) == strip_version(new.path):
                return ChangeCause.VERSION
            return ChangeCause.TEMPLATE if new.path in self._rendered_paths else ChangeCause.NEED
        return ChangeCause.UNKNOWN

    def _has_new_version(self, row: FileRow) -> bool:
        return bool(row.package) and strip_version(row.package) in self._updated_packages


def find_first_needs(edges: Iterable[Need]) -> dict[str, Need]:
    """For every path the need by which a shortest way from a component arrives at it."""
    needs_by_owner: dict[str, list[Need]] = {}
    for need in sorted(edges):
        needs_by_owner.setdefault(need.needed_by, []).append(need)
    parents: dict[str, Need] = {}
    queue = deque(sorted(by for by in needs_by_owner if not by.startswith("/")))
    while queue:
        for need in needs_by_owner.get(queue.popleft(), ()):
            if need.path not in parents:
                parents[need.path] = need
                queue.append(need.path)
    return parents


def build_chain(parents: Mapping[str, Need], path: str) -> tuple[Need, ...]:
    """The chain from a component down to a path; empty where none is known."""
    chain: list[Need] = []
    while path in parents and len(chain) <= len(parents):
        chain.append(parents[path])
        path = parents[path].needed_by
    return tuple(reversed(chain))


def _compare_packages(before: Footprint, after: Footprint) -> tuple[PackageChange, ...]:
    """Changes by the package's name; of one whose name holds its version, without that; sorted."""
    versions_before, versions_after = _index_packages(before), _index_packages(after)
    changes = []
    for key in sorted(versions_before.keys() | versions_after.keys()):
        before_row, after_row = versions_before.get(key), versions_after.get(key)
        if before_row == after_row:
            continue
        if before_row is None or after_row is None or before_row[0] == after_row[0]:
            name = (before_row or after_row or ("", ""))[0]
            changes.append(
                PackageChange(
                    name, before_row[1] if before_row else "", after_row[1] if after_row else ""
                )
            )
        else:
            changes.append(PackageChange(key, " ".join(before_row), " ".join(after_row)))
    return tuple(changes)


def _index_packages(footprint: Footprint) -> dict[str, tuple[str, str]]:
    rows = (row for row in footprint.packages if row.name and row.version)
    return {strip_version(row.name): (row.name, row.version) for row in rows}


def _compare_findings(
    before: Surface | None, after: Surface | None, pairs: Mapping[str, str]
) -> tuple[tuple[SurfaceFinding, ...], tuple[SurfaceFinding, ...]]:
    """Findings that only one side has; a kind that one side could not look at is left out."""
    if before is None or after is None:
        return (), ()
    skipped = {*before.unknown, *after.unknown, FindingKind.EXPORTS}
    both_ran = before.in_lab and after.in_lab

    def is_compared(finding: SurfaceFinding) -> bool:
        return finding.kind not in skipped and (
            both_ran or not finding.detail.startswith(SEEN_IN_LAB)
        )

    findings_before = {
        (one.kind, pairs.get(one.subject, one.subject)): one
        for one in before.findings
        if is_compared(one)
    }
    findings_after = {(one.kind, one.subject): one for one in after.findings if is_compared(one)}
    return (
        tuple(
            findings_after[key] for key in sorted(findings_after.keys() - findings_before.keys())
        ),
        tuple(
            findings_before[key] for key in sorted(findings_before.keys() - findings_after.keys())
        ),
    )


def _weigh_or_zero(row: FileRow | None) -> int:
    return weigh_row(row) if row is not None else 0
