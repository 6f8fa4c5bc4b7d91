"""Tools of a lock: the packages that they depend on, pinned unopened, and opened as needs name them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from minbuild.archive.model import Package
from minbuild.archive.provider_guess import guess_providers
from minbuild.facts.model import PackageFiles
from minbuild.pipeline.package_selection import PackageSource, find_root_packages
from minbuild.resolve.model import Closure, Root, UnmetNeed
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve


def list_depended_packages(roots: Sequence[Root], source: PackageSource) -> tuple[Package, ...]:
    """The packages that roots name, with all that these depend on; none is fetched.

    Of alternatives the first that the archive has. What has nothing of it there is left out: it is
    missed when a tool needs it. Source: Debian Policy 7.2, "Depends".
    Raises: ArchiveError for packages that roots name and no suite has.
    """
    packages: dict[str, Package] = {}
    waiting = find_root_packages(roots, source)
    while waiting:
        package = waiting.pop()
        if package.name in packages:
            continue
        packages[package.name] = package
        for alternatives in source.index.find_depends(package.name):
            if packages.keys().isdisjoint(alternatives):
                waiting += [*_find_alternatives(alternatives, source)][:1]
    return tuple(packages.values())


def _find_alternatives(names: Sequence[str], source: PackageSource) -> Iterator[Package]:
    for name in names:
        for real_name in (name, *source.index.find_providers(name)):
            package = source.find_package(real_name)
            if package is not None:
                yield package


@dataclass(frozen=True, slots=True)
class LockedPackages:
    """The packages of a lock as an index; what one depends on is known when it is opened."""

    packages: dict[str, Package]
    opened: dict[str, PackageFiles] = field(default_factory=dict)

    def find_package(self, name: str) -> Package | None:
        return self.packages.get(name)

    def find_depends(self, name: str) -> tuple[tuple[str, ...], ...]:
        return self.opened[name].depends if name in self.opened else ()

    def find_providers(self, virtual: str) -> tuple[str, ...]:
        return tuple(name for name, files in self.opened.items() if virtual in files.provides)

    def find_names(self, prefix: str) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.packages if name.startswith(prefix)))

    def pick_unopened(self, needs: Sequence[UnmetNeed]) -> list[Package]:
        """For each need the likeliest package that is not open; all others where nobody is likely."""
        picks: dict[str, Package] = {}
        for need in needs:
            guesses = guess_providers(self, need.package, need.kind.guess, need.wanted)
            name = next((one for one in (need.package, *guesses) if self._is_unopened(one)), "")
            if name:
                picks[name] = self.packages[name]
        return list(picks.values()) or [
            package for name, package in self.packages.items() if self._is_unopened(name)
        ]

    def _is_unopened(self, name: str) -> bool:
        return name in self.packages and name not in self.opened


def resolve_locked_roots(
    roots: Sequence[Root],
    locked: Sequence[Package],
    open_packages: Callable[[Sequence[Package]], Sequence[PackageFiles]],
    *,
    arch: str,
    policy: ResolvePolicy,
) -> tuple[Closure, tuple[PackageFiles, ...]]:
    """Resolve roots with the packages of a lock; opens those that needs lead to.

    What is unmet in the closure, no package of the lock has. Returns the opened packages, too.
    """
    index = LockedPackages({package.name: package for package in locked})
    names = {root.package for root in roots}
    unopened = [package for package in locked if package.name in names]
    while True:
        index.opened.update((files.owner, files) for files in open_packages(unopened))
        files = tuple(index.opened[name] for name in sorted(index.opened))
        closure = resolve(roots, files, arch=arch, policy=policy)
        unopened = index.pick_unopened(closure.unmet_needs) if closure.unmet_needs else []
        if not unopened:
            return closure, files
