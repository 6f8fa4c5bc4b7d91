"""Where a path that an image has not could come from: packages of its lock, components."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.contents import kept_contents
from minbuild.archive.types import SuiteState
from minbuild.errors import MinbuildError
from minbuild.facts.gather import gather, known
from minbuild.facts.types import Files, Kind
from minbuild.manifest.components import asked_for
from minbuild.paths import RootPath, rootpath
from minbuild.progress import Silent
from minbuild.resolve import pattern
from minbuild.resolve.types import Caution
from minbuild.store import Store


def elsewhere(
    path: RootPath, lock: Path | None, store: Store, directories: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Say in words which package or component would bring `path`; sorted, packages first.

    `lock` names packages; those that the store has read are looked through.
    """
    held = sorted(_held(path, lock, store)) if lock is not None else ()
    offered = _offered(path, lock, store) if lock is not None and not held else ()
    return (*held, *sorted(offered), *sorted(_asked(path, directories)))


def _held(path: RootPath, lock: Path, store: Store) -> Iterator[str]:
    try:
        packages = [each for each in lockfile.read(lock).packages if known(each, store)]
    except MinbuildError:
        return  # a lock that cannot be read is no news here
    for package, files in zip(packages, gather(packages, store, Silent()), strict=True):
        for found in _named(path, files):
            yield f"the package {package.name} {package.version}, in the lock, holds {found}"


def _offered(path: RootPath, lock: Path, store: Store) -> Iterator[str]:
    """Packages of the archive, where the store has its lists of files."""
    try:
        found = lockfile.read(lock)
    except MinbuildError:
        return
    for one in kept_contents(found.suites, found.arch, store).owners(str(path)):
        yield f"the package {one.package}, in {one.component} of {one.suite}, holds {one.path}"


def _named(path: RootPath, files: Files) -> Sequence[RootPath]:
    """The path itself, or its namesakes in other directories."""
    entries = files.entries
    if path in entries:
        return (path,)
    last = f"/{path.rpartition('/')[2]}"
    return [
        one for one in entries if one.endswith(last) and entries[one].kind is not Kind.DIRECTORY
    ]


def _asked(path: RootPath, directories: Sequence[Path]) -> Iterator[str]:
    wide: list[str] = []
    plain: list[str] = []
    for component, packages in asked_for(directories).items():
        for package in packages:
            for text in map(str, map(rootpath, package.paths)):
                line = f"the component {component} asks {package.package} for {text}"
                if text.rpartition("/")[2] == path.rpartition("/")[2]:
                    plain.append(line)
                elif text.rpartition("/")[2].strip("*") and pattern.matches(text, path):
                    wide.append(line)
    yield from plain or wide  # a glob only may mean it, and `*` alone says nothing


def command_owners(
    cautions: Sequence[Caution], suites: Sequence[SuiteState], arch: str, store: Store
) -> dict[str, str]:
    """Commands that scripts run and the image has not → the packages that have them.

    Only where the store has the archive's lists of files: for a warning nothing is fetched.
    """
    found = (re.fullmatch(r'command "([^"/]+)" is not in the image', one.what) for one in cautions)
    names = sorted({one[1] for one in found if one})
    if not names:
        return {}
    lists = kept_contents(suites, arch, store)
    told: dict[str, str] = {}
    for name in names:
        owners = lists.owners(f"/usr/bin/{name}", f"/usr/sbin/{name}")
        packages = list(dict.fromkeys(one.package for one in owners))
        if packages:
            told[name] = " or ".join(packages[:3])
    return told
