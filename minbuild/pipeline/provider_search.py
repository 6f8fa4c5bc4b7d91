"""Search for providers of unmet needs in the archive's lists of files, before a build fails."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os.path import commonprefix

from minbuild.archive.contents import Contents, PathOwner, open_contents
from minbuild.archive.index import Index
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import Package
from minbuild.errors import ArchiveError, ResolveError
from minbuild.manifest.model import Manifest
from minbuild.paths import to_root_path
from minbuild.pipeline.session import Session
from minbuild.resolve.builtin_tables import find_architecture
from minbuild.resolve.firmware import FIRMWARE_FORMS
from minbuild.resolve.model import Closure, NeedKind, UnmetNeed

FIRMWARE_DIRECTORY = "/usr/lib/firmware"
PROGRAM_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/usr/games")
MAX_NAMED_PACKAGES = 3
"""Packages that an error names."""
_OLDER_LISTS = ", by lists of files that are older than the Release"
_USELESS_PACKAGES = re.compile(r"-(?:unsigned|dbg|dbgsym|doc)$")
_KERNEL_PACKAGE = re.compile(r"(linux-image)-[0-9][^-]*(?:-[0-9]+)?-(.+)")
"""A kernel's package; its metapackage has the name without the version: linux-image-cloud-amd64."""
_SEARCHABLE_NEEDS = {
    NeedKind.FIRMWARE, NeedKind.SHEBANG, NeedKind.EXEC, NeedKind.NEEDED, NeedKind.DLOPEN,
    NeedKind.INTERP, NeedKind.LINK, NeedKind.DATA,
}  # fmt: skip
"""Kinds of needs that any package may meet; a root names its package, a module its kernel."""


@dataclass(frozen=True)
class ProviderSearch:
    """The lists of files of a manifest's suites, opened when they are first asked."""

    manifest: Manifest
    index: Index
    mirror: Mirror
    session: Session
    offline: bool

    @cached_property
    def contents(self) -> Contents:
        try:
            return open_contents(
                self.index, self.manifest.arch, self.mirror, self.session.store,
                offline=self.offline, progress=self.session.progress,
            )  # fmt: skip
        except ArchiveError as error:
            return Contents((), (error.what,))

    def find_packages(self, missing: UnmetNeed) -> Iterator[Package]:
        """Packages of the listed components that have what is missing, the likeliest first."""
        if missing.kind not in _SEARCHABLE_NEEDS or missing.by == missing.wanted:
            return
        for owner in self._find_owners(missing):
            package = self.index.find_package(owner.package)
            if package is not None and owner.signed and not self._is_unlisted_component(owner):
                yield package

    def add_to_error(self, error: ResolveError, closure: Closure) -> ResolveError:
        """Say in an error of everything that a closure lacks who has it."""
        errors = [error, *error.also]
        for missing, problem in zip(closure.unmet_needs, errors, strict=False):
            self._explain_need(missing, problem)
        _merge_firmware_errors(error, closure)
        return error

    def _explain_need(self, missing: UnmetNeed, error: "ResolveError | object") -> None:
        if not isinstance(error, ResolveError) or not self._list_patterns(missing):
            return
        if not self.contents.is_available:
            return
        owners = self._find_owners(missing)
        if not owners:
            self._explain_no_provider(missing, error)
            return
        listed = [one for one in owners if not self._is_unlisted_component(one)]
        first = (listed or owners)[0]
        names = _join_package_names(listed or owners)
        if listed and missing.kind in (NeedKind.MODULE, NeedKind.SOFTDEP, NeedKind.REQUEST):
            error.fix = f"{error.fix}; {names} {_choose_verb(names)} it (kernel: {{package: …}})"
        elif listed and missing.kind is NeedKind.ROOT:
            error.fix = f"{error.fix}; {names} {_choose_verb(names)} {first.path}"
        elif listed:
            error.what = _replace_location(error.what, f"in {names}, which nothing asks for")
            keep = f"keep: [{{package: {first.package}, paths: [{first.path}]}}]"
            error.fix = _replace_fix(
                error.fix, f"keep it: {names} {_choose_verb(names)} it ({keep})"
            )
        else:
            error.what = _replace_location(error.what, f"in {names}, in {first.component}, which "
                                  f"`archive.components` does not list")  # fmt: skip
            components = ", ".join((*self.manifest.archive.components, first.component))
            error.fix = _replace_fix(error.fix, f"add it: archive: {{components: [{components}]}}")

    def _explain_no_provider(self, missing: UnmetNeed, error: ResolveError) -> None:
        unknown = self.contents.unknown
        if unknown:
            error.fix += f" (which package has it was not looked up: {'; '.join(unknown)})"
        elif missing.kind in _SEARCHABLE_NEEDS:
            error.what = _replace_location(
                error.what,
                f"in no package of {self.index.name}{'' if self.contents.is_signed else _OLDER_LISTS}",
            )
            error.fix = _replace_fix(error.fix, "leave out what needs it")

    def _find_owners(self, missing: UnmetNeed) -> list[PathOwner]:
        patterns = self._list_patterns(missing)
        owners = self.contents.find_owners(*patterns) if patterns else ()
        if not owners:  # a directory on the way may be a link, which the lists name
            owners = self.contents.find_owners(*_list_parent_directories(patterns))
        useful = [one for one in owners if not _USELESS_PACKAGES.search(one.package)]
        likely = [self._resolve_metapackage(one) for one in useful]
        return sorted(dict.fromkeys(likely), key=lambda one: self._rank_owner(one, missing))

    def _rank_owner(self, owner: PathOwner, missing: UnmetNeed) -> tuple[bool, int, int, str]:
        number = next((number for number, text in enumerate(self._list_patterns(missing))
                       if text == owner.path), 99)  # fmt: skip
        return (self._is_unlisted_component(owner), number, len(owner.package), owner.package)

    def _resolve_metapackage(self, owner: PathOwner) -> PathOwner:
        """For a kernel's package the one that always leads to the newest of its kind."""
        match = _KERNEL_PACKAGE.fullmatch(owner.package)
        name = f"{match[1]}-{match[2]}" if match else ""
        if not name or self.index.find_package(name) is None:
            return owner
        return PathOwner("", name, owner.component, owner.suite)

    def _is_unlisted_component(self, owner: PathOwner) -> bool:
        return owner.component not in self.manifest.archive.components

    def _list_patterns(self, missing: UnmetNeed) -> tuple[str, ...]:
        """Paths and globs that would meet a need; () where no list of files can tell."""
        name_or_path, kind = missing.wanted, missing.kind
        if kind is NeedKind.FIRMWARE:
            return tuple(f"{FIRMWARE_DIRECTORY}/{name_or_path}{form}" for form in FIRMWARE_FORMS)
        if kind in (NeedKind.MODULE, NeedKind.SOFTDEP, NeedKind.REQUEST):
            plain = re.fullmatch(r"[\w-]+", name_or_path)
            name = re.sub(r"[-_]", "[-_]", name_or_path)
            return (f"/usr/lib/modules/*/{name}.ko*",) if plain else ()
        if kind is NeedKind.KCONFIG or " " in name_or_path:
            return ()
        if name_or_path.startswith("/"):
            return (str(to_root_path(name_or_path)),)
        if kind is NeedKind.EXEC:
            return tuple(f"{directory}/{name_or_path}" for directory in PROGRAM_DIRECTORIES)
        if kind in (NeedKind.NEEDED, NeedKind.DLOPEN) and "/" not in name_or_path:
            triplet = find_architecture(self.manifest.arch).triplet
            return (
                f"/usr/lib/{triplet}/{name_or_path}",
                f"/usr/lib/{name_or_path}",
                f"/usr/lib/*/{name_or_path}",
            )
        return ()


