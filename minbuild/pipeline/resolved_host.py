"""Lock, package files and closure of one host."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minbuild.archive.model import Lock, Package
from minbuild.facts.extract import extract_from_packages
from minbuild.facts.model import PackageFiles
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Manifest
from minbuild.pipeline.package_sources import ensure_downloaded
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.resolve.model import Closure, SelectedFile


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    """A manifest whose every need is met: `closure` has neither unmet needs nor unused waivers."""

    manifest: Manifest
    """With the users and directories that its packages declare as a component services/declared."""
    lock: Lock
    """The packages that `files` come from; of an installed root, those that own a chosen file."""
    files: tuple[PackageFiles, ...]
    """Files that the manifest renders first (owner ""), then those of each package of the lock."""
    closure: Closure


def extract_chosen_files(
    request: BuildRequest,
    packages: Sequence[Package],
    files: Iterable[SelectedFile],
    session: Session,
) -> None:
    """Put the content of every chosen file into the store, from its package.

    Raises: ArchiveError when a package cannot be had or is damaged.
    """
    by_name = {package.name: package for package in packages}
    digests_by_package: dict[str, set[str]] = {}
    for file in files:
        entry = file.entry
        if (
            file.package
            and entry.kind is FileType.FILE
            and session.store.path(entry.sha256) is None
        ):
            digests_by_package.setdefault(file.package, set()).add(entry.sha256)
    if not digests_by_package:
        return
    by_package: Mapping[Package, frozenset[str]] = {
        by_name[name]: frozenset(digests) for name, digests in sorted(digests_by_package.items())
    }
    ensure_downloaded(request, list(by_package), session)
    extract_from_packages(by_package, session.store, session.progress)
