"""The second pass over a package: the contents that somebody wants, into the store."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from minbuild.archive.types import Package
from minbuild.errors import ArchiveError
from minbuild.facts.damage import Damage
from minbuild.facts.gather import gather
from minbuild.facts.place import place_of
from minbuild.facts.tar import Tar, Type
from minbuild.facts.types import Files, Kind
from minbuild.paths import RootPath
from minbuild.progress import Progress, Silent
from minbuild.records import full_disk
from minbuild.store import Store


def extract(package: Package, digests: Collection[str], store: Store) -> None:
    """Put the contents with these SHA-256 digests from the package into the store.

    Raises: ArchiveError when the package is not there, damaged, or has no such content.
    """
    extract_all({package: digests}, store, Silent())


def extract_all(
    wanted: Mapping[Package, Collection[str]], store: Store, progress: Progress
) -> None:
    """Put wanted contents of several packages into the store, side by side; skips what it has.

    Raises: ArchiveError, all packages that failed together.
    """
    lacking = {
        package: {digest for digest in digests if store.file(digest) is None}
        for package, digests in wanted.items()
    }
    packages = [package for package, digests in lacking.items() if digests]
    if not packages:
        return
    from minbuild.facts.pool import side_by_side

    progress.step(f"unpacking from {len(packages)} package{'s' if len(packages) > 1 else ''}")
    known = gather(packages, store, progress)
    tasks = [
        (package, (_members(package, files, lacking[package]), store.directory))
        for package, files in zip(packages, known, strict=True)
    ]
    for _ in side_by_side(_unpack, tasks, store, progress, "unpacking"):
        pass


Members = dict[RootPath, str]
"""Where wanted contents lie: path → SHA-256."""


def _members(package: Package, files: Files, digests: set[str]) -> Members:
    found: Members = {}
    left = set(digests)
    for entry in files.entries.values():
        if entry.kind is Kind.FILE and entry.sha256 in left:
            found[entry.path] = entry.sha256
            left.discard(entry.sha256)
    if left:
        from minbuild.facts.pool import label

        raise ArchiveError(
            f"the package has no file with the SHA-256 {min(left)}",
            where=label(package),
            fix="update the lock, so that it names the package that has this file",
        )
    return found


def _unpack(path: Path, name: str, task: tuple[Members, Path]) -> None:
    from minbuild.facts.deb import opened

    members, directory = task
    store = Store(directory)
    with opened(path, name) as deb, store.work() as work:
        deb.control()
        tar = deb.data()
        left = dict(members)
        for header in tar:
            sha256 = left.pop(place_of(header), "") if header.type is Type.FILE else ""
            if sha256:
                _keep(tar, sha256, work, store)
            if not left:
                return
        raise Damage(f"it has no {min(left)} any more")


def _keep(tar: Tar, sha256: str, work: Path, store: Store) -> None:
    """Write the current member's content beside, check it, and move it into the store."""
    digest = hashlib.sha256()
    with full_disk(work), open(work / sha256, "wb") as file:
        for piece in tar.pieces():
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != sha256:
        raise Damage("a file of it has changed since its facts were read")
    store.adopt(work / sha256, sha256)
