"""What maintainer scripts make of a package, as rules tell it, among the package's own files."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from minbuild.archive.types import Package
from minbuild.facts.types import Entry, FileFacts, Files, Kind
from minbuild.manifest.rule import Install, Rulebook
from minbuild.paths import RootPath, rootpath
from minbuild.resolve import pattern
from minbuild.store import Store

KIND = "joined/1"
"""Digest over the contents that are joined → SHA-256 and size of the whole."""
ALTERNATIVES = "/etc/alternatives"
Bring = Callable[[Package, Collection[str]], None]
"""Puts contents of a package, by their digests, into the store."""


def installed(
    files: Sequence[Files],
    packages: Sequence[Package],
    rulebook: Rulebook,
    store: Store,
    bring: Bring,
) -> tuple[Files, ...]:
    """The files of packages, with those that their maintainer scripts would make.

    A path that the package ships itself stays as it is.
    """
    by_package: dict[str, list[Install]] = {}
    for install in rulebook.installs:
        by_package.setdefault(install.package, []).append(install)
    by_name = {package.name: package for package in packages}
    return tuple(
        _with(one, by_package[one.owner], _Maker(one, by_name[one.owner], store, bring))
        if one.owner in by_package and one.owner in by_name
        else one
        for one in files
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the entries of one package when they are asked for."""

    files: Files
    package: Package
    store: Store
    bring: Bring

    def copied(self, path: RootPath, source: RootPath) -> Entry:
        return replace(self.files.entries[source], path=path)

    def joined(self, path: RootPath, parts: Sequence[RootPath]) -> Entry:
        """All parts one after the other, each ending in a line's end."""
        digests = [self.files.entries[part].sha256 for part in parts]
        key = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        kept = self.store.get(KIND, key)
        if kept is not None:
            sha256, size = json.loads(kept)
            if self.store.file(sha256) is not None:
                return Entry(path, Kind.FILE, 0o644, size=size, sha256=sha256)
        if any(self.store.file(digest) is None for digest in digests):
            self.bring(self.package, digests)
        contents = [self.store.need(digest) for digest in digests]
        data = b"".join(one if one.endswith(b"\n") else one + b"\n" for one in contents)
        sha256 = self.store.add(data)
        self.store.put(KIND, {key: json.dumps([sha256, len(data)]).encode()})
        return Entry(path, Kind.FILE, 0o644, size=len(data), sha256=sha256)


class _Entries(Mapping[RootPath, Entry]):
    """A package's entries, and those that are made."""

    def __init__(
        self, shipped: Mapping[RootPath, Entry], made: Mapping[RootPath, Callable[[], Entry]]
    ) -> None:
        self._shipped, self._made = shipped, made
        self._paths = sorted({*shipped, *made})

    def __getitem__(self, path: RootPath) -> Entry:
        return self._made[path]() if path in self._made else self._shipped[path]

    def __contains__(self, path: object) -> bool:
        return path in self._made or path in self._shipped

    def __iter__(self) -> Iterator[RootPath]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _with(files: Files, installs: Sequence[Install], maker: _Maker) -> Files:
    made: dict[RootPath, Callable[[], Entry]] = {}
    sources: dict[RootPath, RootPath] = {}
    for install in installs:
        path = rootpath(install.path)
        if install.alternative and rootpath(install.to) in files.entries:
            link = RootPath(f"{ALTERNATIVES}/{install.alternative}")
            made[path] = _link(path, link)
            made[link] = _link(link, install.to)
        elif install.copies and rootpath(install.copies) in files.entries:
            sources[path] = rootpath(install.copies)
            made[path] = _late(maker.copied, path, sources[path])
        elif install.joins:
            parts = _matching(files, install.joins)
            if parts:
                made[path] = _late(maker.joined, path, parts)
    mine = {path: make for path, make in made.items() if path not in files.entries}

    def facts(path: RootPath) -> FileFacts | None:
        return files.facts(sources.get(path, path))

    return replace(files, entries=_Entries(files.entries, mine), facts=facts)


def _link(path: RootPath, target: str) -> Callable[[], Entry]:
    return lambda: Entry(path, Kind.LINK, 0o777, target=target)


def _late(make: Callable[..., Entry], *values: object) -> Callable[[], Entry]:
    return lambda: make(*values)


def _matching(files: Files, glob: str) -> tuple[RootPath, ...]:
    match = pattern.compiled(str(rootpath(glob))).fullmatch
    return tuple(
        path for path in files.entries if match(path) and files.entries[path].kind is Kind.FILE
    )
