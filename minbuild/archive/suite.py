"""One suite of an archive: its InRelease, from the mirror or from the last time, verified."""

import time
from dataclasses import dataclass

from minbuild.archive import net, openpgp, release
from minbuild.archive.mirror import SECURITY, Mirror, root_of
from minbuild.archive.part import ENDINGS, Part
from minbuild.archive.release import Release
from minbuild.archive.types import SuiteState
from minbuild.errors import ArchiveError
from minbuild.manifest.types import Archive
from minbuild.progress import Progress
from minbuild.store import Store

_LIMIT = 8 << 20
"""Bytes of an InRelease."""
_LAST = "inrelease/1"
"""Address → digest of what was there the last time."""
_NEWEST = "newest/1"
"""Suite → date of the newest Release seen, seconds UTC."""
READ = "release/2"
"""Digest of an InRelease → what it says."""


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
) -> Suite:
    """Get a suite's InRelease and verify its signature, name and age.

    One that is older than what the store has seen is refused unless `allow_downgrade`.

    Raises: ArchiveError.
    """
    root = root_of(name, archive.name if archive.mirror else "")
    where = mirror.url(root, f"dists/{name}/InRelease")
    signed = _last(name, where, store) if offline else _fetched(archive, name, where, progress)
    if archive.trusted:
        content = openpgp.cleartext(signed)
        progress.note(f"{name}: its signature is not checked, as the manifest says (trusted)")
    else:
        content = openpgp.verified(signed, where=f"{name}: {where}", signed_by=archive.signed_by)
    digest = store.add(signed)
    found = release.checked(
        _read(content, digest, where, store),
        name,
        where=where,
        check_valid_until=archive.check_valid_until and not (offline or archive.snapshot),
        progress=progress,
        now=now,
    )
    if not offline:
        identity = where if archive.snapshot else f"{root} {name}"
        _hold(identity, found.date, name, where, store, allow_downgrade=allow_downgrade)
        if store.get(_LAST, where) != digest.encode():
            store.put(_LAST, {where: digest.encode()})
    return Suite(SuiteState(name, root, found.date, digest), found, where)


def _hold(
    identity: str, date: int, name: str, where: str, store: Store, *, allow_downgrade: bool
) -> None:
    """Refuse a Release from before the newest one that this store has seen, from any mirror.

    Raises: ArchiveError.
    """
    seen = int(store.get(_NEWEST, identity) or b"0")
    if date < seen and not allow_downgrade:
        was, now = (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one)) for one in (seen, date))
        raise ArchiveError(
            f"the Release of {name} is from {now}; this store has seen one from {was}",
            where=where,
            fix="the mirror is behind, or somebody holds updates back: use another mirror "
            "(--mirror URL), wait, or accept the older one with --allow-downgrade",
        )
    if date != seen:
        store.put(_NEWEST, {identity: str(date).encode()})


def parts(suite: Suite, archive: Archive, arch: str, store: Store) -> list[Part]:
    """The Packages files of a suite for one architecture, packages for all of them included.

    Raises: ArchiveError when the suite has no such component or architecture.
    """
    found: list[Part] = []
    for component in archive.components:
        folders = [f"{component}/binary-{arch}"]
        if suite.release.all_apart and f"{component}/binary-all/Packages" in suite.release.indices:
            folders.append(f"{component}/binary-all")
        found += [_part(suite, folder, arch, store, archive.priority) for folder in folders]
    return found


def _part(suite: Suite, folder: str, arch: str, store: Store, priority: int) -> Part:
    indices = suite.release.indices
    for ending in ENDINGS:
        path = f"{folder}/Packages{ending}"
        if path in indices:
            sha256, size = indices[path]
            _, unpacked = indices.get(f"{folder}/Packages", ("", 0))
            name, root = suite.state.name, suite.state.root
            by_hash = suite.release.by_hash
            return Part(name, root, path, sha256, size, unpacked, by_hash, store, priority)
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


def _fetched(archive: Archive, name: str, where: str, progress: Progress) -> bytes:
    try:
        return net.get(where, what=f"the InRelease of {name}", limit=_LIMIT)
    except net.NotThere as error:
        if archive.trusted:
            return _unsigned(name, where)
        hint = "or security-mirror" if root_of(name) == SECURITY else "(--mirror URL)"
        raise ArchiveError(
            f"the mirror has no suite {name}: {error.reason}",
            where=where,
            fix=f"correct the suite's name, or use another mirror {hint}",
        ) from error


def _unsigned(name: str, where: str) -> bytes:
    """The Release of an archive that signs nothing."""
    address = f"{where.removesuffix('InRelease')}Release"
    try:
        return net.get(address, what=f"the Release of {name}", limit=_LIMIT)
    except net.NotThere as error:
        raise ArchiveError(
            f"the mirror has no suite {name}: {error.reason}",
            where=address,
            fix="correct the suite's name, or use another mirror (--mirror URL)",
        ) from error


def _last(name: str, where: str, store: Store) -> bytes:
    digest = store.get(_LAST, where)
    data = store.read(digest.decode()) if digest else None
    if data is None:
        raise ArchiveError(
            f"the store knows nothing of {name}, and --offline forbids to ask",
            where=where,
            fix="run once without --offline, with the same mirror",
        )
    return data
