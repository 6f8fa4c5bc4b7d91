"""Copyright files and exact sources of every package in an image."""

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from minbuild.archive.download import fetch_packages
from minbuild.archive.index import open_index
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import Package
from minbuild.archive.source_packages import SourceFile, find_source_packages
from minbuild.cache.store import Store
from minbuild.compliance.built_image import BuiltImage, list_sources
from minbuild.errors import ArchiveError, combine
from minbuild.escape import dump_json
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import extract_from_packages, load_facts
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Archive
from minbuild.paths import RootPath
from minbuild.progress import Progress

UNKNOWN_LICENCE = "unknown"
FORMAT_LINE = re.compile(r"\AFormat: *\S*copyright-format/1\.0/?", re.IGNORECASE)
LICENSE_LINE = re.compile(r"^License: *([^\n]*)$", re.MULTILINE)
GNU_NAME = re.compile(r"((?:A|L)?GPL|GFDL)-?v?([0-9](?:\.[0-9])?)(\+?)", re.IGNORECASE)
SPDX_NAMES = {
    "apache-2.0": "Apache-2.0", "apache-2": "Apache-2.0", "artistic": "Artistic-1.0-Perl",
    "artistic-2.0": "Artistic-2.0", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause", "bsd-2": "BSD-2-Clause", "bsd-3": "BSD-3-Clause",
    "bsl-1.0": "BSL-1.0", "cc0-1.0": "CC0-1.0", "cc0": "CC0-1.0", "cc-by-4.0": "CC-BY-4.0",
    "expat": "MIT", "isc": "ISC", "mit": "MIT", "mpl-1.1": "MPL-1.1", "mpl-2.0": "MPL-2.0",
    "openssl": "OpenSSL", "psf-2": "PSF-2.0", "unlicense": "Unlicense", "x11": "X11",
    "zlib": "Zlib", "bzip2-1.0.6": "bzip2-1.0.6", "curl": "curl", "0bsd": "0BSD",
}  # fmt: skip
"""Debian's short names, lower case → SPDX; the GNU family follows a rule."""


def read_licences(copyright_file: str) -> tuple[str, ...]:
    """The licences that a copyright file names, as SPDX expressions; sorted, no repeats.

    ("unknown",) where the file is not machine-readable: nothing is guessed.
    """
    if not FORMAT_LINE.search(copyright_file):
        return (UNKNOWN_LICENCE,)
    expressions = {
        parse_expression(text.strip())
        for text in LICENSE_LINE.findall(copyright_file)
        if text.strip()
    }
    return tuple(sorted(expressions)) or (UNKNOWN_LICENCE,)


def parse_expression(text: str) -> str:
    """One License field as an SPDX expression: `GPL-2+ or Artistic` and its like."""
    terms = re.split(r",?\s+(and|or)\s+|,\s*", text.strip())
    parts: list[str] = []
    for term in terms:
        if not term:
            continue
        joiner = term.upper() in {"AND", "OR"}
        if not joiner and parts and parts[-1] not in {"AND", "OR"}:
            parts.append("AND")
        parts.append(term.upper() if joiner else _to_spdx(term))
    mixed = {"AND", "OR"} <= set(parts)
    return _make_reference(text) if mixed or parts[-1:] in (["AND"], ["OR"]) else " ".join(parts)


def _to_spdx(name: str) -> str:
    match = GNU_NAME.fullmatch(name)
    if match is not None:
        version = match[2] if "." in match[2] else f"{match[2]}.0"
        return f"{match[1].upper()}-{version}-{'or-later' if match[3] else 'only'}"
    return SPDX_NAMES.get(name.lower()) or _make_reference(name)


def _make_reference(name: str) -> str:
    """A licence that SPDX does not list, named as the copyright file names it."""
    return "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")


SCHEMA = "minbuild.licences/1"


@dataclass(frozen=True, slots=True)
class PackageLicence:
    """What shipping one package asks for."""

    package: Package
    copyright: str
    """The text of its copyright file."""
    licences: tuple[str, ...]
    """SPDX expressions, or "unknown"."""
    sources: tuple["ShippedSource", ...]
    """Their files are empty where sources were not asked for."""


@dataclass(frozen=True, slots=True)
class ShippedSource:
    """One source package."""

    name: str
    version: str
    files: tuple[SourceFile, ...]


def collect_licences(
    built_image: BuiltImage, mirror: Mirror, store: Store, *, offline: bool, progress: Progress,
    with_sources: bool = True,
) -> tuple[PackageLicence, ...]:  # fmt: skip
    """Gather copyright files and sources of every package in an image, sorted by package.

    Raises: ArchiveError when a package has no copyright file, or the archive lacks its source.
    """
    components = list_archive_components(built_image.packages)
    archive = Archive(suites=built_image.footprint.suites, components=components)
    texts = collect_copyrights(
        built_image.packages, archive, mirror, store, offline=offline, progress=progress
    )
    sources_by_package = {package: list_sources(package) for package in built_image.packages}
    source_versions = sorted({pair for several in sources_by_package.values() for pair in several})
    source_files: Mapping[tuple[str, str], tuple[SourceFile, ...]] = {}
    if with_sources:
        source_files = find_source_packages(
            source_versions, archive, mirror, store, offline=offline, progress=progress
        )
        _require_sources(source_versions, source_files)
    return tuple(
        PackageLicence(
            package,
            texts[package],
            read_licences(texts[package]),
            tuple(
                ShippedSource(*pair, source_files.get(pair, ()))
                for pair in sources_by_package[package]
            ),
        )
        for package in built_image.packages
    )


