"""Suite of an archive: its InRelease file, from the mirror or the store, verified."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from minbuild.archive import http_client, http_request, openpgp, release
from minbuild.archive.download import MirrorOutOfSync, map_requests
from minbuild.archive.http_client import WrongContent, try_mirrors
from minbuild.archive.http_request import hide_credentials
from minbuild.archive.mirror import SECURITY, Mirror, is_local, repository_of
from minbuild.archive.model import LockedSuite
from minbuild.archive.packages_file import PackagesFile
from minbuild.archive.release import Release
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.formats.compression import INDEX_ENDINGS
from minbuild.manifest.model import Archive
from minbuild.progress import Progress

T = TypeVar("T")

_MAX_INRELEASE_SIZE = 4 << 20
"""Bytes of an InRelease."""
MAX_CHANGES = 3
"""Changes of a suite that are tolerated while its indices are read."""


class SuiteNotFound(ArchiveError):
    """No mirror of an archive has a suite."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A verified suite."""

    state: LockedSuite
    release: Release
    where: str
    """Address of its InRelease."""


def open_suite(
    archive: Archive,
    name: str,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
    now: int | None = None,
    allow_downgrade: bool = False,
    fresh: bool = False,
) -> Suite:
    """Get the InRelease file of a suite and verify its signature, name and date.

    One older than the newest ever seen is refused unless `allow_downgrade`. `fresh`: caches on the
    way must revalidate from the first request on.

    Raises: ArchiveError.
    """
    repository = repository_of(name, archive.name if archive.mirror else "")
    opener = _SuiteOpener(
        archive, name, repository, mirror, store, progress, offline, now, allow_downgrade
    )
    mirrors = opener.list_addresses()
    if not mirrors:
        suite = opener.open_cached()
    else:
        try:
            suite = try_mirrors(
                f"the InRelease of {name}",
                mirrors,
                lambda url, again: opener.download(url, fresh=again or fresh),
            )
        except http_request.NotFound as error:
            raise _absence_error(name, mirrors[0][-1], error) from error
    if archive.trusted:
        progress.note(f"the signature of {name} is not checked (trusted: true)")
    if not offline:
        opener.remember(suite)
    return suite


@dataclass(frozen=True, slots=True)
class _SuiteOpener:
    """Checks of one suite, the same for every mirror."""

    archive: Archive
    name: str
    repository: str
    mirror: Mirror
    store: Store
    progress: Progress
    offline: bool
    now: int | None
    allow_downgrade: bool

    @property
    def directory(self) -> str:
        """Below the repository."""
        return f"dists/{self.name.strip('/')}"

    def open_cached(self) -> Suite:
        """Verify the file as the store has it. Raises: ArchiveError."""
        url = f"{self.mirror.build_url(self.repository, self.directory)}/InRelease"
        where, signed = self.read_cached(url)
        return self.verify(signed, where)

    def list_addresses(self) -> list[tuple[str, ...]]:
        """The addresses of the signed file at each mirror that may be asked."""
        files = ("InRelease", "Release") if self.archive.trusted else ("InRelease",)
        return [
            tuple(f"{url}/{file}" for file in files)
            for url in self.mirror.build_urls(self.repository, self.directory)
            if is_local(url) or not self.offline
        ]

    def download(self, url: str, *, fresh: bool) -> Suite:
        """Download and verify the suite by one request.

        Raises: WrongContent, TransientError, NotFound.
        """
        try:
            signed = http_client.read_url(
                url, purpose=f"the InRelease of {self.name}", limit=_MAX_INRELEASE_SIZE, fresh=fresh
            )
            return self.verify(signed, url)
        except ArchiveError as error:
            raise WrongContent(error.what, error) from error

    def verify(self, signed: bytes, where: str) -> Suite:
        """Verify signature, name, date and order of an InRelease file.

        Raises: ArchiveError.
        """
        archive = self.archive
        if archive.trusted:
            content = openpgp.read_unverified(signed)
        else:
            content = openpgp.verify_cleartext(
                signed,
                where=f"{self.name}: {where}",
                signed_by=archive.signed_by,
                now=None if self.offline else self.now,
            )
        digest = self.store.add(signed)
        candidate = release.validate_release(
            _parse_cached(content, digest, where, self.store),
            self.name,
            where=where,
            check_date=not self.offline,
            check_valid_until=archive.check_valid_until and not (self.offline or archive.snapshot),
            progress=self.progress,
            now=self.now,
        )
        if not self.offline:
            self._refuse_rollback(candidate, where)
        return Suite(
            LockedSuite(self.name, self.repository, candidate.date, digest), candidate, where
        )

    def remember(self, suite: Suite) -> None:
        """Record the InRelease file for offline builds, and its date against rollback."""
        digest = suite.state.sha256.encode()
        keys = [suite.where, self._mirrorless_key]
        changed = {
            key: digest for key in keys if self.store.get(RecordKind.INRELEASE, key) != digest
        }
        if changed:
            self.store.put(RecordKind.INRELEASE, changed)
        memory_key = self._build_memory_key(suite.release)
        date = str(suite.release.date).encode()
        if memory_key and self.store.get(RecordKind.NEWEST_RELEASE, memory_key) != date:
            self.store.put(RecordKind.NEWEST_RELEASE, {memory_key: date})

    def read_cached(self, where: str) -> tuple[str, bytes]:
        """Return the last InRelease file, from this mirror or another.

        Raises: ArchiveError.
        """
        keys = (where, f"{where.removesuffix('InRelease')}Release", self._mirrorless_key)
        for key in keys:
            digest = self.store.get(RecordKind.INRELEASE, key)
            data = self.store.read(digest.decode()) if digest else None
            if data is not None:
                return where, data
        raise ArchiveError(
            f"the store has no InRelease file of {self.name}, and --offline forbids downloads",
            where=where,
            fix="run once without --offline, with the same mirror",
        )

    @property
    def _archive_id(self) -> str:
        """Identity of the archive and its signer, part of the keys of records.

        Debian's repositories are the same on every mirror; a snapshot or another archive is
        identified by its address. Archives with equal names but other keys share no record.
        """
        archive = self.archive
        separate = archive.snapshot or archive.mirror
        base = self.mirror.build_url(self.repository, "") if separate else self.repository
        return f"{base} {identify_signer(archive)}"

    @property
    def _mirrorless_key(self) -> str:
        return f"{self._archive_id} {self.name.strip('/')}"

    def _build_memory_key(self, candidate: Release) -> str:
        """Return the key of the newest date; "" for an unsigned archive."""
        if self.archive.trusted:
            return ""
        suite_name = candidate.codename or candidate.suite or self.name.strip("/")
        return f"{self._archive_id} {candidate.origin} {candidate.label} {suite_name}"

    def _refuse_rollback(self, candidate: Release, where: str) -> None:
        """Refuse a Release file older than the newest one seen from any mirror.

        Raises: ArchiveError.
        """
        memory_key = self._build_memory_key(candidate)
        seen = (
            int(self.store.get(RecordKind.NEWEST_RELEASE, memory_key) or b"0") if memory_key else 0
        )
        if candidate.date < seen and not self.allow_downgrade:
            was, now = (
                time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(date))
                for date in (seen, candidate.date)
            )
            raise ArchiveError(
                f"the Release file of {self.name} ({now}) is older than one already seen ({was})",
                where=where,
                fix="the mirror may be stale or under a rollback attack: use another mirror "
                "(--mirror URL), wait, or accept the older one with --allow-downgrade",
            )


