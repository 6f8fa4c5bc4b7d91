"""Who has what a host lacks: the archive's own lists of files, asked when a build is about to fail."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os.path import commonprefix

from minbuild.archive.contents import Contents, Owner, open_contents
from minbuild.archive.index import Index
from minbuild.archive.mirror import Mirror
from minbuild.archive.types import Package
from minbuild.build.request import Doors
from minbuild.errors import ArchiveError, ResolveError
from minbuild.manifest.types import Manifest
from minbuild.paths import rootpath
from minbuild.resolve.firmware import FORMS
from minbuild.resolve.machine import machine
from minbuild.resolve.types import Closure, Missing, NeedKind

FIRMWARE = "/usr/lib/firmware"
PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/games")
MOST = 3
"""Packages that an error names."""
_OLDER = ", by lists of files that are older than the Release"
_NO_HELP = re.compile(r"-(?:unsigned|dbg|dbgsym|doc)$")
_KERNEL = re.compile(r"(linux-image)-[0-9][^-]*(?:-[0-9]+)?-(.+)")
"""A kernel's package; its metapackage has the name without the version: linux-image-cloud-amd64."""
_FROM_THE_LISTS = {
    NeedKind.FIRMWARE, NeedKind.SHEBANG, NeedKind.EXEC, NeedKind.NEEDED, NeedKind.DLOPEN,
    NeedKind.INTERP, NeedKind.LINK, NeedKind.DATA,
}  # fmt: skip
"""Kinds of needs that any package may meet; a root names its package, a module its kernel."""


@dataclass(frozen=True)
class Whereabouts:
    """The lists of files of a manifest's suites, opened when they are first asked."""

    manifest: Manifest
    index: Index
    mirror: Mirror
    doors: Doors
    offline: bool

    @cached_property
    def contents(self) -> Contents:
        try:
            return open_contents(
                self.index, self.manifest.arch, self.mirror, self.doors.store,
                offline=self.offline, progress=self.doors.progress,
            )  # fmt: skip
        except ArchiveError as error:
            return Contents((), (error.what,))

    def packages(self, missing: Missing) -> Iterator[Package]:
        """Packages of the listed components that have what is missing, the likeliest first."""
        if missing.kind not in _FROM_THE_LISTS or missing.by == missing.wanted:
            return
        for owner in self._owners(missing):
            package = self.index.package(owner.package)
            if package is not None and owner.signed and not self._is_elsewhere(owner):
                yield package

    def explain(self, error: ResolveError, closure: Closure) -> ResolveError:
        """Say in an error of everything that a closure lacks who has it."""
        told = [error, *error.others]
        for missing, one in zip(closure.missing, told, strict=False):
            self._say(missing, one)
        _bundle(error, closure)
        return error

    def _say(self, missing: Missing, error: "ResolveError | object") -> None:
        if not isinstance(error, ResolveError) or not self._patterns(missing):
            return
        if not self.contents.is_there:
            return
        owners = self._owners(missing)
        if not owners:
            self._say_nobody(missing, error)
            return
        here = [one for one in owners if not self._is_elsewhere(one)]
        first = (here or owners)[0]
        names = _names(here or owners)
        if here and missing.kind in (NeedKind.MODULE, NeedKind.SOFTDEP):
            error.fix = f"{error.fix}; {names} {_has(names)} it (kernel: {{package: …}})"
        elif here and missing.kind is NeedKind.ROOT:
            error.fix = f"{error.fix}; {names} {_has(names)} {first.path}"
        elif here:
            error.what = _plainly(error.what, f"in {names}, which nothing asks for")
            keep = f"keep: [{{package: {first.package}, paths: [{first.path}]}}]"
            error.fix = _instead(error.fix, f"keep it: {names} {_has(names)} it ({keep})")
        else:
            error.what = _plainly(error.what, f"in {names}, in {first.component}, which "
                                  f"`archive.components` does not list")  # fmt: skip
            more = ", ".join((*self.manifest.archive.components, first.component))
            error.fix = _instead(error.fix, f"add it: archive: {{components: [{more}]}}")

    def _say_nobody(self, missing: Missing, error: ResolveError) -> None:
        unknown = self.contents.unknown
        if unknown:
            error.fix += f" (which package has it was not looked up: {'; '.join(unknown)})"
        elif missing.kind in _FROM_THE_LISTS:
            error.what = _plainly(
                error.what,
                f"in no package of {self.index.name}{'' if self.contents.is_signed else _OLDER}",
            )
            error.fix = _instead(error.fix, "leave out what needs it")

    def _owners(self, missing: Missing) -> list[Owner]:
        patterns = self._patterns(missing)
        found = self.contents.owners(*patterns) if patterns else ()
        if not found:  # a directory on the way may be a link, which the lists name
            found = self.contents.owners(*_above(patterns))
        useful = [one for one in found if not _NO_HELP.search(one.package)]
        likely = [self._metapackage(one) for one in useful]
        return sorted(dict.fromkeys(likely), key=lambda one: self._rank(one, missing))

    def _rank(self, owner: Owner, missing: Missing) -> tuple[bool, int, int, str]:
        number = next((number for number, text in enumerate(self._patterns(missing))
                       if text == owner.path), 99)  # fmt: skip
        return (self._is_elsewhere(owner), number, len(owner.package), owner.package)

    def _metapackage(self, owner: Owner) -> Owner:
        """For a kernel's package the one that always leads to the newest of its kind."""
        found = _KERNEL.fullmatch(owner.package)
        name = f"{found[1]}-{found[2]}" if found else ""
        if not name or self.index.package(name) is None:
            return owner
        return Owner("", name, owner.component, owner.suite)

    def _is_elsewhere(self, owner: Owner) -> bool:
        return owner.component not in self.manifest.archive.components

    def _patterns(self, missing: Missing) -> tuple[str, ...]:
        """Paths and globs that would meet a need; () where no list of files can tell."""
        wanted, kind = missing.wanted, missing.kind
        if kind is NeedKind.FIRMWARE:
            return tuple(f"{FIRMWARE}/{wanted}{form}" for form in FORMS)
        if kind in (NeedKind.MODULE, NeedKind.SOFTDEP):
            plain = re.fullmatch(r"[\w-]+", wanted)
            name = re.sub(r"[-_]", "[-_]", wanted)
            return (f"/usr/lib/modules/*/{name}.ko*",) if plain else ()
        if kind is NeedKind.KCONFIG or " " in wanted:
            return ()
        if wanted.startswith("/"):
            return (str(rootpath(wanted)),)
        if kind is NeedKind.EXEC:
            return tuple(f"{place}/{wanted}" for place in PROGRAMS)
        if kind in (NeedKind.NEEDED, NeedKind.DLOPEN) and "/" not in wanted:
            triplet = machine(self.manifest.arch).triplet
            return (f"/usr/lib/{triplet}/{wanted}", f"/usr/lib/{wanted}", f"/usr/lib/*/{wanted}")
        return ()


