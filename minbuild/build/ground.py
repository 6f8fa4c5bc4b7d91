"""What a build stands on: the lock, the packages' facts, and the closure of the manifest."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.fetch import fetch
from minbuild.archive.index import Index, open_index
from minbuild.archive.release import Expired
from minbuild.archive.types import Lock, Package
from minbuild.build import own
from minbuild.build.archives import mirror_of, open_archives
from minbuild.build.commands import heeded, reader
from minbuild.build.growing import Grown, Market, grow
from minbuild.build.holding import held, hold
from minbuild.build.installed import installed
from minbuild.build.request import Doors, Request, lock_file, machine_arch
from minbuild.build.selection import selected
from minbuild.build.strings import Follower, check_rules, follow_names
from minbuild.build.toolsource import for_tools, open_tools, same_waiver
from minbuild.build.vouching import check_host, check_market
from minbuild.build.whereabouts import Whereabouts
from minbuild.errors import ArchiveError, ResolveError, UsageError
from minbuild.facts.content import extract_all
from minbuild.facts.gather import gather, known
from minbuild.facts.rendered import rendered
from minbuild.facts.types import Files
from minbuild.manifest.rulebook import rulebook
from minbuild.manifest.types import Archive, ImageWish, Manifest, Tool, Waiver, Where
from minbuild.resolve import explain
from minbuild.resolve.resolve import resolve
from minbuild.resolve.roots import roots, tool_roots
from minbuild.resolve.types import Closure

TOOLS = "tools.lock/2"
"""Digest over architecture and tools → the lock of these tools alone."""
NOT_FOR_TOOLS = (
    Waiver("/usr/bin/env", "the toolbox starts a script's interpreter itself", Where("", 1, 1)),
)
"""What tools never need here: coreutils, 3 MB to fetch, would come for `env` alone."""


@dataclass(frozen=True, slots=True)
class Ground:
    manifest: Manifest
    lock: Lock
    files: tuple[Files, ...]
    """Rendered files first, then the lock's packages."""
    closure: Closure


def stand(request: Request, manifest: Manifest, doors: Doors) -> Ground:
    """Use the lock that is there, or write one, and resolve the manifest.

    Raises: UsageError for `--locked` without a lock; ArchiveError; ResolveError.
    """
    place = lock_file(request, manifest)
    if place.exists():
        lock = lockfile.read(place)
        return from_lock(request, manifest, lock, place, doors)
    if request.locked:
        raise UsageError(
            "there is no lock, and --locked asks for one",
            where=str(place),
            fix=f"write it first: minbuild lock {request.told}",
        )
    ground = make_lock(request, manifest, doors)
    lockfile.write(place, ground.lock)
    own.note(lockfile.render(ground.lock).encode(), doors.store)
    doors.progress.note(f"wrote {place}: {len(ground.lock.packages)} packages for the host, "
                        f"{len(ground.lock.toolbox)} for the toolbox")  # fmt: skip
    return ground


def from_lock(
    request: Request, manifest: Manifest, lock: Lock, place: Path, doors: Doors
) -> Ground:
    """Resolve a manifest with the packages of a lock, and no others.

    Raises: ResolveError when the lock does not meet every need.
    """
    hold(request, manifest, lock, place)
    check_host(request, manifest, lock.packages, doors, where=str(place))
    own = rendered((file for one in manifest.components for file in one.files), doors.store)
    rules = rulebook(manifest.rules)
    shipped = open_packages(request, lock.packages, doors)
    bring = partial(_bring, request, doors)
    files = (own, *installed(shipped, lock.packages, rules, doors.store, bring))
    read = reader(lock.packages, doors.store, bring)
    closure = follow_names(manifest, doors.store, read, lambda strings: resolve(
        roots(manifest),
        files,
        arch=manifest.arch,
        drop=manifest.drop,
        allow_missing=manifest.allow_missing,
        dlopen=manifest.dlopen,
        rulebook=rules,
        strings=strings,
    ))  # fmt: skip
    closure = heeded(closure, files, manifest.allow_missing, read, doors.store)
    if closure.missing or closure.unused:
        error = explain.error(closure, files)
        if closure.missing:
            error = _with_whereabouts(error, closure, request, manifest, doors)
        raise _outside_lock(error, len(closure.unused), request, place)
    return Ground(manifest, lock, files, closure)


