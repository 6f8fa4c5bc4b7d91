"""Package index of an archive: the packages of all its suites."""

import difflib
import fnmatch
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from debian.debian_support import Version

from minbuild.archive.download import download, map_requests
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import ARCHITECTURE, PACKAGE_NAME, PACKAGE_VERSION, LockedSuite, Package
from minbuild.archive.packages_file import PackagesFile
from minbuild.archive.suite import Suite, list_packages_files, open_consistently, open_suite
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.manifest.model import Archive, Pin
from minbuild.progress import Progress

if TYPE_CHECKING:
    from debian.deb822 import Packages


T = TypeVar("T")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def pick_newest(candidates: Sequence[tuple[str, T]]) -> tuple[str, T]:
    """Return the candidate with the highest version; the first of equals."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda pair: Version(_read_field(pair[0], "Version")))


def read_version(stanza: str) -> str:
    """Return the version in a stanza."""
    return _read_field(stanza, "Version")


def parse_package(stanza: str, root: str, suite: str) -> Package:
    """Parse a stanza as a package of a suite.

    Raises: ArchiveError if a field is missing or invalid, or a path is outside of the mirror.
    """
    fields = _parse_stanza(stanza)
    try:
        source, _, version = fields.get("Source", "").partition(" ")
        package = Package(
            name=fields["Package"],
            version=fields["Version"],
            arch=fields["Architecture"],
            root=root,
            path=fields["Filename"].removeprefix("./"),
            size=int(fields["Size"]),
            sha256=fields["SHA256"],
            suite=suite,
            source=source,
            source_version=version.strip("() "),
        )
    except (KeyError, ValueError) as error:
        raise _stanza_error(stanza, suite, f"{error!r}") from error
    _check_package(package, stanza, suite)
    return package


def _check_package(package: Package, stanza: str, suite: str) -> None:
    """Raises: ArchiveError for a field that no archive has."""
    invalid = [
        text
        for text, form in (
            (package.name, PACKAGE_NAME),
            (package.version, PACKAGE_VERSION),
            (package.arch, ARCHITECTURE),
            (package.source, PACKAGE_NAME),
            (package.source_version, PACKAGE_VERSION),
        )
        if text and not form.fullmatch(text)
    ]
    if invalid or not package.name or not package.version:
        raise _stanza_error(
            stanza, suite, f"its name, version or architecture is {invalid[:1] or 'empty'}"
        )
    parts = package.path.split("/")
    if not _SHA256.fullmatch(package.sha256) or package.size < 0 or {"", "..", "."} & {*parts}:
        raise _stanza_error(
            stanza, suite, f"{package.path}, {package.size} bytes, SHA-256 {package.sha256}"
        )


def parse_depends(stanza: str) -> tuple[tuple[str, ...], ...]:
    """Parse Pre-Depends and Depends: names only, each with its alternatives.

    Source: Debian Policy 7.1, "Syntax of relationship fields".

    Raises: ArchiveError for an invalid dependency.
    """
    relations = _parse_stanza(stanza).relations
    groups = tuple(
        tuple(dict.fromkeys(relation["name"] for relation in alternatives if relation["name"]))
        for key in ("pre-depends", "depends")
        for alternatives in relations[key] or ()
    )
    for name in (name for names in groups for name in names):
        if not PACKAGE_NAME.fullmatch(name):
            raise _stanza_error(stanza, "its dependencies", f"it depends on {name[:80]!r}")
    return tuple(names for names in groups if names)


@functools.lru_cache(maxsize=4)
def _parse_stanza(stanza: str) -> "Packages":
    from debian import deb822  # 26 ms, and a build from a lock without a new package needs none

    # it would write what it cannot parse to the terminal; parse_depends refuses that instead
    deb822.logger.disabled = True
    return deb822.Packages(stanza)


def _read_field(stanza: str, name: str) -> str:
    match = re.search(rf"^{name}: *(.*)$", stanza, re.MULTILINE)
    return match[1].strip() if match else "0"


def _stanza_error(stanza: str, suite: str, reason: str) -> ArchiveError:
    return ArchiveError(
        f"malformed entry of {_read_field(stanza, 'Package')} in the package index: {reason}",
        where=suite,
        fix="use another mirror (--mirror URL)",
    )


_MIN_SIMILARITY = 0.75
"""Similarity from which a name is suggested, 0 to 1."""


@dataclass(slots=True)
class Index:
    """Packages of several suites; of each name the newest version counts.

    Pins limit the versions of a name; among archives the highest priority wins first.
    """

    suites: tuple[LockedSuite, ...]
    packages_files: tuple[PackagesFile, ...]
    pins: tuple[Pin, ...] = ()
    _packages: dict[str, Package | None] = field(default_factory=dict)
    _depends: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    _providers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _stanzas: dict[str, tuple[str, PackagesFile] | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The suites, for people: `trixie, trixie-updates`."""
        return ", ".join(suite.name for suite in self.suites)

    def find_package(self, name: str) -> Package | None:
        """Return the newest allowed version of a package; None if there is none.

        Raises: ArchiveError for a malformed entry.
        """
        if name not in self._packages:
            newest_stanza = self._find_newest_stanza(name)
            self._packages[name] = (
                parse_package(newest_stanza[0], newest_stanza[1].repository, newest_stanza[1].suite)
                if newest_stanza
                else None
            )
        return self._packages[name]

    def list_offers(self, name: str) -> tuple[tuple[Package, str], ...]:
        """Return every version of a package in every suite, with the signer of its index.

        Raises: ArchiveError for a malformed entry.
        """
        return tuple(
            (parse_package(text, part.repository, part.suite), part.signer)
            for part in self.packages_files
            for text in part.query(lambda index: index.find_stanzas(name))
        )

    def find_depends(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return Pre-Depends and Depends of the newest version: names, each with its alternatives.

        () for an unknown package.
        """
        if name not in self._depends:
            newest_stanza = self._find_newest_stanza(name)
            self._depends[name] = parse_depends(newest_stanza[0]) if newest_stanza else ()
        return self._depends[name]

    def find_providers(self, virtual: str) -> tuple[str, ...]:
        """Return the packages that provide a virtual package, sorted."""
        if virtual not in self._providers:
            providers = {
                name
                for part in self.packages_files
                for name in part.query(lambda index: index.find_providers(virtual))
            }
            self._providers[virtual] = tuple(sorted(providers))
        return self._providers[virtual]

    def find_names(self, prefix: str) -> tuple[str, ...]:
        """Return the package names that start with `prefix`, sorted."""
        names = {
            name
            for part in self.packages_files
            for name in part.query(lambda index: index.find_names(prefix))
        }
        return tuple(sorted(names))

    def find_similar_name(self, name: str) -> str:
        """Return the most similar package name; "" if none is similar."""
        names = {
            candidate
            for part in self.packages_files
            for candidate in part.query(lambda index: index.find_names(name[:2]))
        }
        matches = difflib.get_close_matches(name, sorted(names), n=1, cutoff=_MIN_SIMILARITY)
        return matches[0] if matches else ""

    def _find_newest_stanza(self, name: str) -> tuple[str, PackagesFile] | None:
        """Return the newest allowed stanza of a package, with its Packages file."""
        if name not in self._stanzas:
            stanzas = [
                (text, part)
                for part in self.packages_files
                for text in part.query(lambda index: index.find_stanzas(name))
            ]
            self._stanzas[name] = self._apply_pins_and_priority(name, stanzas)
        return self._stanzas[name]

    def _apply_pins_and_priority(
        self, name: str, stanzas: Sequence[tuple[str, PackagesFile]]
    ) -> tuple[str, PackagesFile] | None:
        """Return the newest stanza that the pins allow, from the archives of the highest priority.

        Raises: ArchiveError if a pin allows none.
        """
        pin = next((pin for pin in self.pins if pin.package == name), None)
        allowed = [
            (text, part)
            for text, part in stanzas
            if pin is None or _pin_matches(pin, read_version(text), part.suite)
        ]
        if pin is not None and not allowed:
            available = ", ".join(f"{read_version(text)} in {part.suite}" for text, part in stanzas)
            constraint = " in ".join(part for part in (pin.version, pin.suite) if part)
            raise ArchiveError(
                f"no version of {name} matches the pin {constraint}; available: {available or 'none'}",
                where=str(pin.where),
                fix="correct the pin, or add the suite or snapshot that has this version",
            )
        if not allowed:
            return None
        highest = max(part.priority for _, part in allowed)
        return pick_newest([(text, part) for text, part in allowed if part.priority == highest])


def _pin_matches(pin: Pin, version: str, suite: str) -> bool:
    return pin.suite in ("", suite) and (
        not pin.version or fnmatch.fnmatchcase(version, pin.version)
    )


def is_allowed_by_pins(pins: Sequence[Pin], package: Package) -> bool:
    """Whether the pins of a manifest allow a package."""
    return all(
        _pin_matches(pin, package.version, package.suite)
        for pin in pins
        if pin.package == package.name
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
    """Open the index of an archive, verified from the InRelease file down.

    `now` is seconds UTC, for Valid-Until; None for the clock of this machine.
    Raises: ArchiveError.
    """

    def open_by_name(name: str, fresh: bool) -> Suite:
        return open_suite(
            archive, name, mirror, store, offline=offline, progress=progress, now=now,
            allow_downgrade=allow_downgrade, fresh=fresh,
        )  # fmt: skip

    def download_indices(suites: Sequence[Suite]) -> list[PackagesFile]:
        files = [
            part for suite in suites for part in list_packages_files(suite, archive, arch, store)
        ]
        missing = [part for part in files if not part.is_cached]
        specs = [part.download_spec(mirror, offline=offline) for part in missing]
        download([spec for spec in specs if spec.mirrors], store, progress, "indices")
        map_requests(PackagesFile.build_index, missing)
        return files

    suites, files = open_consistently(archive.suites, open_by_name, download_indices)
    return Index(tuple(suite.state for suite in suites), tuple(files))
