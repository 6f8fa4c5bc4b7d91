"""What a lock would become, what the archive has newer than a lock, and filling the store from one."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.changes import Change, differences
from minbuild.archive.fetch import fetch
from minbuild.archive.index import Index
from minbuild.archive.mirror import SECURITY
from minbuild.archive.types import Lock, Package
from minbuild.build import weights
from minbuild.build.archives import mirror_of, open_archives
from minbuild.build.contents import bring
from minbuild.build.ground import Ground, from_lock, make_lock, tool_archives
from minbuild.build.request import Doors, Request, lock_file, machine_arch
from minbuild.build.vouching import check_host, check_tools
from minbuild.build.weights import estimate
from minbuild.errors import ArchiveError, ResolveError, UsageError, together
from minbuild.facts.types import Kind
from minbuild.manifest.types import Manifest
from minbuild.tree.assemble import assemble


@dataclass(frozen=True, slots=True)
class Weight:
    """What a host weighs, before it is packed."""

    files: int
    bytes: int
    packed: int
    """Estimated, as by `plan`."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A lock that could be written."""

    place: Path
    before: Lock | None
    after: Lock
    changes: tuple[Change, ...]
    was: Weight | None
    """None without a lock before, or when that one no longer meets the manifest."""
    becomes: Weight


@dataclass(frozen=True, slots=True)
class Newer:
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


def propose(
    request: Request, manifest: Manifest, doors: Doors, *, update: bool, only: Sequence[str] = ()
) -> Proposal:
    """Make the lock that a manifest would get now; nothing is written.

    Without `update`, what is locked stays; with it, everything moves, or `only` these packages.
    Raises: ArchiveError; ResolveError; UsageError for a package that is not in the lock.
    """
    place = lock_file(request, manifest)
    before = lockfile.read(place) if place.exists() else None
    pins = () if before is None else (*before.packages, *before.toolbox)
    if update:
        _check_names(only, pins, place)
        pins = tuple(one for one in pins if only and one.name not in only)
    ground = make_lock(request, manifest, doors, pins)
    if before is not None and not request.allow_downgrade:
        _hold(before, ground.lock, place)
    found = differences(before, ground.lock)
    was = _before(request, manifest, before, place, doors) if found and before else None
    return Proposal(place, before, ground.lock, found, was, weigh(request, ground, doors))


def accept(proposal: Proposal) -> None:
    """Write a proposed lock where it differs from the one that is there."""
    if proposal.before != proposal.after:
        lockfile.write(proposal.place, proposal.after)


def newer(request: Request, manifest: Manifest, doors: Doors) -> tuple[Newer, ...]:
    """The packages of a lock that the archive has in other versions; nothing is fetched but indices.

    Raises: UsageError without a lock; ArchiveError.
    """
    lock = the_lock(request, manifest)
    index = open_archives(request, manifest, manifest.arch, doors)
    rows = _newer("host", lock.packages, index)
    if lock.toolbox:
        same = machine_arch() == manifest.arch and not manifest.archive.tools_apart
        tools = index if same else tool_archives(request, manifest, doors)
        rows += _newer("toolbox", lock.toolbox, tools)
    return tuple(rows)


def fill(request: Request, manifest: Manifest, doors: Doors) -> tuple[Package, ...]:
    """Bring every package of a lock into the store; returns them.

    Raises: UsageError without a lock; ArchiveError that names all packages no mirror has, or that
    no signed index has.
    """
    lock = the_lock(request, manifest)
    packages = tuple({one.sha256: one for one in (*lock.packages, *lock.toolbox)}.values())
    absent = [one for one in packages if doors.store.sound(one.sha256) is None]
    mirror = mirror_of(request)
    fetch(absent, mirror, doors.store, offline=request.offline, progress=doors.progress)
    place = lock_file(request, manifest)
    check_host(request, manifest, lock.packages, doors, where=str(place))
    # nothing of it runs here: what the manifest's own archives vouch for will do
    check_tools(replace(request, chooses_tools=True), lock.toolbox, doors)
    return packages


def the_lock(request: Request, manifest: Manifest) -> Lock:
    """The lock of a manifest. Raises: UsageError when there is none."""
    place = lock_file(request, manifest)
    if not place.exists():
        raise UsageError(
            "there is no lock yet",
            where=str(place),
            fix=f"write it first: minbuild lock {request.manifest}",
        )
    return lockfile.read(place)


def weigh(request: Request, ground: Ground, doors: Doors) -> Weight:
    """Files and bytes of a host; hard links count with the file that they are."""
    bring(request, ground.lock.packages, ground.closure.chosen.values(), doors)
    tree = assemble(ground.manifest, ground.closure, ground.files, doors.store)
    files = [node for node in tree.nodes if node.kind is Kind.FILE]
    initramfs = estimate(tree, weights.weigh(tree, doors.store))
    kernel = sum(node.size for node in files if node.path == tree.kernel)
    return Weight(len(files), sum(node.size for node in files), initramfs + kernel)


def _before(
    request: Request, manifest: Manifest, lock: Lock, place: Path, doors: Doors
) -> Weight | None:
    try:
        return weigh(request, from_lock(request, manifest, lock, place, doors), doors)
    except (ArchiveError, ResolveError):
        return None  # it no longer meets the manifest, or its packages are gone from the mirror


def _check_names(only: Sequence[str], pins: Sequence[Package], place: Path) -> None:
    known = sorted({package.name for package in pins})
    problems = []
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]}?" if near else "name a package that the lock pins"
            problems.append(
                UsageError(f"the lock has no package {name}", where=str(place), fix=fix)
            )
    if problems:
        raise together(problems)


def _hold(before: Lock, after: Lock, place: Path) -> None:
    """Refuse suites that are older than those of the lock that is there. Raises: ArchiveError."""
    was = {(suite.root, suite.name): suite.date for suite in before.suites}
    for suite in after.suites:
        if suite.date < was.get((suite.root, suite.name), 0):
            raise ArchiveError(
                f"the archive's {suite.name} is older than the one that the lock was made from",
                where=str(place),
                fix="use another mirror (--mirror URL), or go back with --allow-downgrade",
            )


def _newer(part: str, packages: Sequence[Package], index: Index) -> list[Newer]:
    rows = []
    for package in packages:
        now = index.package(package.name)
        if now is None:
            rows.append(Newer(part, package.name, package.version, "", "", security=False))
        elif now.sha256 != package.sha256:
            security = now.root == SECURITY
            row = Newer(part, package.name, package.version, now.version, now.suite, security)
            rows.append(row)
    return rows