def make_lock(
    request: Request, manifest: Manifest, doors: Doors, pins: Sequence[Package] = ()
) -> Ground:
    """Choose packages for the host and the toolbox; `pins` stay as they are.

    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    apart = set(manifest.archive.tools) - set(manifest.archive.suites)
    own = [package for package in pins if package.suite not in apart]
    ground, market = _fresh(request, manifest, doors, own)
    wanted = selected(manifest.image, lab=True)
    tool_market = _tool_market(request, manifest, market, doors, pins)
    tools = grow_tools(wanted, tool_market)
    known = for_tools(manifest)
    archives = (known.archive, *known.archives, Archive())
    check_market(request, tools.packages, archives, tool_market)
    return replace(ground, lock=replace(ground.lock, toolbox=tools.packages))


def survey(request: Request, manifest: Manifest, doors: Doors) -> Ground:
    """Resolve with the lock that is there, or else with the newest packages; nothing is written.

    Without a lock, the ground's lock pins no toolbox.
    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    place = lock_file(request, manifest)
    if place.exists():
        return from_lock(request, manifest, lockfile.read(place), place, doors)
    return _fresh(request, manifest, doors, ())[0]


def _fresh(
    request: Request, manifest: Manifest, doors: Doors, pins: Sequence[Package]
) -> tuple[Ground, Market]:
    index = open_archives(request, manifest, manifest.arch, doors)
    market = _market(request, manifest, index, doors, pins)
    lists = Whereabouts(manifest, index, market.mirror, doors, request.offline)
    market = replace(market, likely=lists.packages)
    own = rendered((file for one in manifest.components for file in one.files), doors.store)
    host = grow(
        roots(manifest),
        market,
        arch=manifest.arch,
        rendered=[own],
        drop=manifest.drop,
        allow_missing=manifest.allow_missing,
        dlopen=manifest.dlopen,
        rulebook=rulebook(manifest.rules),
        follow=Follower(manifest.paths, doors.store) if manifest.paths else None,
    )
    check_rules(host.closure, manifest)
    files = (own, *host.files)
    read = reader(host.packages, doors.store, market.bring)
    closure = heeded(host.closure, files, manifest.allow_missing, read, doors.store)
    if closure.missing or closure.unused:
        raise lists.explain(explain.error(closure, files), closure)
    check_market(request, host.packages, (manifest.archive, *manifest.archives), market)
    lock = Lock(manifest.arch, market.index.suites, host.packages, ())
    return Ground(manifest, lock, files, closure), market


def grow_tools(tools: Sequence[Tool], market: Market) -> Grown:
    """Open the packages of the toolbox.

    Raises: ResolveError when a tool's need is met by no package.
    """
    wanted = [root for tool in tools for root in tool_roots(tool)]
    grown = grow(wanted, market, arch=machine_arch(), allow_missing=NOT_FOR_TOOLS)
    if grown.closure.missing:
        raise explain.error(grown.closure, grown.files)
    return grown


def stand_tools(request: Request, doors: Doors, tools: Sequence[Tool] = ()) -> Lock:
    """A lock of tools alone, kept in the store, for images without a lock beside them.

    `tools` are by default those that the usual formats and the lab need.
    """
    wanted = tools or selected(ImageWish(), lab=True)
    words = [machine_arch(), *(repr(tool.packages) for tool in wanted)]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()
    kept = doors.store.get(TOOLS, key)
    if kept is not None:
        return lockfile.parse(kept.decode(), doors.store.records)
    archive = Archive()
    index = open_index(
        archive,
        machine_arch(),
        mirror_of(request),
        doors.store,
        offline=request.offline,
        progress=doors.progress,
        allow_downgrade=request.allow_downgrade,
    )
    market = Market(index, mirror_of(request), doors, {}, request.offline)
    grown = grow_tools(wanted, market)
    check_market(request, grown.packages, (archive,), market)
    lock = Lock(machine_arch(), index.suites, (), grown.packages)
    doors.store.put(TOOLS, {key: lockfile.render(lock).encode()})
    return lock


