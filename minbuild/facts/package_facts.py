"""Facts of packages: from the store, or computed in parallel and stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from minbuild.archive.model import Package
from minbuild.cache.kinds import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.facts import module_aliases, serialize
from minbuild.facts.control_file import check_identity, has_identity, store_identity
from minbuild.facts.model import FileFacts, ModuleAlias, PackageFiles, Symbols
from minbuild.facts.package_analysis import PackageRecords, analyse_package
from minbuild.facts.process_pool import map_packages
from minbuild.facts.serialize import PackageEntries
from minbuild.parallel import count_cpus
from minbuild.paths import RootPath
from minbuild.progress import Progress, SilentProgress

R = TypeVar("R")


def load_facts(
    packages: Sequence[Package], store: Store, progress: Progress
) -> tuple[PackageFiles, ...]:
    """The files and facts of `packages`, in their order; what the store lacks is computed.

    Raises: ArchiveError when packages are not in the store, cannot be read, or are others than
    they are said to be.
    """
    cached = {package.sha256: _read_cached(package, store) for package in packages}
    missing = {p.sha256: p for p in packages if cached[p.sha256] is None}
    if missing:
        with store.lock("facts"):
            uncached = [one for one in missing.values() if _read_cached(one, store) is None]
            if uncached:
                analyse_packages(uncached, store, progress)
        cached |= {sha256: _read_cached(package, store) for sha256, package in missing.items()}
    for package in packages:
        check_identity(package, store)
    return tuple(
        _make_package_files(package, cached[package.sha256], store) for package in packages
    )


def is_analysed(package: Package, store: Store) -> bool:
    """True when the store has the facts of the package, whether or not it has the package."""
    return has_identity(package, store) and _read_cached(package, store) is not None


def analyse_packages(packages: Sequence[Package], store: Store, progress: Progress) -> None:
    """Compute the facts of each package and keep them, whatever the store has."""
    progress.step(f"reading {len(packages)} package{'s' if len(packages) > 1 else ''}")
    spools = store.unpacked
    tasks = [(package, (count_cpus(), spools.directory / package.sha256)) for package in packages]
    for package, records in map_packages(_analyse, tasks, store, progress, "reading packages"):
        sha256 = package.sha256
        spools.add(spools.directory / sha256, records.spooled)
        store.put(
            RecordKind.FACTS,
            [(serialize.record_key(sha256, n), row) for n, row in records.facts],
        )
        store.put(
            RecordKind.SYMBOLS,
            [(serialize.record_key(sha256, n), row) for n, row in records.symbols],
        )
        store_identity(sha256, records.control, store)
        store.put(RecordKind.FILES, {sha256: records.files})


def _analyse(path: Path, name: str, settings: tuple[int, Path]) -> PackageRecords:
    return analyse_package(path, name, *settings)


def _read_cached(
    package: Package, store: Store
) -> "tuple[serialize.ControlInfo, PackageEntries] | None":
    data = store.get(RecordKind.FILES, package.sha256)
    try:
        return None if data is None else serialize.decode_files(data)
    except serialize.StaleRecord:
        return None


def _make_package_files(
    package: Package, cached: "tuple[serialize.ControlInfo, PackageEntries] | None", store: Store
) -> PackageFiles:
    if cached is None:
        raise _unreliable_cache_error(package, store)
    info, entries = cached
    lazy = _LazyFacts(package, entries, store)
    return PackageFiles(
        owner=package.name,
        entries=entries,
        facts=lazy.get_facts,
        symbols=lazy.get_symbols,
        depends=info.depends,
        provides=info.provides,
        version=info.version,
        aliases=lazy.get_aliases,
    )


@dataclass(frozen=True, slots=True)
class _LazyFacts:
    """Loads one record when asked, and keeps it; a damaged one is computed again with its package."""

    package: Package
    entries: PackageEntries
    store: Store
    loaded: dict[tuple[str, int], object] = field(default_factory=dict)

    def get_facts(self, path: RootPath) -> FileFacts | None:
        return self._load_record(
            path, serialize.HAS_FACTS, RecordKind.FACTS, serialize.decode_facts
        )

    def get_symbols(self, path: RootPath) -> Symbols | None:
        return self._load_record(
            path, serialize.HAS_SYMBOLS, RecordKind.SYMBOLS, serialize.decode_symbols
        )

    def get_aliases(self, bus: str | None) -> Sequence[ModuleAlias]:
        return module_aliases.load_aliases(
            self.package.sha256, bus, self.entries.paths, self.get_facts, self.store
        )

    def _load_record(
        self, path: RootPath, flag: int, kind: RecordKind, read: Callable[[bytes], R]
    ) -> R | None:
        index, flags = self.entries.find_index_and_flags(path)
        if flags & 3 == serialize.HARDLINK:
            index, flags = self.entries.find_index_and_flags(RootPath(self.entries[path].target))
        if not flags & flag:
            return None
        if (kind, index) not in self.loaded:
            self.loaded[kind, index] = self._read_record(index, kind, read)
        return cast(R, self.loaded[kind, index])

    def _read_record(self, index: int, kind: RecordKind, read: Callable[[bytes], R]) -> R:
        for attempt in (1, 2):
            data = self.store.get(kind, serialize.record_key(self.package.sha256, index))
            try:
                if data is not None:
                    return read(data)
            except serialize.StaleRecord:
                pass
            if attempt == 1:
                analyse_packages([self.package], self.store, SilentProgress())
        raise _unreliable_cache_error(self.package, self.store)


def _unreliable_cache_error(package: Package, store: Store) -> ToolError:
    return ToolError(
        f"the store does not keep what is written to it (facts of {package.name})",
        where=str(store.directory),
        fix="check the disk there, or name another store: --store DIR",
    )
