"""A closure as a tree of its own, whole or with one path gone: is every file of it needed?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from minbuild.facts.model import FileFacts, PackageFiles, Symbols
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.model import Closure
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy


def as_package_files(closure: Closure, files: Sequence[PackageFiles]) -> PackageFiles:
    """The files of a closure as one."""
    by_name = {one.owner: one for one in files}

    def find_owner(path: RootPath) -> tuple[PackageFiles, RootPath] | None:
        chosen = closure.files.get(path)
        package_files = by_name.get(chosen.package) if chosen is not None else None
        if package_files is None or path not in package_files.entries:
            return None
        entry = package_files.entries[path]
        return package_files, RootPath(entry.target) if entry.kind is FileType.HARDLINK else path

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        owner = find_owner(path)
        return None if owner is None else owner[0].facts(owner[1])

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        owner = find_owner(path)
        return None if owner is None else owner[0].symbols(owner[1])

    entries = {path: one.entry for path, one in closure.files.items()}
    return PackageFiles(owner="", entries=entries, facts=facts, symbols=symbols)


def find_needless(
    closure: Closure,
    files: Sequence[PackageFiles],
    *,
    arch: str,
    policy: ResolvePolicy = DEFAULT_POLICY,
) -> Iterator[RootPath]:
    """Paths that no component names and that the closed-world check does not miss."""
    whole = as_package_files(closure, files)
    named = {need.path for need in closure.needs if not need.needed_by.startswith("/")}
    for path, selected in closure.files.items():
        if path in named or selected.entry.kind is FileType.DIRECTORY:
            continue
        remaining = {other: entry for other, entry in whole.entries.items() if other != path}
        check = check_closed_world(
            replace(whole, entries=remaining), arch=arch, policy=policy, closure=closure,
        )  # fmt: skip
        if not check:
            yield path
