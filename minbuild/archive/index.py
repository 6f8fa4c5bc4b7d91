"""Which packages an archive's suites offer, all suites taken as one."""

import difflib
from dataclasses import dataclass, field

from minbuild.archive.download import download, side_by_side
from minbuild.archive.mirror import Mirror
from minbuild.archive.paragraph import depends, newest, package
from minbuild.archive.part import Part
from minbuild.archive.suite import Suite, open_suite, parts
from minbuild.archive.types import Package, SuiteState
from minbuild.manifest.types import Archive
from minbuild.progress import Progress
from minbuild.store import Store

_LIKE = 0.75
"""How like a name must be to be suggested, of 1."""


@dataclass(slots=True)
class Index:
    """The packages of several suites: of each name the newest version counts."""

    suites: tuple[SuiteState, ...]
    parts: tuple[Part, ...]
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
            self._texts[name] = newest(found) if found else None
        return self._texts[name]


def open_index(
    archive: Archive,
    arch: str,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
    now: int | None = None,
) -> Index:
    """Open an archive's index: verified from the InRelease down, kept in the store.

    `now` is seconds UTC, for Valid-Until; None for this machine's clock.
    Raises: ArchiveError.
    """

    def opened(name: str) -> Suite:
        return open_suite(archive, name, mirror, store, offline=offline, progress=progress, now=now)

    suites = side_by_side(opened, archive.suites)
    found = [part for suite in suites for part in parts(suite, archive, arch, store)]
    new = [part for part in found if not part.kept]
    if new:
        if not offline:
            download([part.wanted(mirror) for part in new], store, progress, "indices")
        side_by_side(Part.make, new)
    return Index(tuple(suite.state for suite in suites), tuple(found))
