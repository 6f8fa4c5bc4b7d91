"""Files that maintainer scripts would generate, as rules describe them, beside a package's own."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.facts.model import FileEntry, FileFacts, PackageFiles
from minbuild.formats.root_entry import FileType
from minbuild.manifest.rule_files import InstallRule, RuleSet
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob

ALTERNATIVES = "/etc/alternatives"
ExtractToCache = Callable[[Package, Collection[str]], None]
"""Puts contents of a package, by their digests, into the store."""


def with_generated_files(
    files: Sequence[PackageFiles],
    packages: Sequence[Package],
    rulebook: RuleSet,
    store: Store,
    extract: ExtractToCache,
) -> tuple[PackageFiles, ...]:
    """The files of packages, with those that their maintainer scripts would make.

    A path that the package ships itself stays as it is.
    """
    by_package: dict[str, list[InstallRule]] = {}
    for install in rulebook.installs:
        by_package.setdefault(install.package, []).append(install)
    by_name = {package.name: package for package in packages}
    return tuple(
        _add_generated_entries(
            one, by_package[one.owner], _EntryGenerator(one, by_name[one.owner], store, extract)
        )
        if one.owner in by_package and one.owner in by_name
        else one
        for one in files
    )


@dataclass(frozen=True, slots=True)
class _EntryGenerator:
    """Makes the entries of one package when they are asked for."""

    files: PackageFiles
    package: Package
    store: Store
    extract: ExtractToCache

    def copy_entry(self, path: RootPath, source: RootPath) -> FileEntry:
        return replace(self.files.entries[source], path=path)

    def join_entries(self, path: RootPath, parts: Sequence[RootPath]) -> FileEntry:
        """All parts one after the other, each ending in a line's end."""
        digests = [self.files.entries[part].sha256 for part in parts]
        key = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        record = self.store.get(RecordKind.JOINED_FILE, key)
        if record is not None:
            sha256, size = json.loads(record)
            if self.store.path(sha256) is not None:
                return FileEntry(path, FileType.FILE, 0o644, size=size, sha256=sha256)
        if any(self.store.path(digest) is None for digest in digests):
            self.extract(self.package, digests)
        contents = [self.store.require(digest) for digest in digests]
        data = b"".join(one if one.endswith(b"\n") else one + b"\n" for one in contents)
        sha256 = self.store.add(data)
        self.store.put(RecordKind.JOINED_FILE, {key: json.dumps([sha256, len(data)]).encode()})
        return FileEntry(path, FileType.FILE, 0o644, size=len(data), sha256=sha256)


class _GeneratedEntries(Mapping[RootPath, FileEntry]):
    """A package's entries, and those that are made."""

    def __init__(
        self,
        packaged: Mapping[RootPath, FileEntry],
        generated: Mapping[RootPath, Callable[[], FileEntry]],
    ) -> None:
        self._packaged, self._generated = packaged, generated
        self._paths = sorted({*packaged, *generated})

    def __getitem__(self, path: RootPath) -> FileEntry:
        return self._generated[path]() if path in self._generated else self._packaged[path]

    def __contains__(self, path: object) -> bool:
        return path in self._generated or path in self._packaged

    def __iter__(self) -> Iterator[RootPath]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _add_generated_entries(
    files: PackageFiles, installs: Sequence[InstallRule], generator: _EntryGenerator
) -> PackageFiles:
    generated: dict[RootPath, Callable[[], FileEntry]] = {}
    sources: dict[RootPath, RootPath] = {}
    for install in installs:
        path = to_root_path(install.path)
        if install.alternative and to_root_path(install.to) in files.entries:
            link = RootPath(f"{ALTERNATIVES}/{install.alternative}")
            generated[path] = _defer_link(path, link)
            generated[link] = _defer_link(link, install.to)
        elif install.copies and to_root_path(install.copies) in files.entries:
            sources[path] = to_root_path(install.copies)
            generated[path] = _defer(generator.copy_entry, path, sources[path])
        elif install.joins:
            parts = _list_matching_files(files, install.joins)
            if parts:
                generated[path] = _defer(generator.join_entries, path, parts)
    new_entries = {path: make for path, make in generated.items() if path not in files.entries}

    def read_facts(path: RootPath) -> FileFacts | None:
        return files.facts(sources.get(path, path))

    return replace(files, entries=_GeneratedEntries(files.entries, new_entries), facts=read_facts)


def _defer_link(path: RootPath, target: str) -> Callable[[], FileEntry]:
    return lambda: FileEntry(path, FileType.LINK, 0o777, target=target)


def _defer(make: Callable[..., FileEntry], *values: object) -> Callable[[], FileEntry]:
    return lambda: make(*values)


def _list_matching_files(files: PackageFiles, glob: str) -> tuple[RootPath, ...]:
    match = path_glob.compile_glob(str(to_root_path(glob))).fullmatch
    return tuple(
        path for path in files.entries if match(path) and files.entries[path].kind is FileType.FILE
    )