def open_packages(request: Request, packages: Sequence[Package], doors: Doors) -> tuple[Files, ...]:
    """What locked packages offer; only those the store knows nothing of are fetched."""
    asked = [package for package in packages if package.sha256 not in doors.opened]
    new = [package for package in asked if not known(package, doors.store)]
    if new:
        get(request, new, doors)
    found = gather(asked, doors.store, doors.progress)
    doors.opened.update(zip((package.sha256 for package in asked), found, strict=True))
    return tuple(doors.opened[package.sha256] for package in packages)


def get(request: Request, packages: Sequence[Package], doors: Doors) -> None:
    """Fetch locked packages into the store; those that are damaged there, too."""
    absent = [package for package in packages if doors.store.sound(package.sha256) is None]
    if absent:
        mirror = mirror_of(request, next((one.arch for one in absent if one.arch != "all"), ""))
        fetch(absent, mirror, doors.store, offline=request.offline, progress=doors.progress)


def _bring(request: Request, doors: Doors, package: Package, digests: Collection[str]) -> None:
    """Put contents of one package into the store."""
    get(request, [package], doors)
    extract_all({package: digests}, doors.store, doors.progress)


def _market(
    request: Request, manifest: Manifest, index: Index, doors: Doors, pins: Sequence[Package]
) -> Market:
    pinned = {package.name: package for package in pins if held(manifest, package)}
    return Market(index, mirror_of(request, manifest.arch), doors, pinned, request.offline)


def _tool_market(
    request: Request, manifest: Manifest, host: Market, doors: Doors, pins: Sequence[Package]
) -> Market:
    must_be_debian = not manifest.trusted and manifest.archives
    if machine_arch() == manifest.arch and not manifest.archive.tools_apart and not must_be_debian:
        return host
    tools, index = for_tools(manifest), tool_archives(request, manifest, doors)
    own = [package for package in pins if package.suite in tools.archive.suites]
    return _market(request, tools, index, doors, own if manifest.archive.tools_apart else pins)


def tool_archives(request: Request, manifest: Manifest, doors: Doors) -> Index:
    """Open the archives that the toolbox of a manifest comes from.

    Raises: ArchiveError.
    """
    try:
        known = for_tools(manifest)
        archives = (known.archive, *known.archives)
        index = open_tools(request, manifest.archive, archives, doors)
        return replace(index, pins=known.pins)
    except Expired as error:
        if not same_waiver(manifest.archive):
            error.fix = (
                "take the tools from suites that hold (`tools:` below `archive:`), check this "
                "machine's clock, or use another mirror: `check-valid-until` is not for tools"
            )
        raise


def _with_whereabouts(
    error: ResolveError, closure: Closure, request: Request, manifest: Manifest, doors: Doors
) -> ResolveError:
    """Say of needs that a lock does not meet who has them, where the archive can be asked."""
    try:
        index = open_archives(request, manifest, manifest.arch, doors)
        mirror = mirror_of(request, manifest.arch)
    except ArchiveError as problem:
        error.fix += f" (which package has it was not looked up: {problem.what})"
        return error
    return Whereabouts(manifest, index, mirror, doors, request.offline).explain(error, closure)


def _outside_lock(error: ResolveError, idle: int, request: Request, place: Path) -> ResolveError:
    """Say first of each need that the lock may be too old for the manifest.

    `idle`: how many of the errors, from the end, are waivers; the others are needs.
    """
    if not error.where:
        error.where = str(place)
    cell = f" --cell {request.cell}" if request.cell else ""
    locks = f"minbuild lock {request.told}{cell}"
    told = (error, *error.others)
    for one in told[: len(told) - idle]:
        one.what = one.what.replace(explain.NOT_OFFERED, f"is not in {place.name}")
        one.fix = (
            f"{locks}, if the manifest has changed since {place.name} was written; else {one.fix}"
        )
    return error