def _merge_firmware_errors(error: ResolveError, closure: Closure) -> None:
    """Make one error of the firmware files that one module lacks and one package has.

    A driver names a file for each of its cards and versions: 16 errors were 2 facts.
    """
    errors = [error, *error.also]
    groups: dict[tuple[str, str], list[tuple[UnmetNeed, ResolveError]]] = {}
    for missing, problem in zip(closure.unmet_needs, errors, strict=False):
        of_module = missing.kind is NeedKind.FIRMWARE and missing.by.startswith("/")
        if of_module and isinstance(problem, ResolveError):
            pattern = problem.what.replace(missing.wanted, "", 1)
            groups.setdefault((missing.by, pattern), []).append((missing, problem))
    merged: set[int] = set()
    for rows in groups.values():
        (first, problem), *others = rows
        if others:
            names = [missing.wanted for missing, _ in rows]
            start = commonprefix(names)  # noqa: RUF071  a glob may end within a name
            glob = f"{start}*"
            suffix = f" and {len(others)} more ({glob})" if start else f", {', '.join(names[1:])}"
            problem.what = problem.what.replace(first.wanted, f"{first.wanted}{suffix}", 1)
            problem.what = problem.what.replace(" is in ", " are in ", 1)
            if start:
                problem.fix = problem.fix.replace(f"{{path: {first.wanted},", f'{{path: "{glob}",')
            merged |= {id(other) for _, other in others}
    error.also = tuple(problem for problem in error.also if id(problem) not in merged)


def _list_parent_directories(patterns: Sequence[str]) -> list[str]:
    """The directories of paths, but not those that every package has files in."""
    directories: dict[str, None] = {}
    for path in patterns:
        parts = path.split("/")
        for end in range(len(parts) - 1, 4, -1):
            if not any(mark in path for mark in "*?["):
                directories["/".join(parts[:end])] = None
    return list(directories)


def _join_package_names(owners: Sequence[PathOwner]) -> str:
    names = list(dict.fromkeys(one.package for one in owners))
    extra_count = len(names) - MAX_NAMED_PACKAGES
    extra = [f"{extra_count} more"] if extra_count > 0 else []
    *first, last = [*names[:MAX_NAMED_PACKAGES], *extra]
    return f"{', '.join(first)} and {last}" if first else last


def _choose_verb(names: str) -> str:
    return "have" if " and " in names else "has"


def _replace_location(message: str, where: str) -> str:
    """The fact with the place in it: `… is in none of the packages` knew none."""
    for end in ("in none of the packages", "not in the image"):
        if message.endswith(end):
            return message.removesuffix(end) + where
    return f"{message}; it is {where}"


def _replace_fix(fix: str, better: str) -> str:
    """A fix that names what to do; the waiver stays."""
    _, waiver, remainder = fix.partition("or waive it")
    return f"{better}, {waiver}{remainder}" if waiver else f"{better}; {fix}"
