"""Selection of packages: the set grows until every need is met."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from minbuild.archive.download import fetch_packages
from minbuild.archive.index import Index
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import Package
from minbuild.archive.provider_guess import guess_providers
from minbuild.errors import ArchiveError, combine
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import extract_from_packages, load_facts
from minbuild.paths import RootPath
from minbuild.pipeline.maintainer_scripts import with_generated_files
from minbuild.pipeline.named_paths import PathFollower
from minbuild.pipeline.session import Session
from minbuild.pipeline.shell_check import make_content_reader
from minbuild.resolve import root_selection
from minbuild.resolve.model import Closure, Root, UnmetNeed
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy
from minbuild.resolve.resolution import NO_STRINGS, resolve

MAX_LISTED_PROVIDERS = 3
"""Packages that are opened because a list of files says that they have what is needed."""
MAX_TRIED_PACKAGES = 8
"""Packages that are opened in search of one need before it counts as missing."""


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Where packages can be had: an index, with pins that go before it."""

    index: Index
    mirror: Mirror
    session: Session
    pins: dict[str, Package] = field(default_factory=dict)
    offline: bool = False
    find_providers: Callable[[UnmetNeed], Iterator[Package]] | None = None
    """Who has what a guess by names did not find; None: nobody is asked."""

    def find_package(self, name: str) -> Package | None:
        return self.pins.get(name) or self.index.find_package(name)

    def fetch_and_analyse(self, packages: Sequence[Package]) -> tuple[PackageFiles, ...]:
        """Fetch packages and read what they offer."""
        session = self.session
        fetch_packages(
            packages, self.mirror, session.store, offline=self.offline, progress=session.progress
        )
        return load_facts(packages, session.store, session.progress)

    def extract_to_cache(self, package: Package, digests: Collection[str]) -> None:
        """Put contents of an opened package into the store."""
        extract_from_packages({package: digests}, self.session.store, self.session.progress)


@dataclass(frozen=True, slots=True)
class PackageSelection:
    closure: Closure
    packages: tuple[Package, ...]
    """Those that the closure takes a file from, and those that roots name; sorted by name."""
    files: tuple[PackageFiles, ...]


def select_packages(
    roots: Sequence[Root],
    source: PackageSource,
    *,
    arch: str,
    manifest_files: Sequence[PackageFiles] = (),
    policy: ResolvePolicy = DEFAULT_POLICY,
    follower: PathFollower | None = None,
) -> PackageSelection:
    """Open packages until the closure of `roots` is met, or nothing is left to try.

    What is still missing then stands in the closure. `follow` says whose named paths come along;
    they are looked for in the packages that the files' own packages depend on, too.
    Raises: ArchiveError for packages that roots name and no suite has.
    """
    packages_by_name: dict[str, Package] = {}
    files: dict[str, PackageFiles] = {}
    attempts: dict[tuple[str, str], int] = {}
    new_packages = find_root_packages(roots, source)
    while True:
        packages_by_name |= {package.name: package for package in new_packages}
        files |= _analyse(new_packages, source, policy)
        closure = resolve(
            roots,
            [*manifest_files, *(files[name] for name in sorted(files))],
            arch=arch,
            policy=policy,
            strings=follower.strings if follower is not None else NO_STRINGS,
        )
        new_packages = _pick_untried_packages(
            closure.unmet_needs, packages_by_name, attempts, source
        ) or _pick_listed_providers(closure, packages_by_name, source)
        if new_packages:
            continue
        new_paths = _read_named_paths(follower, closure, packages_by_name, source)
        if not new_paths:
            return _make_selection(closure, roots, packages_by_name, files)
        new_packages = _list_dependencies(
            {closure.files[path].package for path in new_paths}, packages_by_name, source
        )


def _read_named_paths(
    follower: PathFollower | None,
    closure: Closure,
    packages: Mapping[str, Package],
    source: PackageSource,
) -> Collection[RootPath]:
    """Files whose named paths were read now; none where nobody follows them."""
    if follower is None:
        return ()
    store, extract = source.session.store, source.extract_to_cache
    return follower.read_more(closure, make_content_reader(list(packages.values()), store, extract))


