"""Facts and contents of packages, from the store or computed in parallel and stored."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ArchiveError, MalformedFile, ToolError
from minbuild.facts import detect, module_aliases, serialize
from minbuild.facts.model import FileEntry, FileFacts, ModuleAlias, PackageFiles
from minbuild.facts.package_analysis import (
    MAX_FILE_SIZE,
    analyse_package,
    check_identity,
    encode_content_facts,
    has_identity,
    store_identity,
)
from minbuild.facts.process_pool import label_package, map_packages
from minbuild.facts.serialize import PackageEntries
from minbuild.file_io import hash_pieces, translate_disk_errors
from minbuild.formats.deb import open_deb, resolve_image_path
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar import Tar
from minbuild.formats.tar_header import TarType
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
    """True when the store has the facts of the package, whether or not it has the package.

    False for one that this run has missed since.
    """
    if package.sha256 in store.lost_packages and store.path(package.sha256) is None:
        return False
    return has_identity(package, store) and _read_cached(package, store) is not None


def analyse_packages(packages: Sequence[Package], store: Store, progress: Progress) -> None:
    """Compute the facts of each package and keep them, whatever the store has."""
    progress.step(f"reading {len(packages)} package{'s' if len(packages) > 1 else ''}")
    spools = store.unpacked
    tasks = [(package, spools.directory / package.sha256) for package in packages]
    for package, records in map_packages(
        analyse_package, tasks, store, progress, "reading packages"
    ):
        sha256 = package.sha256
        spools.add(spools.directory / sha256, records.spooled)
        store.put(
            RecordKind.FACTS,
            [(serialize.record_key(sha256, n), row) for n, row in records.facts],
        )
        store.put(
            RecordKind.MODULE_ALIASES,
            [(f"{sha256}/{bus}", row) for bus, row in records.aliases.items()],
        )
        store_identity(sha256, records.control, store)
        store.put(RecordKind.FILES, {sha256: records.files})


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
        symbols=lambda _path: None,
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
    loaded: dict[int, FileFacts] = field(default_factory=dict)

    def get_facts(self, path: RootPath) -> FileFacts | None:
        index, flags = self.entries.find_index_and_flags(path)
        if flags & 3 == serialize.HARDLINK:
            path = RootPath(self.entries[path].target)
            index, flags = self.entries.find_index_and_flags(path)
        if not flags & serialize.HAS_FACTS:
            return None
        if index not in self.loaded:
            key = serialize.record_key(self.package.sha256, index)

            facts: object = self._load_or_restore(
                partial(self._decode_record, key), partial(self._restore_record, path, key)
            )
            self.loaded[index] = cast(FileFacts, facts)
        return self.loaded[index]

    def get_aliases(self, bus: str | None) -> Sequence[ModuleAlias]:
        paths = self.entries.paths
        if not any(map(detect.is_module, paths)):
            return ()

        def load() -> Sequence[ModuleAlias] | None:
            return module_aliases.load_aliases(self.package.sha256, bus, paths, self.store)

        def restore() -> None:
            self._analyse_again("aliases of modules", lambda: load() is not None)

        return self._load_or_restore(load, restore)

    def _load_or_restore(self, load: Callable[[], R | None], restore: Callable[[], None]) -> R:
        value = load()
        if value is None:
            restore()
            value = load()
        if value is None:
            raise _unreliable_cache_error(self.package, self.store)
        return value

    def _decode_record(self, key: str) -> FileFacts | None:
        data = self.store.get(RecordKind.FACTS, key)
        try:
            return serialize.decode_facts(data) if data is not None else None
        except serialize.StaleRecord:
            return None

    def _restore_record(self, path: RootPath, key: str) -> None:
        """Read one content again: of the 1,100 modules of a kernel a host takes a few.

        What the store has of it is enough; the package is unpacked for what it does not have.
        """
        entry = self.entries[path]
        content = self._find_content(entry)
        if content is None:
            self._analyse_again(str(path), lambda: self._decode_record(key) is not None)
            if self._decode_record(key) is not None:
                return
            content = self._find_content(entry)
        if content is None:  # there is no room to keep all that was unpacked
            extract_contents(self.package, [entry.sha256], self.store)
            content = self.store.require(entry.sha256)
        record = encode_content_facts(path, content)
        if record is not None:
            self.store.put(RecordKind.FACTS, {key: record})

    def _find_content(self, entry: FileEntry) -> bytes | None:
        """None for what is too large to be read whole, too."""
        if entry.size > MAX_FILE_SIZE:
            return None
        return self.store.read(entry.sha256) or self.store.unpacked.read(entry.sha256)

    def _analyse_again(self, wanted: str, is_known: Callable[[], bool]) -> None:
        """Read the package once more, unless another process has done it meanwhile.

        Raises: CacheCorrupted when it is gone; it then counts as not analysed in this run, so that
        the next attempt fetches it.
        """
        with self.store.lock("facts"):
            if is_known():
                return
            if self.store.path(self.package.sha256) is None:
                self.store.lost_packages.add(self.package.sha256)
                raise CacheCorrupted(
                    f"{wanted} must be read from a package that is no longer in the store",
                    where=label_package(self.package),
                    fix="run the command again without --offline: the package is fetched once more",
                )
            analyse_packages([self.package], self.store, SilentProgress())


def _unreliable_cache_error(package: Package, store: Store) -> ToolError:
    return ToolError(
        f"the store does not keep what is written to it (facts of {package.name})",
        where=str(store.directory),
        fix="check the disk there, or name another store: --store DIR",
    )


def extract_contents(package: Package, digests: Collection[str], store: Store) -> None:
    """Put the contents with these SHA-256 digests from the package into the store.

    Raises: ArchiveError when the package is not there, damaged, or has no such content.
    """
    extract_from_packages({package: digests}, store, SilentProgress())


def extract_from_packages(
    digests_by_package: Mapping[Package, Collection[str]], store: Store, progress: Progress
) -> None:
    """Put wanted contents of several packages into the store, side by side; skips what it has.

    Raises: ArchiveError, all packages that failed together.
    """
    _take_unpacked(digests_by_package.values(), store)
    missing = {
        package: {digest for digest in digests if store.path(digest) is None}
        for package, digests in digests_by_package.items()
    }
    packages = [package for package, digests in missing.items() if digests]
    if not packages:
        return
    progress.step(f"unpacking from {len(packages)} package{'s' if len(packages) > 1 else ''}")
    package_files = load_facts(packages, store, progress)
    tasks = [
        (package, (_find_members(package, files, missing[package]), store.directory))
        for package, files in zip(packages, package_files, strict=True)
    ]
    for _ in map_packages(_extract_members, tasks, store, progress, "unpacking"):
        pass


def _take_unpacked(wanted: Iterable[Collection[str]], store: Store) -> None:
    """Put into the store what this run has unpacked already."""
    missing = {digest for digests in wanted for digest in digests if store.path(digest) is None}
    if not missing:
        return
    with store.create_temp_dir() as work:
        for sha256 in missing:
            if store.unpacked.copy(sha256, work / sha256):
                store.adopt(work / sha256, sha256)


Members = dict[RootPath, str]
"""Where wanted contents lie: path → SHA-256."""


def _find_members(package: Package, files: PackageFiles, digests: set[str]) -> Members:
    members: Members = {}
    missing = set(digests)
    for entry in files.entries.values():
        if entry.kind is FileType.FILE and entry.sha256 in missing:
            members[entry.path] = entry.sha256
            missing.discard(entry.sha256)
    if missing:
        raise ArchiveError(
            f"the package has no file with the SHA-256 {min(missing)}",
            where=label_package(package),
            fix="update the lock, so that it names the package that has this file",
        )
    return members


def _extract_members(path: Path, name: str, task: tuple[Members, Path]) -> None:
    members, directory = task
    store = Store(directory)
    with open_deb(path, name) as deb, store.create_temp_dir() as work:
        deb.read_control()
        tar = deb.open_data()
        remaining = dict(members)
        for header in tar:
            sha256 = (
                remaining.pop(resolve_image_path(header), "") if header.type is TarType.FILE else ""
            )
            if sha256:
                _store_member(tar, sha256, work, store)
            if not remaining:
                return
        raise MalformedFile(f"it has no {min(remaining)} any more")


def _store_member(tar: Tar, sha256: str, work: Path, store: Store) -> None:
    """Write the current member's content beside, check it, and move it into the store."""
    with translate_disk_errors(work), open(work / sha256, "wb") as file:
        actual = hash_pieces(tar.iterate_content(), file)
    if actual != sha256:
        raise MalformedFile("a file of it has changed since its facts were read")
    store.adopt(work / sha256, sha256)
