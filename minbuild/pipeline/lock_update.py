"""Update of a lock: its changes, newer packages of the archive, and downloads into the store."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.download import fetch_packages
from minbuild.archive.index import Index
from minbuild.archive.lockfile import LockChange, diff_locks
from minbuild.archive.mirror import SECURITY
from minbuild.archive.model import Lock, Package
from minbuild.errors import ArchiveError, ResolveError, UsageError, combine
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Manifest
from minbuild.pipeline import resolved_host
from minbuild.pipeline.host_resolution import resolve_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_creation import create_lock, open_tool_archives
from minbuild.pipeline.lock_policy import check_host_packages, check_tool_packages
from minbuild.pipeline.package_sources import locate_mirror, open_archives, with_archives
from minbuild.pipeline.resolved_host import ResolvedHost, estimate_initramfs, extract_chosen_files
from minbuild.pipeline.session import (
    BuildRequest,
    CacheRecovery,
    Session,
    detect_machine_arch,
    locate_lock,
)
from minbuild.rootfs.assemble import make_rootfs


@dataclass(frozen=True, slots=True)
class HostSize:
    """What a host weighs, before it is packed."""

    files: int
    bytes: int
    packed: int
    """Estimated, as by `plan`."""


@dataclass(frozen=True, slots=True)
class LockProposal:
    """A lock that could be written."""

    lock_path: Path
    before: Lock | None
    after: Lock
    changes: tuple[LockChange, ...]
    size_before: HostSize | None
    """None without a lock before, or when that one no longer meets the manifest."""
    size_after: HostSize


@dataclass(frozen=True, slots=True)
class OutdatedPackage:
    """A locked package that the archive has another version of, or no longer has."""

    part: str
    """host or toolbox."""
    name: str
    locked: str
    newest: str
    """"" when the archive no longer has the package."""
    suite: str
    security: bool
    """It comes from the security archive."""


def propose_lock(
    request: BuildRequest, session: Session, *, update: bool, only: Sequence[str] = ()
) -> LockProposal:
    """Make the lock that a manifest would get now; `write_proposal` writes it.

    Without `update`, what is locked stays; with it, everything moves, or `only` these packages.
    Raises: ArchiveError; ResolveError; UsageError for a package that is not in the lock.
    """
    manifest = load_manifest(request, session)
    request = with_archives(request, manifest)
    recovery = CacheRecovery(session)
    while True:
        with recovery:
            return _propose_lock(request, manifest, session, update=update, only=only)


def _propose_lock(
    request: BuildRequest,
    manifest: Manifest,
    session: Session,
    *,
    update: bool,
    only: Sequence[str],
) -> LockProposal:
    lock_path = locate_lock(request, manifest)
    before = lockfile.read_lock(lock_path) if lock_path.exists() else None
    pins = () if before is None else (*before.packages, *before.toolbox)
    if update:
        _check_package_names(only, pins, lock_path)
        pins = tuple(one for one in pins if only and one.name not in only)
    resolved = create_lock(request, manifest, session, pins)
    if manifest.kernel.is_built:  # the lock has its source; what comes of it is looked at here
        resolved = resolve_host(request, manifest, resolved.lock, session)
    if before is not None and not request.allow_downgrade:
        _refuse_older_suites(before, resolved.lock, lock_path)
    changes = diff_locks(before, resolved.lock)
    size_before = (
        _measure_before(request, manifest, before, session) if changes and before else None
    )
    return LockProposal(
        lock_path,
        before,
        resolved.lock,
        changes,
        size_before,
        measure_host(request, resolved, session),
    )


def write_proposal(proposal: LockProposal) -> None:
    """Write a proposed lock where it differs from the one that is there."""
    if proposal.before != proposal.after:
        lockfile.write_lock(proposal.lock_path, proposal.after)


def list_outdated(request: BuildRequest, session: Session) -> tuple[OutdatedPackage, ...]:
    """The packages of a lock that the archive has in other versions; nothing is fetched but indices.

    Raises: UsageError without a lock; ArchiveError.
    """
    manifest = load_manifest(request, session)
    request = with_archives(request, manifest)
    recovery = CacheRecovery(session)
    while True:
        with recovery:
            return tuple(_list_outdated(request, manifest, session))


def _list_outdated(
    request: BuildRequest, manifest: Manifest, session: Session
) -> list[OutdatedPackage]:
    lock = require_lock(request, manifest)
    index = open_archives(request, manifest, manifest.arch, session)
    rows = _compare_versions("host", lock.packages, index)
    if lock.toolbox:
        is_same_source = (
            detect_machine_arch() == manifest.arch and not manifest.archive.has_own_tool_suites
        )
        tools = index if is_same_source else open_tool_archives(request, manifest, session)
        rows += _compare_versions("toolbox", lock.toolbox, tools)
    return rows


def fetch_locked(request: BuildRequest, session: Session) -> tuple[Package, ...]:
    """Bring every package of a lock into the store; returns them.

    Raises: UsageError without a lock; ArchiveError that names all packages no mirror has, or that
    no signed index has.
    """
    manifest = load_manifest(request, session)
    request = with_archives(request, manifest)
    lock = require_lock(request, manifest)
    packages = tuple({one.sha256: one for one in (*lock.packages, *lock.toolbox)}.values())
    absent = [one for one in packages if session.store.find_verified(one.sha256) is None]
    mirror = locate_mirror(request)
    fetch_packages(
        absent, mirror, session.store, offline=request.offline, progress=session.progress
    )
    lock_path = locate_lock(request, manifest)
    check_host_packages(request, manifest, lock.packages, session, where=str(lock_path))
    # nothing of it runs here: what the manifest's own archives vouch for will do
    check_tool_packages(replace(request, chooses_tools=True), lock.toolbox, session)
    return packages


def require_lock(request: BuildRequest, manifest: Manifest) -> Lock:
    """The lock of a manifest. Raises: UsageError when there is none."""
    lock_path = locate_lock(request, manifest)
    if not lock_path.exists():
        raise UsageError(
            "there is no lock yet",
            where=str(lock_path),
            fix=f"write it first: minbuild lock {request.manifest}",
        )
    return lockfile.read_lock(lock_path)


def measure_host(request: BuildRequest, resolved: ResolvedHost, session: Session) -> HostSize:
    """Files and bytes of a host; hard links count with the file that they are."""
    extract_chosen_files(request, resolved.lock.packages, resolved.closure.files.values(), session)
    tree = make_rootfs(resolved.manifest, resolved.closure, resolved.files, session.store)
    files = [node for node in tree.nodes if node.kind is FileType.FILE]
    initramfs = estimate_initramfs(tree, resolved_host.weigh_contents(tree, session.store))
    kernel = sum(node.size for node in files if tree.is_boot_image(node))
    return HostSize(len(files), sum(node.size for node in files), initramfs + kernel)


def _measure_before(
    request: BuildRequest, manifest: Manifest, lock: Lock, session: Session
) -> HostSize | None:
    try:
        resolved = resolve_host(request, manifest, lock, session, with_accounts=False)
        return measure_host(request, resolved, session)
    except (ArchiveError, ResolveError):
        return None  # it no longer meets the manifest, or its packages are gone from the mirror


def _check_package_names(only: Sequence[str], pins: Sequence[Package], lock_path: Path) -> None:
    locked_names = sorted({package.name for package in pins})
    problems = []
    for name in only:
        if name not in locked_names:
            suggestions = difflib.get_close_matches(name, locked_names, n=1)
            fix = (
                f"did you mean {suggestions[0]}?"
                if suggestions
                else "name a package that the lock pins"
            )
            problems.append(
                UsageError(f"the lock has no package {name}", where=str(lock_path), fix=fix)
            )
    if problems:
        raise combine(problems)


def _refuse_older_suites(before: Lock, after: Lock, lock_path: Path) -> None:
    """Refuse suites that are older than those of the lock that is there. Raises: ArchiveError."""
    dates_before = {(suite.root, suite.name): suite.date for suite in before.suites}
    for suite in after.suites:
        if suite.date < dates_before.get((suite.root, suite.name), 0):
            raise ArchiveError(
                f"the archive's {suite.name} is older than the one that the lock was made from",
                where=str(lock_path),
                fix="use another mirror (--mirror URL), or go back with --allow-downgrade",
            )


def _compare_versions(
    part: str, packages: Sequence[Package], index: Index
) -> list[OutdatedPackage]:
    rows = []
    for package in packages:
        newest = index.find_package(package.name)
        if newest is None:
            rows.append(
                OutdatedPackage(part, package.name, package.version, "", "", security=False)
            )
        elif newest.sha256 != package.sha256:
            security = newest.root == SECURITY
            row = OutdatedPackage(
                part, package.name, package.version, newest.version, newest.suite, security
            )
            rows.append(row)
    return rows
