"""How a set of packages grows until every need is met."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from minbuild.archive.candidates import candidates
from minbuild.archive.fetch import fetch
from minbuild.archive.index import Index
from minbuild.archive.mirror import Mirror
from minbuild.archive.types import Package
from minbuild.build.commands import reader
from minbuild.build.installed import installed
from minbuild.build.request import Doors
from minbuild.build.strings import Follower
from minbuild.errors import ArchiveError, together
from minbuild.facts.content import extract_all
from minbuild.facts.gather import gather
from minbuild.facts.types import Files
from minbuild.manifest.rule import NO_RULES, Rulebook
from minbuild.manifest.types import DlopenRule, Waiver
from minbuild.paths import RootPath
from minbuild.resolve import seeds
from minbuild.resolve.resolve import NO_STRINGS, resolve
from minbuild.resolve.types import Closure, Missing, Root

LISTED = 3
"""Packages that are opened because a list of files says that they have what is needed."""
TRIES = 8
"""Packages that are opened in search of one need before it counts as missing."""


@dataclass(frozen=True, slots=True)
class Market:
    """Where packages can be had: an index, with pins that go before it."""

    index: Index
    mirror: Mirror
    doors: Doors
    pins: dict[str, Package] = field(default_factory=dict)
    offline: bool = False
    likely: Callable[[Missing], Iterator[Package]] | None = None
    """Who has what a guess by names did not find; None: nobody is asked."""

    def package(self, name: str) -> Package | None:
        return self.pins.get(name) or self.index.package(name)

    def open(self, packages: Sequence[Package]) -> tuple[Files, ...]:
        """Fetch packages and read what they offer."""
        doors = self.doors
        fetch(packages, self.mirror, doors.store, offline=self.offline, progress=doors.progress)
        return gather(packages, doors.store, doors.progress)

    def bring(self, package: Package, digests: Collection[str]) -> None:
        """Put contents of an opened package into the store."""
        extract_all({package: digests}, self.doors.store, self.doors.progress)


@dataclass(frozen=True, slots=True)
class Grown:
    closure: Closure
    packages: tuple[Package, ...]
    """Those that the closure takes a file from, and those that roots name; sorted by name."""
    files: tuple[Files, ...]


def grow(
    roots: Sequence[Root],
    market: Market,
    *,
    arch: str,
    rendered: Sequence[Files] = (),
    drop: Sequence[Waiver] = (),
    allow_missing: Sequence[Waiver] = (),
    dlopen: Sequence[DlopenRule] = (),
    rulebook: Rulebook = NO_RULES,
    follow: Follower | None = None,
) -> Grown:
    """Open packages until the closure of `roots` is met, or nothing is left to try.

    What is still missing then stands in the closure. `follow` says whose named paths come along;
    they are looked for in the packages that the files' own packages depend on, too.
    Raises: ArchiveError for packages that roots name and no suite has.
    """
    opened: dict[str, Package] = {}
    files: dict[str, Files] = {}
    tried: dict[tuple[str, str], int] = {}
    new = _named(roots, market)
    while True:
        opened |= {package.name: package for package in new}
        found = installed(market.open(new), new, rulebook, market.doors.store, market.bring)
        files |= {one.owner: one for one in found}
        closure = resolve(
            roots,
            [*rendered, *(files[name] for name in sorted(files))],
            arch=arch,
            drop=drop,
            allow_missing=allow_missing,
            dlopen=dlopen,
            rulebook=rulebook,
            strings=follow.strings if follow is not None else NO_STRINGS,
        )
        new = _next(closure.missing, opened, tried, market) or _listed(closure, opened, market)
        if new or follow is None:
            if not new:
                break
            continue
        read = reader(list(opened.values()), market.doors.store, market.bring)
        more = follow.read_more(closure, read)
        if not more:
            break
        new = _depended({closure.chosen[path].package for path in more}, opened, market)
    kept = {chosen.package for chosen in closure.chosen.values()}
    kept |= {root.package for root in roots} | set(_of_kernel(files, closure.kernel))
    packages = tuple(opened[name] for name in sorted(opened) if name in kept)
    return Grown(closure, packages, tuple(files[package.name] for package in packages))


def _listed(closure: Closure, opened: dict[str, Package], market: Market) -> list[Package]:
    """For each need that guesses did not meet, the first package that has it and is not open."""
    if market.likely is None:
        return []
    new: dict[str, Package] = {}
    for need in closure.missing:
        found = islice(market.likely(need), LISTED) if need.package else iter(())
        package = next((one for one in found if one.name not in opened), None)
        if package is not None:
            new[package.name] = package
    return list(new.values())


def _of_kernel(files: Mapping[str, Files], version: str) -> Iterator[str]:
    """Packages that say what a kernel has built in, and those that only lead to them."""
    place = RootPath(f"/usr/lib/modules/{version}")
    for name, one in files.items():
        if version and (place in one.entries or (version in name and seeds.only_paper(one))):
            yield name


def _named(roots: Sequence[Root], market: Market) -> list[Package]:
    found: dict[str, Package] = {}
    problems: list[ArchiveError] = []
    for root in roots:
        if not root.package or root.package in found:
            continue
        package = market.package(root.package)
        if package is None:
            near = market.index.nearest(root.package)
            problems.append(
                ArchiveError(
                    f"there is no package {root.package} in {market.index.name}",
                    where=root.evidence,
                    fix=f"did you mean {near}?" if near else "correct the name or add its suite",
                )
            )
        else:
            found[root.package] = package
    if problems:
        raise together(problems)
    return list(found.values())


def _depended(
    names: Collection[str], opened: Mapping[str, Package], market: Market
) -> list[Package]:
    """Packages that others depend on and that are not yet opened, those that are no libraries first."""
    wanted = [
        name
        for package in sorted(names)
        for alternatives in (market.index.depends(package) if package else ())
        for name in alternatives[:1]
        if name not in opened
    ]
    wanted.sort(key=lambda name: name.startswith("lib"))
    found = (market.package(name) for name in dict.fromkeys(wanted))
    return [package for package in found if package is not None][:TRIES]


def _next(
    missing: Sequence[Missing],
    opened: dict[str, Package],
    tried: dict[tuple[str, str], int],
    market: Market,
) -> list[Package]:
    """The best package not yet opened for each need that is not met."""
    new: dict[str, Package] = {}
    for need in missing:
        key = (need.kind, need.wanted)
        if not need.package or tried.get(key, 0) >= TRIES:
            continue
        likely = candidates(market.index, need.package, need.kind, need.wanted)
        for name in (need.package, *likely):
            package = market.package(name)
            if package is not None and name not in opened:
                tried[key] = tried.get(key, 0) + 1
                new[name] = package
                break
    return list(new.values())
