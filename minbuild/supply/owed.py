"""Copyright files of every package in an image, and where its exact sources are."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from minbuild.archive.fetch import fetch
from minbuild.archive.index import open_index
from minbuild.archive.mirror import Mirror
from minbuild.archive.sources import SourceFile, sources
from minbuild.archive.types import Package
from minbuild.errors import ArchiveError, together
from minbuild.escape import dump
from minbuild.facts.content import extract_all
from minbuild.facts.gather import gather
from minbuild.facts.types import Files, Kind
from minbuild.manifest.types import Archive
from minbuild.paths import RootPath
from minbuild.progress import Progress
from minbuild.store import Store
from minbuild.supply.licence import licences
from minbuild.supply.shipment import Shipment, sources_of

SCHEMA = "minbuild.licences/1"


@dataclass(frozen=True, slots=True)
class Owed:
    """What shipping one package asks for."""

    package: Package
    copyright: str
    """The text of its copyright file."""
    licences: tuple[str, ...]
    """SPDX expressions, or "unknown"."""
    sources: tuple["Source", ...]
    """Their files are empty where sources were not asked for."""


@dataclass(frozen=True, slots=True)
class Source:
    """One source package."""

    name: str
    version: str
    files: tuple[SourceFile, ...]


def owed(
    shipment: Shipment, mirror: Mirror, store: Store, *, offline: bool, progress: Progress,
    with_sources: bool = True,
) -> tuple[Owed, ...]:  # fmt: skip
    """Gather copyright files and sources of every package in an image, sorted by package.

    Raises: ArchiveError when a package has no copyright file, or the archive lacks its source.
    """
    archive = Archive(suites=shipment.footprint.suites)
    texts = copyrights(
        shipment.packages, archive, mirror, store, offline=offline, progress=progress
    )
    pairs = {package: sources_of(package) for package in shipment.packages}
    wanted = sorted({pair for several in pairs.values() for pair in several})
    found: Mapping[tuple[str, str], tuple[SourceFile, ...]] = {}
    if with_sources:
        found = sources(wanted, archive, mirror, store, offline=offline, progress=progress)
        _complete(wanted, found)
    return tuple(
        Owed(
            package,
            texts[package],
            licences(texts[package]),
            tuple(Source(*pair, found.get(pair, ())) for pair in pairs[package]),
        )
        for package in shipment.packages
    )


@dataclass(frozen=True, slots=True)
class Shelf:
    """Packages at hand, with what they offer."""

    owners: dict[str, Package]
    files: dict[str, Files]

    def copyright(self, name: str) -> tuple[str, str]:
        """Whose copyright file holds for a package, and its digest.

        A documentation directory may be a link to another package's (Debian Policy 12.5); the
        digest is "" when that package is not at hand.
        """
        for _ in range(4):
            entries = self.files[name].entries if name in self.files else {}
            entry = entries.get(RootPath(f"/usr/share/doc/{name}/copyright"))
            if entry is not None and entry.kind in {Kind.FILE, Kind.HARDLINK}:
                return name, entry.sha256
            link = entries.get(RootPath(f"/usr/share/doc/{name}"))
            if link is None or link.kind is not Kind.LINK:
                return name, ""
            name = posixpath.basename(link.target)
        return name, ""


def copyrights(
    packages: Sequence[Package],
    archive: Archive,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
) -> dict[Package, str]:
    """The copyright file of each package; of one that only links to another's, that one's.

    Raises: ArchiveError when a package has none.
    """
    shelf = Shelf({}, {})

    def bring(more: Sequence[Package]) -> None:
        fetch(more, mirror, store, offline=offline, progress=progress)
        shelf.owners.update((package.name, package) for package in more)
        names = [package.name for package in more]
        shelf.files.update(zip(names, gather(more, store, progress), strict=True))

    bring(packages)
    others = {shelf.copyright(package.name)[0] for package in packages} - set(shelf.owners)
    if others:
        arch = next(one.arch for one in packages if one.arch != "all")
        index = open_index(archive, arch, mirror, store, offline=offline, progress=progress)
        found = [index.package(name) for name in sorted(others)]
        bring([package for package in found if package is not None])
    places = {package: shelf.copyright(package.name) for package in packages}
    problems = [_lacking(package) for package, (_, sha256) in places.items() if not sha256]
    if problems:
        raise together(problems)
    wanted: dict[Package, set[str]] = {}
    for owner, sha256 in places.values():
        wanted.setdefault(shelf.owners[owner], set()).add(sha256)
    extract_all(wanted, store, progress)
    return {
        package: (store.read(sha256) or b"").decode("utf-8", "replace")
        for package, (_, sha256) in places.items()
    }


def _lacking(package: Package) -> ArchiveError:
    return ArchiveError(
        f"{package.name} {package.version} has no copyright file",
        where=package.path,
        fix="report it to Debian (Policy 12.5), or take the package out of the image",
    )


def _complete(
    wanted: Sequence[tuple[str, str]],
    found: Mapping[tuple[str, str], tuple[SourceFile, ...]],
) -> None:
    absent = [pair for pair in wanted if pair not in found]
    if absent:
        raise together(
            [
                ArchiveError(
                    f"no suite has the source {name} {version} any more", where="source indices",
                    fix="take newer packages (minbuild lock --update), or name a mirror that has it",
                )
                for name, version in absent
            ]
        )  # fmt: skip


def manifest(found: Sequence[Owed]) -> str:
    """What is owed as a JSON object: packages, licences, and source files with hashes."""
    rows = [
        {
            "package": one.package.name,
            "version": one.package.version,
            "licences": list(one.licences),
            "copyright": f"{one.package.name}.copyright",
            "sources": [asdict(source) for source in one.sources],
        }
        for one in found
    ]
    document = {"schema": SCHEMA, "packages": rows}
    return dump(document, sort=True)
