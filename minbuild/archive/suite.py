"""One suite of an archive: its InRelease, from the mirror or from the last time, verified."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from minbuild.archive import net, openpgp, release
from minbuild.archive.credentials import hide
from minbuild.archive.download import Unfit, side_by_side
from minbuild.archive.mirror import SECURITY, Mirror, is_local, root_of
from minbuild.archive.offers import Wrong, first_right
from minbuild.archive.part import Part
from minbuild.archive.release import Release
from minbuild.archive.types import SuiteState
from minbuild.archive.unpack import ENDINGS
from minbuild.errors import ArchiveError
from minbuild.manifest.types import Archive
from minbuild.progress import Progress
from minbuild.store import Store

T = TypeVar("T")

_LIMIT = 4 << 20
"""Bytes of an InRelease."""
_LAST = "inrelease/1"
"""Address, or archive and suite → digest of what was there the last time."""
_NEWEST = "newest/2"
"""Archive, keys and canonical suite → date of the newest Release verified, seconds UTC."""
CHANGES = 3
"""Times that a suite may change while its indices are read."""
READ = "release/3"
"""Digest of an InRelease → what it says."""


class NoSuite(ArchiveError):
    """No mirror of an archive has a suite."""


@dataclass(frozen=True, slots=True)
class Suite:
    state: SuiteState
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
    """Get a suite's InRelease and verify its signature, name and age.

    One that is older than what the store has seen is refused unless `allow_downgrade`. With
    `fresh`, caches are passed by from the start.

    Raises: ArchiveError.
    """
    root = root_of(name, archive.name if archive.mirror else "")
    place = f"dists/{name.strip('/')}"
    files = ("InRelease", "Release") if archive.trusted else ("InRelease",)
    opener = _Opener(archive, name, root, mirror, store, progress, offline, now, allow_downgrade)
    mirrors = [
        tuple(f"{url}/{file}" for file in files)
        for url in mirror.urls(root, place)
        if is_local(url) or not offline
    ]
    if not mirrors:
        where, signed = opener.last(f"{mirror.url(root, place)}/InRelease")
        found = opener.judge(signed, where)
    else:
        try:
            found = first_right(
                f"the InRelease of {name}",
                mirrors,
                lambda url, again: opener.ask(url, fresh=again or fresh),
            )
        except net.NotThere as error:
            raise _absent(name, mirrors[0][-1], error) from error
    if archive.trusted:
        progress.note(f"{name}: its signature is not checked, as the manifest says (trusted)")
    if not offline:
        opener.remember(found)
    return found


@dataclass(frozen=True, slots=True)
class _Opener:
    """What holds for one suite, whichever mirror it comes from."""

    archive: Archive
    name: str
    root: str
    mirror: Mirror
    store: Store
    progress: Progress
    offline: bool
    now: int | None
    allow_downgrade: bool

    def ask(self, url: str, *, fresh: bool) -> Suite:
        """The suite as one answer has it. Raises: Wrong, Unreachable, NotThere."""
        try:
            signed = net.read(url, what=f"the InRelease of {self.name}", limit=_LIMIT, fresh=fresh)
            return self.judge(signed, url)
        except ArchiveError as error:
            raise Wrong(error.what, error) from error

    def judge(self, signed: bytes, where: str) -> Suite:
        """Hold an InRelease against the keys, the name, the time and what was seen before.

        Raises: ArchiveError.
        """
        archive = self.archive
        if archive.trusted:
            content = openpgp.cleartext(signed)
        else:
            content = openpgp.verified(
                signed,
                where=f"{self.name}: {where}",
                signed_by=archive.signed_by,
                now=None if self.offline else self.now,
            )
        digest = self.store.add(signed)
        found = release.checked(
            _read(content, digest, where, self.store),
            self.name,
            where=where,
            check_date=not self.offline,
            check_valid_until=archive.check_valid_until and not (self.offline or archive.snapshot),
            progress=self.progress,
            now=self.now,
        )
        if not self.offline:
            self._hold(found, where)
        return Suite(SuiteState(self.name, self.root, found.date, digest), found, where)

    def remember(self, suite: Suite) -> None:
        """Keep what is there now for builds without a network, and its date."""
        digest = suite.state.sha256.encode()
        keys = [suite.where, self._any_mirror]
        new = {key: digest for key in keys if self.store.get(_LAST, key) != digest}
        if new:
            self.store.put(_LAST, new)
        memory = self._memory(suite.release)
        date = str(suite.release.date).encode()
        if memory and self.store.get(_NEWEST, memory) != date:
            self.store.put(_NEWEST, {memory: date})

    def last(self, where: str) -> tuple[str, bytes]:
        """The InRelease of the last time: from this mirror, or else from any.

        Raises: ArchiveError.
        """
        keys = (where, f"{where.removesuffix('InRelease')}Release", self._any_mirror)
        for key in keys:
            digest = self.store.get(_LAST, key)
            data = self.store.read(digest.decode()) if digest else None
            if data is not None:
                return where, data
        raise ArchiveError(
            f"the store knows nothing of {self.name}, and --offline forbids to ask",
            where=where,
            fix="run once without --offline, with the same mirror",
        )

    @property
    def _archive(self) -> str:
        """Which archive this is, and whose signature it must bear.

        Debian's trees are the same at every mirror; a snapshot and other archives are where they
        are. Two manifests that name two archives alike do not share a memory, nor two keys.
        """
        archive = self.archive
        own = archive.snapshot or archive.mirror
        place = self.mirror.url(self.root, "") if own else self.root
        return f"{place} {signer(archive)}"

    @property
    def _any_mirror(self) -> str:
        return f"{self._archive} {self.name.strip('/')}"

    def _memory(self, found: Release) -> str:
        """The key of the newest Release's date; "" for archives that nobody has signed."""
        if self.archive.trusted:
            return ""
        own = found.codename or found.suite or self.name.strip("/")
        return f"{self._archive} {found.origin} {found.label} {own}"

    def _hold(self, found: Release, where: str) -> None:
        """Refuse a Release from before the newest one that this store has seen, from any mirror.

        Raises: ArchiveError.
        """
        memory = self._memory(found)
        seen = int(self.store.get(_NEWEST, memory) or b"0") if memory else 0
        if found.date < seen and not self.allow_downgrade:
            was, now = (
                time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one)) for one in (seen, found.date)
            )
            raise ArchiveError(
                f"the Release of {self.name} is from {now}; this store has seen one from {was}",
                where=where,
                fix="the mirror is behind, or somebody holds updates back: use another mirror "
                "(--mirror URL), wait, or accept the older one with --allow-downgrade",
            )