@dataclass(frozen=True, slots=True)
class CopyrightFiles:
    """Packages at hand, with what they offer."""

    packages: dict[str, Package]
    files: dict[str, PackageFiles]

    def find_copyright(self, name: str) -> tuple[str, str]:
        """Whose copyright file holds for a package, and its digest.

        A documentation directory may be a link to another package's (Debian Policy 12.5); the
        digest is "" when that package is not at hand.
        """
        for _ in range(4):
            entries = self.files[name].entries if name in self.files else {}
            entry = entries.get(RootPath(f"/usr/share/doc/{name}/copyright"))
            if entry is not None and entry.kind in {FileType.FILE, FileType.HARDLINK}:
                return name, entry.sha256
            link = entries.get(RootPath(f"/usr/share/doc/{name}"))
            if link is None or link.kind is not FileType.LINK:
                return name, ""
            name = posixpath.basename(link.target)
        return name, ""


def collect_copyrights(
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
    copyright_files = CopyrightFiles({}, {})

    def load_packages(batch: Sequence[Package]) -> None:
        fetch_packages(batch, mirror, store, offline=offline, progress=progress)
        copyright_files.packages.update((package.name, package) for package in batch)
        names = [package.name for package in batch]
        copyright_files.files.update(zip(names, load_facts(batch, store, progress), strict=True))

    load_packages(packages)
    linked_names = {copyright_files.find_copyright(package.name)[0] for package in packages} - set(
        copyright_files.packages
    )
    if linked_names:
        arch = next(one.arch for one in packages if one.arch != "all")
        index = open_index(archive, arch, mirror, store, offline=offline, progress=progress)
        linked_packages = [index.find_package(name) for name in sorted(linked_names)]
        load_packages([package for package in linked_packages if package is not None])
    return _read_copyrights(packages, copyright_files, store, progress)


def _read_copyrights(
    packages: Sequence[Package], copyright_files: CopyrightFiles, store: Store, progress: Progress
) -> dict[Package, str]:
    """Extract and read the files. Raises: ArchiveError when a package has none."""
    locations = {package: copyright_files.find_copyright(package.name) for package in packages}
    problems = [
        _copyright_error(package) for package, (_, sha256) in locations.items() if not sha256
    ]
    if problems:
        raise combine(problems)
    digests_by_package: dict[Package, set[str]] = {}
    for owner, sha256 in locations.values():
        digests_by_package.setdefault(copyright_files.packages[owner], set()).add(sha256)
    extract_from_packages(digests_by_package, store, progress)
    return {
        package: (store.read(sha256) or b"").decode("utf-8", "replace")
        for package, (_, sha256) in locations.items()
    }


_POOL_PATH = re.compile(r"(?:.*/)?pool/(?:updates/)?([^/]+)/")
"""Source: Debian Wiki, DebianRepository/Format; the security archive has updates/ before it."""


def list_archive_components(packages: Iterable[Package]) -> tuple[str, ...]:
    """The archive's components that packages are from, by their paths: main first, then by name."""
    matches = (_POOL_PATH.match(package.path) for package in packages)
    return ("main", *sorted({match[1] for match in matches if match} - {"main"}))


def _copyright_error(package: Package) -> ArchiveError:
    return ArchiveError(
        f"{package.name} {package.version} has no copyright file",
        where=package.path,
        fix="report it to Debian (Policy 12.5), or take the package out of the image",
    )


def _require_sources(
    source_versions: Sequence[tuple[str, str]],
    source_files: Mapping[tuple[str, str], tuple[SourceFile, ...]],
) -> None:
    absent = [pair for pair in source_versions if pair not in source_files]
    if absent:
        raise combine(
            [
                ArchiveError(
                    f"no suite has the source {name} {version} any more", where="source indices",
                    fix="take newer packages (minbuild lock --update), or name a mirror that has it",
                )
                for name, version in absent
            ]
        )  # fmt: skip


def licences_to_json(package_licences: Sequence[PackageLicence]) -> str:
    """What is owed as a JSON object: packages, licences, and source files with hashes."""
    rows = [
        {
            "package": one.package.name,
            "version": one.package.version,
            "licences": list(one.licences),
            "copyright": f"{one.package.name}.copyright",
            "sources": [asdict(source) for source in one.sources],
        }
        for one in package_licences
    ]
    document = {"schema": SCHEMA, "packages": rows}
    return dump_json(document, sort=True)
