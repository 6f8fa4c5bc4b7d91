"""Source packages: their files in the archive, with verified digests."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.archive.download import DownloadSpec, download
from minbuild.archive.mirror import Mirror
from minbuild.archive.packages_file import list_addresses
from minbuild.archive.suite import Suite, open_consistently, open_suite
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.formats.compression import INDEX_ENDINGS, decompress_index
from minbuild.manifest.model import Archive
from minbuild.progress import Progress

_FILE = re.compile(r"^ ([0-9a-f]{64}) +([0-9]+) +(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source package."""

    path: str
    """Repository and path: debian/pool/main/b/busybox/busybox_1.37.0-6.dsc."""
    size: int
    sha256: str


def find_source_packages(
    packages: Collection[tuple[str, str]],
    archive: Archive,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
) -> Mapping[tuple[str, str], tuple[SourceFile, ...]]:
    """Find source packages by name and version; the result omits those that no suite has.

    Raises: ArchiveError.
    """

    def open_by_name(name: str, fresh: bool) -> Suite:
        return open_suite(
            archive, name, mirror, store, offline=offline, progress=progress, fresh=fresh
        )

    def download_indices(suites: Sequence[Suite]) -> list[tuple[Suite, str]]:
        parts = [(suite, path) for suite in suites for path in _list_index_paths(suite, archive)]
        files = [_make_index_spec(suite, path, mirror, offline=offline) for suite, path in parts]
        download([spec for spec in files if spec.mirrors], store, progress, "source indices")
        return parts

    _, parts = open_consistently(archive.suites, open_by_name, download_indices)
    files_by_package: dict[tuple[str, str], tuple[SourceFile, ...]] = {}
    for suite, path in parts:
        text = _read_index(store, suite, path)
        for name, version in packages:
            if (name, version) not in files_by_package and (
                files_of := _find_files(text, name, version, suite)
            ):
                files_by_package[name, version] = files_of
    return files_by_package


def _list_index_paths(suite: Suite, archive: Archive) -> list[str]:
    """Return the source index of each component, in the best available compression."""
    indices = suite.release.indices
    paths = []
    for component in archive.components:
        directory = f"{component}/source/Sources"
        paths += [
            path for path in (f"{directory}{ending}" for ending in INDEX_ENDINGS) if path in indices
        ][:1]
    return paths


def _make_index_spec(suite: Suite, path: str, mirror: Mirror, *, offline: bool) -> DownloadSpec:
    sha256, size = suite.release.indices[path]
    directory = path.rpartition("/")[0]
    paths = [f"{directory}/by-hash/SHA256/{sha256}"] if suite.release.by_hash else []
    repository, name = suite.state.root, suite.state.name
    return DownloadSpec(
        description=f"the source index of {name}",
        mirrors=list_addresses(mirror, repository, name, [*paths, path], offline=offline),
        sha256=sha256,
        size=size,
        fix="wait until the mirror is in sync, or use another mirror (--mirror URL)",
    )


def _read_index(store: Store, suite: Suite, path: str) -> str:
    data = store.read(suite.release.indices[path][0])
    fix = "run it once without --offline"
    if data is None:
        raise ArchiveError("the store lacks the source index", where=suite.where, fix=fix)
    _, size = suite.release.indices.get(path.rpartition(".")[0], ("", -1))
    text = decompress_index(data, path, f"the source index of {suite.state.name}", size=size)
    return "\n" + text.decode("utf-8", "replace")


def _find_files(text: str, name: str, version: str, suite: Suite) -> tuple[SourceFile, ...]:
    at = -1
    while (at := text.find(f"\nPackage: {name}\n", at + 1)) >= 0:
        end = text.find("\n\n", at + 1)
        paragraph = text[at : end if end > 0 else len(text)]
        if f"\nVersion: {version}\n" in paragraph:
            directory = re.search(r"^Directory: *(\S+)$", paragraph, re.MULTILINE)
            part = paragraph.partition("\nChecksums-Sha256:")[2]
            checksums = re.match(r" *\n((?: .*(?:\n|\Z))*)", part)
            if directory and checksums:
                top = f"{suite.state.root}/{directory[1]}"
                return tuple(
                    SourceFile(f"{top}/{file}", int(size), sha256)
                    for sha256, size, file in sorted(
                        _FILE.findall(checksums[1]), key=lambda f: f[2]
                    )
                )
    return ()
