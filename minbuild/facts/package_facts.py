"""Facts and contents of packages, from the store or computed in parallel and stored; rendered files
are a package without a name."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ArchiveError, MalformedFile, ManifestError, ToolError
from minbuild.facts import detect, module_aliases, serialize
from minbuild.facts.model import FileEntry, FileFacts, ModuleAlias, PackageFiles, Symbols
from minbuild.facts.package_analysis import (
    analyse_package,
    check_identity,
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
from minbuild.manifest.model import RenderedFile
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
            RecordKind.SYMBOLS,
            [(serialize.record_key(sha256, n), row) for n, row in records.symbols],
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
        paths = self.entries.paths
        if not any(map(detect.is_module, paths)):
            return ()
        for attempt in (1, 2):
            aliases = module_aliases.load_aliases(self.package.sha256, bus, paths, self.store)
            if aliases is not None:
                return aliases
            if attempt == 1:
                self._analyse_again()
        raise _unreliable_cache_error(self.package, self.store)

    def _load_record(
        self, path: RootPath, flag: int, kind: RecordKind, read: Callable[[bytes], R]
    ) -> R | None:
        index, flags = self.entries.find_index_and_flags(path)
        if flags & 3 == serialize.HARDLINK:
            path = RootPath(self.entries[path].target)
            index, flags = self.entries.find_index_and_flags(path)
        if not flags & flag:
            return None
        if (kind, index) not in self.loaded:
            self.loaded[kind, index] = self._read_record(path, index, kind, read)
        return cast(R, self.loaded[kind, index])

    def _read_record(
        self, path: RootPath, index: int, kind: RecordKind, read: Callable[[bytes], R]
    ) -> R:
        for attempt in (1, 2):
            data = self.store.get(kind, serialize.record_key(self.package.sha256, index))
            try:
                if data is not None:
                    return read(data)
            except serialize.StaleRecord:
                pass
            if attempt == 1:
                if detect.is_module(path):
                    self._store_module_facts(path, index)
                else:
                    self._analyse_again()
        raise _unreliable_cache_error(self.package, self.store)

    def _store_module_facts(self, path: RootPath, index: int) -> None:
        """Read the facts of one module from its content: of 1,100 a host takes a few."""
        sha256 = self.entries[path].sha256
        content = self.store.read(sha256) or self.store.unpacked.read(sha256)
        if content is None:
            self._analyse_again()
            content = self.store.unpacked.read(sha256)
        if content is None:  # there is no room to keep all that was unpacked
            extract_contents(self.package, [sha256], self.store)
            content = self.store.require(sha256)
        facts = detect.read_facts(path, content)
        assert facts is not None, "a module has facts, if only that it is damaged"
        key = serialize.record_key(self.package.sha256, index)
        self.store.put(RecordKind.FACTS, {key: serialize.encode_facts(facts)})

    def _analyse_again(self) -> None:
        """Read the package once more.

        Raises: CacheCorrupted when it is gone; nothing then says any more that it is known.
        """
        if self.store.path(self.package.sha256) is None:
            self.store.remove(RecordKind.FILES, [self.package.sha256])
            raise CacheCorrupted(
                "the store knows a package's files, and the package is no longer there",
                where=label_package(self.package),
                fix="run the command again: the package is fetched anew",
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


def collect_rendered_files(files: Iterable[RenderedFile], store: Store) -> PackageFiles:
    """Put the contents into the store and return the files, owned by "".

    Raises: ManifestError when two different files have one path.
    """
    files_by_path: dict[RootPath, RenderedFile] = {}
    for file in files:
        earlier = files_by_path.setdefault(file.path, file)
        if _comparison_key(earlier) != _comparison_key(file):
            raise ManifestError(
                f"two different files are to lie at {file.path}: see also {earlier.where}",
                where=str(file.where),
                fix="leave one of them out, or give one another path",
            )
    entries = {path: _make_entry(files_by_path[path], store) for path in sorted(files_by_path)}

    def read_file_facts(path: RootPath) -> FileFacts | None:
        return detect.read_facts(path, files_by_path[path].content) if _is_file(path) else None

    def read_file_symbols(path: RootPath) -> Symbols | None:
        return detect.read_symbols(path, files_by_path[path].content) if _is_file(path) else None

    def _is_file(path: RootPath) -> bool:
        return path in entries and entries[path].kind is FileType.FILE

    return PackageFiles(owner="", entries=entries, facts=read_file_facts, symbols=read_file_symbols)


def _make_entry(file: RenderedFile, store: Store) -> FileEntry:
    if file.directory:
        return FileEntry(file.path, FileType.DIRECTORY, file.mode, file.uid, file.gid)
    if file.link:
        return FileEntry(file.path, FileType.LINK, 0o777, file.uid, file.gid, target=file.link)
    sha256 = store.add(file.content)
    size = len(file.content)
    return FileEntry(file.path, FileType.FILE, file.mode, file.uid, file.gid, size, sha256)


def _comparison_key(file: RenderedFile) -> tuple[object, ...]:
    """All of a file but its location."""
    return (file.content, file.mode, file.uid, file.gid, file.link, file.directory)
