"""Extraction of chosen files from packages into the store."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError, MalformedFile
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import load_facts
from minbuild.facts.process_pool import label_package, map_packages
from minbuild.file_io import hash_pieces, translate_disk_errors
from minbuild.formats.deb import open_deb, resolve_image_path
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar import Tar
from minbuild.formats.tar_header import TarType
from minbuild.paths import RootPath
from minbuild.progress import Progress, SilentProgress


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