def _analyse(
    packages: Sequence[Package], source: PackageSource, policy: ResolvePolicy
) -> dict[str, PackageFiles]:
    """The files of packages by their names, with those that maintainer scripts would generate."""
    package_files = with_generated_files(
        source.fetch_and_analyse(packages),
        packages,
        policy.rules,
        source.session.store,
        source.extract_to_cache,
    )
    return {files.owner: files for files in package_files}


def _make_selection(
    closure: Closure,
    roots: Sequence[Root],
    packages_by_name: Mapping[str, Package],
    files: Mapping[str, PackageFiles],
) -> PackageSelection:
    """The packages of which a closure has files, which roots name, or which have the kernel."""
    needed_names = {selected.package for selected in closure.files.values()}
    needed_names |= {root.package for root in roots}
    needed_names |= set(_find_kernel_packages(files, closure.kernel_release))
    packages = tuple(
        packages_by_name[name] for name in sorted(packages_by_name) if name in needed_names
    )
    return PackageSelection(closure, packages, tuple(files[package.name] for package in packages))


def _pick_listed_providers(
    closure: Closure, packages_by_name: dict[str, Package], source: PackageSource
) -> list[Package]:
    """For each need that guesses did not meet, the first package that has it and is not open."""
    if source.find_providers is None:
        return []
    providers: dict[str, Package] = {}
    for need in closure.unmet_needs:
        likely = (
            islice(source.find_providers(need), MAX_LISTED_PROVIDERS) if need.package else iter(())
        )
        package = next((one for one in likely if one.name not in packages_by_name), None)
        if package is not None:
            providers[package.name] = package
    return list(providers.values())


def _find_kernel_packages(files: Mapping[str, PackageFiles], version: str) -> Iterator[str]:
    """Packages that say what a kernel has built in, and those that only lead to them."""
    module_directory = RootPath(f"/usr/lib/modules/{version}")
    for name, package_files in files.items():
        if version and (
            module_directory in package_files.entries
            or (version in name and root_selection.is_metapackage(package_files))
        ):
            yield name


def find_root_packages(roots: Sequence[Root], source: PackageSource) -> list[Package]:
    """The packages that roots name. Raises: ArchiveError for each that no suite has."""
    packages: dict[str, Package] = {}
    problems: list[ArchiveError] = []
    for root in roots:
        if not root.package or root.package in packages:
            continue
        package = source.find_package(root.package)
        if package is None:
            suggestion = source.index.find_similar_name(root.package)
            problems.append(
                ArchiveError(
                    f"there is no package {root.package} in {source.index.name}",
                    where=root.evidence,
                    fix=f"did you mean {suggestion}?"
                    if suggestion
                    else "correct the name or add its suite",
                )
            )
        else:
            packages[root.package] = package
    if problems:
        raise combine(problems)
    return list(packages.values())


def _list_dependencies(
    names: Collection[str], packages_by_name: Mapping[str, Package], source: PackageSource
) -> list[Package]:
    """Packages that others depend on and that are not yet opened, those that are no libraries first."""
    dependencies = [
        name
        for package in sorted(names)
        for alternatives in (source.index.find_depends(package) if package else ())
        for name in alternatives[:1]
        if name not in packages_by_name
    ]
    dependencies.sort(key=lambda name: name.startswith("lib"))
    packages = (source.find_package(name) for name in dict.fromkeys(dependencies))
    return [package for package in packages if package is not None][:MAX_TRIED_PACKAGES]


def _pick_untried_packages(
    missing: Sequence[UnmetNeed],
    packages_by_name: dict[str, Package],
    attempts: dict[tuple[str, str], int],
    source: PackageSource,
) -> list[Package]:
    """The best package not yet opened for each need that is not met."""
    picks: dict[str, Package] = {}
    for need in missing:
        key = (need.kind, need.wanted)
        if not need.package or attempts.get(key, 0) >= MAX_TRIED_PACKAGES:
            continue
        guesses = guess_providers(source.index, need.package, need.kind.guess, need.wanted)
        for name in (need.package, *guesses):
            package = source.find_package(name)
            if package is not None and name not in packages_by_name:
                attempts[key] = attempts.get(key, 0) + 1
                picks[name] = package
                break
    return list(picks.values())
