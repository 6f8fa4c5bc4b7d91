"""The facts of packages: from the store, or computed side by side and kept there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from minbuild.archive.types import Package
from minbuild.errors import ToolError
from minbuild.facts import aliases, record
from minbuild.facts.control import check_control, has_control, keep_control
from minbuild.facts.record import Entries
from minbuild.facts.types import Alias, FileFacts, Files, Symbols
from minbuild.paths import RootPath
from minbuild.progress import Progress, Silent
from minbuild.store import Store

if TYPE_CHECKING:
    from minbuild.facts.compute import Computed

R = TypeVar("R")


def gather(packages: Sequence[Package], store: Store, progress: Progress) -> tuple[Files, ...]:
    """The files and facts of `packages`, in their order; what the store lacks is computed.

    Raises: ArchiveError when packages are not in the store, cannot be read, or are others than
    they are said to be.
    """
    found = {package.sha256: _stored(package, store) for package in packages}
    missing = {p.sha256: p for p in packages if found[p.sha256] is None}
    if missing:
        with store.turn("facts"):
            left = [one for one in missing.values() if _stored(one, store) is None]
            if left:
                compute_all(left, store, progress)
        found |= {sha256: _stored(package, store) for sha256, package in missing.items()}
    for package in packages:
        check_control(package, store)
    return tuple(_files(package, found[package.sha256], store) for package in packages)


def known(package: Package, store: Store) -> bool:
    """True when the store has the facts of the package, whether or not it has the package."""
    return has_control(package, store) and _stored(package, store) is not None


def compute_all(packages: Sequence[Package], store: Store, progress: Progress) -> None:
    """Compute the facts of each package and keep them, whatever the store has."""
    from minbuild.facts.pool import cores, side_by_side

    progress.step(f"reading {len(packages)} package{'s' if len(packages) > 1 else ''}")
    tasks = [(package, cores()) for package in packages]
    for package, found in side_by_side(_compute, tasks, store, progress, "reading packages"):
        sha256 = package.sha256
        store.put(record.FACTS, [(record.key(sha256, n), row) for n, row in found.facts])
        store.put(record.SYMBOLS, [(record.key(sha256, n), row) for n, row in found.symbols])
        keep_control(sha256, found.control, store)
        store.put(record.FILES, {sha256: found.files})


def _compute(path: Path, name: str, threads: int) -> "Computed":
    from minbuild.facts.compute import compute

    return compute(path, name, threads)


def _stored(package: Package, store: Store) -> "tuple[record.About, Entries] | None":
    found = store.get(record.FILES, package.sha256)
    try:
        return None if found is None else record.read_files(found)
    except record.Stale:
        return None


def _files(package: Package, known: "tuple[record.About, Entries] | None", store: Store) -> Files:
    if known is None:
        raise _unsound(package, store)
    about, entries = known
    lazy = _Lazy(package, entries, store)
    return Files(
        owner=package.name,
        entries=entries,
        facts=lazy.facts,
        symbols=lazy.symbols,
        depends=about.depends,
        provides=about.provides,
        version=about.version,
        aliases=lazy.aliases,
    )


@dataclass(frozen=True, slots=True)
class _Lazy:
    """Loads one record when asked, and keeps it; a damaged one is computed again with its package."""

    package: Package
    entries: Entries
    store: Store
    loaded: dict[tuple[str, int], object] = field(default_factory=dict)

    def facts(self, path: RootPath) -> FileFacts | None:
        return self._load(path, record.HAS_FACTS, record.FACTS, record.read_facts)

    def symbols(self, path: RootPath) -> Symbols | None:
        return self._load(path, record.HAS_SYMBOLS, record.SYMBOLS, record.read_symbols)

    def aliases(self, bus: str | None) -> Sequence[Alias]:
        return aliases.kept(self.package.sha256, bus, self.entries.paths, self.facts, self.store)

    def _load(self, path: RootPath, flag: int, kind: str, read: Callable[[bytes], R]) -> R | None:
        index, flags = self.entries.flags(path)
        if flags & 3 == record.HARDLINK:
            index, flags = self.entries.flags(RootPath(self.entries[path].target))
        if not flags & flag:
            return None
        if (kind, index) not in self.loaded:
            self.loaded[kind, index] = self._read(index, kind, read)
        return cast(R, self.loaded[kind, index])

    def _read(self, index: int, kind: str, read: Callable[[bytes], R]) -> R:
        for attempt in (1, 2):
            found = self.store.get(kind, record.key(self.package.sha256, index))
            try:
                if found is not None:
                    return read(found)
            except record.Stale:
                pass
            if attempt == 1:
                compute_all([self.package], self.store, Silent())
        raise _unsound(self.package, self.store)


def _unsound(package: Package, store: Store) -> ToolError:
    return ToolError(
        f"the store does not keep what is written to it (facts of {package.name})",
        where=str(store.directory),
        fix="check the disk there, or name another store: --store DIR",
    )
