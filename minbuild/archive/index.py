"""Which packages an archive's suites offer, all suites taken as one."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field

from minbuild.archive.download import download, side_by_side
from minbuild.archive.mirror import Mirror
from minbuild.archive.paragraph import depends, newest, package, version
from minbuild.archive.part import Part
from minbuild.archive.suite import Suite, open_suite, parts, settled
from minbuild.archive.types import Package, SuiteState
from minbuild.errors import ArchiveError
from minbuild.manifest.types import Archive, Pin
from minbuild.progress import Progress
from minbuild.store import Store

_LIKE = 0.75
"""How like a name must be to be suggested, of 1."""


@dataclass(slots=True)
class Index:
    """The packages of several suites: of each name the newest version counts."""

    suites: tuple[SuiteState, ...]
    parts: tuple[Part, ...]
    pins: tuple[Pin, ...] = ()
    _packages: dict[str, Package | None] = field(default_factory=dict)
    _depends: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    _texts: dict[str, tuple[str, Part] | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The suites, for people: `trixie, trixie-updates`."""
        return ", ".join(suite.name for suite in self.suites)

    def package(self, name: str) -> Package | None:
        """The newest version of a package over all suites; None when there is none.

        Raises: ArchiveError when the index says something impossible of it.
        """
        if name not in self._packages:
            found = self._text(name)
            self._packages[name] = (
                package(found[0], found[1].root, found[1].suite) if found else None
            )
        return self._packages[name]

    def offers(self, name: str) -> tuple[tuple[Package, str], ...]:
        """Every version of a package, of every suite, and whose word it is.

        Raises: ArchiveError when the index says something impossible of it.
        """
        return tuple(
            (package(text, part.root, part.suite), part.signer)
            for part in self.parts
            for text in part.ask(lambda kept: kept.paragraphs(name))
        )

    def depends(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Pre-Depends and Depends of the newest version: each with its alternatives, names only.

        () for a package that is not there.
        """
        if name not in self._depends:
            found = self._text(name)
            self._depends[name] = depends(found[0]) if found else ()
        return self._depends[name]

    def providers(self, virtual: str) -> tuple[str, ...]:
        """Names of the packages that provide a virtual package, sorted."""
        found = {
            name for part in self.parts for name in part.ask(lambda kept: kept.providers(virtual))
        }
        return tuple(sorted(found))

    def names(self, prefix: str) -> tuple[str, ...]:
        """Names of all packages that start with `prefix`, sorted."""
        found = {name for part in self.parts for name in part.ask(lambda kept: kept.names(prefix))}
        return tuple(sorted(found))

    def nearest(self, name: str) -> str:
        """The package whose name is most like `name`; "" when none is like it."""
        import difflib

        names = {one for part in self.parts for one in part.ask(lambda kept: kept.names(name[:2]))}
        found = difflib.get_close_matches(name, sorted(names), n=1, cutoff=_LIKE)
        return found[0] if found else ""

    def _text(self, name: str) -> tuple[str, Part] | None:
        """The newest paragraph of a name, and where it stands."""
        if name not in self._texts:
            found = [
                (text, part)
                for part in self.parts
                for text in part.ask(lambda kept: kept.paragraphs(name))
            ]
            self._texts[name] = self._best(name, found)
        return self._texts[name]

    def _best(self, name: str, found: Sequence[tuple[str, Part]]) -> tuple[str, Part] | None:
        """The newest of what the pins allow, from the archives of the highest priority.

        Raises: ArchiveError when a pin allows nothing.
        """
        pin = next((one for one in self.pins if one.package == name), None)
        allowed = [
            one for one in found if pin is None or _meets(pin, version(one[0]), one[1].suite)
        ]
        if pin is not None and not allowed:
            there = ", ".join(f"{version(text)} in {part.suite}" for text, part in found)
            wanted = " in ".join(part for part in (pin.version, pin.suite) if part)
            raise ArchiveError(
                f"no {name} is {wanted}; there is {there or 'none'}",
                where=str(pin.where),
                fix="correct the pin, or add the suite or snapshot that has this version",
            )
        if not allowed:
            return None
        highest = max(part.priority for _, part in allowed)
        return newest([one for one in allowed if one[1].priority == highest])


def _meets(pin: Pin, is_: str, suite: str) -> bool:
    return pin.suite in ("", suite) and (not pin.version or fnmatch.fnmatchcase(is_, pin.version))


def allows(pins: Sequence[Pin], package: Package) -> bool:
    """Whether the pins of a manifest let a package be taken."""
    return all(
        _meets(pin, package.version, package.suite) for pin in pins if pin.package == package.name
    )


def open_index(
    archive: Archive,
    arch: str,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
    now: int | None = None,
    allow_downgrade: bool = False,
) -> Index:
    """Open an archive's index: verified from the InRelease down, kept in the store.

    `now` is seconds UTC, for Valid-Until; None for this machine's clock.
    Raises: ArchiveError.
    """

    def opened(name: str, fresh: bool) -> Suite:
        return open_suite(
            archive,
            name,
            mirror,
            store,
            offline=offline,
            progress=progress,
            now=now,
            allow_downgrade=allow_downgrade,
            fresh=fresh,
        )

    def filled(suites: Sequence[Suite]) -> list[Part]:
        found = [part for suite in suites for part in parts(suite, archive, arch, store)]
        new = [part for part in found if not part.kept]
        wanted = [part.wanted(mirror, offline=offline) for part in new]
        download([one for one in wanted if one.mirrors], store, progress, "indices")
        side_by_side(Part.make, new)
        return found

    suites, found = settled(archive.suites, opened, filled)
    return Index(tuple(suite.state for suite in suites), tuple(found))