def _absence_error(name: str, where: str, error: http_request.NotFound) -> ArchiveError:
    hint = "or security-mirror" if repository_of(name) == SECURITY else "(--mirror URL)"
    if not error.is_absent:
        return ArchiveError(
            f"the mirror denies access to the suite {name}: {error.reason}",
            where=where,
            fix=f"add user and password to the address, or use another mirror {hint}",
        )
    return SuiteNotFound(
        f"the mirror has no suite {name}: {error.reason}",
        where=where,
        fix=f"correct the suite's name, or use another mirror {hint}",
    )


def open_consistently(
    names: Sequence[str],
    open_by_name: Callable[[str, bool], Suite],
    read_indices: Callable[[Sequence[Suite]], T],
) -> tuple[list[Suite], T]:
    """Open suites and read their indices; start over if the archive changed meanwhile.

    `open_by_name` gets a name, and whether caches must revalidate.
    Raises: ArchiveError; MirrorOutOfSync if the indices of a fresh InRelease file are missing, too.
    """
    suites = map_requests(lambda name: open_by_name(name, False), names)
    for _ in range(MAX_CHANGES):
        try:
            return suites, read_indices(suites)
        except MirrorOutOfSync:
            before = [suite.state.sha256 for suite in suites]
            suites = map_requests(lambda name: open_by_name(name, True), names)
            if before == [suite.state.sha256 for suite in suites]:
                raise
    return suites, read_indices(suites)


def identify_signer(archive: Archive) -> str:
    """Identify the source of trust of an index: keys, an unsigned address, or a directory."""
    if archive.directory:
        return f"directory {archive.directory}"
    if archive.trusted:
        return f"unsigned {hide_credentials(' '.join(archive.mirror))}"
    return f"signed {openpgp.hash_trusted_keys(archive.signed_by)}"


def list_packages_files(
    suite: Suite, archive: Archive, arch: str, store: Store
) -> list[PackagesFile]:
    """Return the Packages files of a suite for one architecture and for `all`.

    Raises: ArchiveError if the suite lacks a component or the architecture.
    """
    files: list[PackagesFile] = []
    signer_id = identify_signer(archive)
    for component in archive.components:
        folders = [f"{component}/binary-{arch}"]
        if suite.release.all_apart and f"{component}/binary-all/Packages" in suite.release.indices:
            folders.append(f"{component}/binary-all")
        files += [
            replace(
                _find_packages_file(suite, folder, arch, store),
                priority=archive.priority,
                signer=signer_id,
            )
            for folder in folders
        ]
    return files


def _find_packages_file(suite: Suite, directory: str, arch: str, store: Store) -> PackagesFile:
    indices = suite.release.indices
    for ending in INDEX_ENDINGS:
        path = f"{directory}/Packages{ending}"
        if path in indices:
            sha256, size = indices[path]
            _, unpacked = indices.get(f"{directory}/Packages", ("", -1))
            name, repository = suite.state.name, suite.state.root
            by_hash = suite.release.by_hash
            return PackagesFile(name, repository, path, sha256, size, unpacked, by_hash, store)
    architectures = ", ".join(suite.release.architectures)
    raise ArchiveError(
        f"{suite.state.name} has no packages in {directory} (its architectures are {architectures})",
        where=suite.where,
        fix=f"correct `components:` below `archive:`, or the architecture {arch}",
    )


def _parse_cached(content: bytes, digest: str, where: str, store: Store) -> Release:
    """Parse a verified InRelease file, cached in the store by its digest."""
    cached = store.get(RecordKind.RELEASE, digest)
    if cached is not None:
        return release.load_release(cached)
    parsed = release.parse_release(content, where=where)
    store.put(RecordKind.RELEASE, {digest: release.dump_release(parsed)})
    return parsed