def _bundle(error: ResolveError, closure: Closure) -> None:
    """Make one error of the firmware files that one module lacks and one package has.

    A driver names a file for each of its cards and versions: 16 errors were 2 facts.
    """
    told = [error, *error.others]
    groups: dict[tuple[str, str], list[tuple[Missing, ResolveError]]] = {}
    for missing, one in zip(closure.missing, told, strict=False):
        of_module = missing.kind is NeedKind.FIRMWARE and missing.by.startswith("/")
        if of_module and isinstance(one, ResolveError):
            said = one.what.replace(missing.wanted, "", 1)
            groups.setdefault((missing.by, said), []).append((missing, one))
    more: set[int] = set()
    for rows in groups.values():
        (first, one), *others = rows
        if others:
            names = [missing.wanted for missing, _ in rows]
            start = commonprefix(names)  # noqa: RUF071  a glob may end within a name
            glob = f"{start}*"
            rest = f" and {len(others)} more ({glob})" if start else f", {', '.join(names[1:])}"
            one.what = one.what.replace(first.wanted, f"{first.wanted}{rest}", 1)
            one.what = one.what.replace(" is in ", " are in ", 1)
            if start:
                one.fix = one.fix.replace(f"{{path: {first.wanted},", f'{{path: "{glob}",')
            more |= {id(other) for _, other in others}
    error.others = tuple(one for one in error.others if id(one) not in more)


def _above(patterns: Sequence[str]) -> list[str]:
    """The directories of paths, but not those that every package has files in."""
    found: dict[str, None] = {}
    for path in patterns:
        parts = path.split("/")
        for end in range(len(parts) - 1, 4, -1):
            if not any(mark in path for mark in "*?["):
                found["/".join(parts[:end])] = None
    return list(found)


def _names(owners: Sequence[Owner]) -> str:
    names = list(dict.fromkeys(one.package for one in owners))
    rest = len(names) - MOST
    more = [f"{rest} more"] if rest > 0 else []
    *first, last = [*names[:MOST], *more]
    return f"{', '.join(first)} and {last}" if first else last


def _has(names: str) -> str:
    return "have" if " and " in names else "has"


def _plainly(what: str, where: str) -> str:
    """The fact with the place in it: `… is in none of the packages` knew none."""
    for end in ("in none of the packages", "not in the image"):
        if what.endswith(end):
            return what.removesuffix(end) + where
    return f"{what}; it is {where}"


def _instead(fix: str, better: str) -> str:
    """A fix that names what to do; the waiver stays."""
    _, waiver, rest = fix.partition("or waive it")
    return f"{better}, {waiver}{rest}" if waiver else f"{better}; {fix}"
