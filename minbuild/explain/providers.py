"""Sources of a path that is not in an image: locked packages, file lists, components."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.contents import open_cached_contents
from minbuild.archive.model import LockedSuite
from minbuild.cache.store import Store
from minbuild.errors import MinbuildError
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import is_analysed, load_facts
from minbuild.formats.root_entry import FileType
from minbuild.manifest.components import read_package_requests
from minbuild.paths import RootPath, to_root_path
from minbuild.progress import SilentProgress
from minbuild.resolve import path_glob
from minbuild.resolve.model import ScriptWarning


def suggest_providers(
    path: RootPath, lock: Path | None, store: Store, directories: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Say in words which package or component would bring `path`; sorted, packages first.

    `lock` names packages; those that the store has read are looked through.
    """
    locked = sorted(_search_lock(path, lock, store)) if lock is not None else ()
    archived = _search_archive(path, lock, store) if lock is not None and not locked else ()
    return (*locked, *sorted(archived), *sorted(_search_components(path, directories)))


def _search_lock(path: RootPath, lock: Path, store: Store) -> Iterator[str]:
    try:
        packages = [each for each in lockfile.read_lock(lock).packages if is_analysed(each, store)]
    except MinbuildError:
        return  # a lock that cannot be read is no news here
    for package, files in zip(packages, load_facts(packages, store, SilentProgress()), strict=True):
        for match in _find_namesakes(path, files):
            yield f"the package {package.name} {package.version}, in the lock, holds {match}"


def _search_archive(path: RootPath, lock: Path, store: Store) -> Iterator[str]:
    """Packages of the archive, where the store has its lists of files."""
    try:
        contents_lock = lockfile.read_lock(lock)
    except MinbuildError:
        return
    for owner in open_cached_contents(contents_lock.suites, contents_lock.arch, store).find_owners(
        str(path)
    ):
        yield f"the package {owner.package}, in {owner.component} of {owner.suite}, holds {owner.path}"


def _find_namesakes(path: RootPath, files: PackageFiles) -> Sequence[RootPath]:
    """The path itself, or its namesakes in other directories."""
    entries = files.entries
    if path in entries:
        return (path,)
    suffix = f"/{path.rpartition('/')[2]}"
    return [
        one
        for one in entries
        if one.endswith(suffix) and entries[one].kind is not FileType.DIRECTORY
    ]


def _search_components(path: RootPath, directories: Sequence[Path]) -> Iterator[str]:
    glob_matches: list[str] = []
    name_matches: list[str] = []
    for component, packages in read_package_requests(directories).items():
        for package in packages:
            for text in map(str, map(to_root_path, package.paths)):
                line = f"the component {component} asks {package.package} for {text}"
                if text.rpartition("/")[2] == path.rpartition("/")[2]:
                    name_matches.append(line)
                elif text.rpartition("/")[2].strip("*") and path_glob.matches(text, path):
                    glob_matches.append(line)
    yield from name_matches or glob_matches  # a glob only may mean it, and `*` alone says nothing


def find_command_packages(
    cautions: Sequence[ScriptWarning], suites: Sequence[LockedSuite], arch: str, store: Store
) -> dict[str, str]:
    """Commands that scripts run and the image has not → the packages that have them.

    Only where the store has the archive's lists of files: for a warning nothing is fetched.
    """
    matches = (
        re.fullmatch(r'command "([^"/]+)" is not in the image', one.what) for one in cautions
    )
    names = sorted({one[1] for one in matches if one})
    if not names:
        return {}
    lists = open_cached_contents(suites, arch, store)
    packages_by_command: dict[str, str] = {}
    for name in names:
        owners = lists.find_owners(f"/usr/bin/{name}", f"/usr/sbin/{name}")
        packages = list(dict.fromkeys(one.package for one in owners))
        if packages:
            packages_by_command[name] = " or ".join(packages[:3])
    return packages_by_command
