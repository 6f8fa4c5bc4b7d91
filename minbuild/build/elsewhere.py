"""Where a path that an image has not could come from: packages of its lock, components."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.errors import MinbuildError
from minbuild.facts.gather import gather, known
from minbuild.facts.types import Files, Kind
from minbuild.manifest.components import asked_for
from minbuild.paths import RootPath, rootpath
from minbuild.progress import Silent
from minbuild.resolve import pattern
from minbuild.store import Store


def elsewhere(
    path: RootPath, lock: Path | None, store: Store, directories: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Say in words which package or component would bring `path`; sorted, packages first.

    `lock` names packages; those that the store has read are looked through.
    """
    held = sorted(_held(path, lock, store)) if lock is not None else ()
    return (*held, *sorted(_asked(path, directories)))


def _held(path: RootPath, lock: Path, store: Store) -> Iterator[str]:
    try:
        packages = [each for each in lockfile.read(lock).packages if known(each, store)]
    except MinbuildError:
        return  # a lock that cannot be read is no news here
    for package, files in zip(packages, gather(packages, store, Silent()), strict=True):
        for found in _named(path, files):
            yield f"the package {package.name} {package.version}, in the lock, holds {found}"


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
