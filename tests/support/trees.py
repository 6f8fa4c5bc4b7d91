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


def tree(closure: Closure, files: Sequence[PackageFiles]) -> PackageFiles:
    """The files of a closure as one."""
    by_name = {one.owner: one for one in files}

    def holder(path: RootPath) -> tuple[PackageFiles, RootPath] | None:
        chosen = closure.files.get(path)
        one = by_name.get(chosen.package) if chosen is not None else None
        if one is None or path not in one.entries:
            return None
        entry = one.entries[path]
        return one, RootPath(entry.target) if entry.kind is FileType.HARDLINK else path

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        found = holder(path)
        return None if found is None else found[0].facts(found[1])

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        found = holder(path)
        return None if found is None else found[0].symbols(found[1])

    entries = {path: one.entry for path, one in closure.files.items()}
    return PackageFiles(owner="", entries=entries, facts=facts, symbols=symbols)


def needless(
    closure: Closure,
    files: Sequence[PackageFiles],
    *,
    arch: str,
    policy: ResolvePolicy = DEFAULT_POLICY,
) -> Iterator[RootPath]:
    """Paths that no component names and that the closed-world check does not miss."""
    whole = tree(closure, files)
    named = {need.path for need in closure.needs if not need.needed_by.startswith("/")}
    for path, one in closure.files.items():
        if path in named or one.entry.kind is FileType.DIRECTORY:
            continue
        left = {other: entry for other, entry in whole.entries.items() if other != path}
        found = check_closed_world(
            replace(whole, entries=left), arch=arch, policy=policy, closure=closure,
        )  # fmt: skip
        if not found:
            yield path