def _absent(name: str, where: str, error: net.NotThere) -> ArchiveError:
    hint = "or security-mirror" if root_of(name) == SECURITY else "(--mirror URL)"
    if not error.missing:
        return ArchiveError(
            f"the mirror keeps the suite {name} to itself: {error.reason}",
            where=where,
            fix=f"give the address a user and a password, or use another mirror {hint}",
        )
    return NoSuite(
        f"the mirror has no suite {name}: {error.reason}",
        where=where,
        fix=f"correct the suite's name, or use another mirror {hint}",
    )


def settled(
    names: Sequence[str],
    opened: Callable[[str, bool], Suite],
    filled: Callable[[Sequence[Suite]], T],
) -> tuple[list[Suite], T]:
    """Open suites and fetch what they name; when that has changed meanwhile, begin anew.

    `opened` gets a name and whether caches are to be passed by.
    Raises: ArchiveError; Unfit when what a fresh InRelease names cannot be had either.
    """
    suites = side_by_side(lambda name: opened(name, False), names)
    for _ in range(CHANGES):
        try:
            return suites, filled(suites)
        except Unfit:
            before = [suite.state.sha256 for suite in suites]
            suites = side_by_side(lambda name: opened(name, True), names)
            if before == [suite.state.sha256 for suite in suites]:
                raise
    return suites, filled(suites)


def signer(archive: Archive) -> str:
    """Whose word an archive's index is: that of keys, of an unsigned address, of a directory."""
    if archive.directory:
        return f"directory {archive.directory}"
    if archive.trusted:
        return f"unsigned {hide(' '.join(archive.mirror))}"
    return f"signed {openpgp.trust(archive.signed_by)}"


def parts(suite: Suite, archive: Archive, arch: str, store: Store) -> list[Part]:
    """The Packages files of a suite for one architecture, packages for all of them included.

    Raises: ArchiveError when the suite has no such component or architecture.
    """
    found: list[Part] = []
    told = signer(archive)
    for component in archive.components:
        folders = [f"{component}/binary-{arch}"]
        if suite.release.all_apart and f"{component}/binary-all/Packages" in suite.release.indices:
            folders.append(f"{component}/binary-all")
        found += [
            replace(_part(suite, folder, arch, store), priority=archive.priority, signer=told)
            for folder in folders
        ]
    return found


def _part(suite: Suite, folder: str, arch: str, store: Store) -> Part:
    indices = suite.release.indices
    for ending in ENDINGS:
        path = f"{folder}/Packages{ending}"
        if path in indices:
            sha256, size = indices[path]
            _, unpacked = indices.get(f"{folder}/Packages", ("", -1))
            name, root = suite.state.name, suite.state.root
            by_hash = suite.release.by_hash
            return Part(name, root, path, sha256, size, unpacked, by_hash, store)
    known = ", ".join(suite.release.architectures)
    raise ArchiveError(
        f"{suite.state.name} has no packages in {folder} (its architectures are {known})",
        where=suite.where,
        fix=f"correct `components:` below `archive:`, or the architecture {arch}",
    )


def _read(content: bytes, digest: str, where: str, store: Store) -> Release:
    """What a verified InRelease says; what was read once is kept by its digest."""
    kept = store.get(READ, digest)
    if kept is not None:
        return release.load(kept)
    found = release.parse(content, where=where)
    store.put(READ, {digest: release.dump(found)})
    return found
