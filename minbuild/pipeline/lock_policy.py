"""Check of a lock's rows against the signed indices, once for each machine and row.

A lock is a file like others: whoever changes it names packages, and some of them run here. So its
rows count only once an index that a trusted key signed has said the same, or the user vouches.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.index import Index, is_allowed_by_pins
from minbuild.archive.model import Lock, Package
from minbuild.archive.suite import identify_signer
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError, MinbuildError, combine
from minbuild.manifest.model import Archive, Manifest
from minbuild.pipeline.package_selection import PackageSource
from minbuild.pipeline.package_sources import list_tool_archives, open_archives, open_tool_index
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.process import format_command


def is_allowed(manifest: Manifest, package: Package) -> bool:
    """Whether a package that was locked may stay: its suite is named, and no pin is against it."""
    return package.suite in list_suites(manifest) and is_allowed_by_pins(manifest.pins, package)


def list_suites(manifest: Manifest) -> frozenset[str]:
    """Every suite that a manifest takes packages from; a directory of packages is one, too."""
    archive_suites = (((one.name,) if one.directory else one.suites) for one in manifest.archives)
    return frozenset(
        (*manifest.archive.suites, *(name for names in archive_suites for name in names))
    )


def check_lock(request: BuildRequest, manifest: Manifest, lock: Lock, lock_path: Path) -> None:
    """Refuse a lock with packages that the manifest rules out.

    Raises: ArchiveError for each package that a pin is against, and one for all other suites.
    """
    relock_hint = f"take what the manifest allows: {_render_lock_command(request)}"
    problems = [
        ArchiveError(message, where=str(lock_path), fix=relock_hint)
        for message in _find_pin_violations(manifest, lock)
    ]
    names = list_suites(manifest)
    if foreign_suites := sorted({one.suite for one in lock.packages} - names):
        suite_lock = lock_path.with_name(f"{lock_path.stem}-{manifest.archive.suites[0]}.lock")
        message = (
            f"the lock has packages of {', '.join(foreign_suites)}, "
            f"and the manifest takes them from {', '.join(sorted(names))}"
        )
        fix = (
            f"give each suite a lock of its own: --lock {suite_lock}, or a matrix: {{suite: […]}}; "
            f"or move this one: {_render_lock_command(request)}"
        )
        problems.append(ArchiveError(message, where=str(lock_path), fix=fix))
    if problems:
        raise combine(problems)


def _find_pin_violations(manifest: Manifest, lock: Lock) -> Iterator[str]:
    for package in lock.packages:
        if not is_allowed_by_pins(manifest.pins, package):
            yield f"the lock has {package.name} {package.version}, which the manifest's pin rules out"


def _render_lock_command(request: BuildRequest) -> str:
    setting_options = [
        word for name, value in request.settings.items() for word in ("--set", f"{name}={value}")
    ]
    return format_command(["minbuild", "lock", request.manifest_argument, *setting_options])


MAX_LOCK_SIZE = 16 << 20
"""Bytes of a lock that is looked at."""


def record_used_lock(text: bytes, store: Store) -> None:
    """Remember a lock that a build uses."""
    store.put(RecordKind.USED_LOCK, {hashlib.sha256(text).hexdigest(): b""})


def read_used_lock(path: Path, store: Store) -> Lock | None:
    """The lock in a file, if a build of this user's used it; None for any other, and for none."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LOCK_SIZE)
    except OSError:
        return None
    if store.get(RecordKind.USED_LOCK, hashlib.sha256(text).hexdigest()) is None:
        return None
    try:
        return lockfile.parse_lock(text.decode("utf-8", "replace"), path)
    except MinbuildError:
        return None


_INDEX_FIELDS = ("name", "version", "arch", "size", "sha256", "source", "source_version")
"""What an index says of a package, wherever it lies: packages move from suite to suite."""
_IDENTITY_FIELDS = ("name", "version", "arch")


def check_host_packages(
    request: BuildRequest,
    manifest: Manifest,
    packages: Sequence[Package],
    session: Session,
    *,
    where: str,
) -> None:
    """Hold the rows of a lock for the host against the indices of the manifest's archives.

    `where` names the lock. Raises: ArchiveError, as `check_rows`.
    """
    archives = (manifest.archive, *manifest.archives)

    def open_index() -> Index:
        return open_archives(request, manifest, manifest.arch, session)

    check_rows(request, packages, archives, open_index, session.store, where=where)


def check_tool_packages(
    request: BuildRequest, packages: Sequence[Package], session: Session
) -> None:
    """Hold the rows of a lock for the toolbox against the indices that tools come from.

    Raises: ArchiveError, as `check_rows`.
    """
    main, *others = request.archives or (Archive(),)
    if main.root or main.requires_root_option:
        main = Archive()
    archives = list_tool_archives(main, others, trusted=request.chooses_tools)
    signing_archives = [
        one
        for one in (*archives, Archive())
        if request.chooses_tools or not (one.signed_by or one.trusted or one.directory)
    ]

    def open_index() -> Index:
        return open_tool_index(request, main, archives, session)

    check_rows(
        request, packages, signing_archives, open_index, session.store, where="the lock (toolbox)"
    )


def check_source_packages(
    request: BuildRequest,
    packages: Sequence[Package],
    archives: Sequence[Archive],
    source: PackageSource,
) -> None:
    """Note what an index that is open has; what was pinned before, it has as well.

    Raises: ArchiveError, as `check_rows`.
    """
    store = source.session.store
    check_rows(request, packages, archives, lambda: source.index, store, where="the lock")


def check_rows(
    request: BuildRequest,
    packages: Sequence[Package],
    archives: Sequence[Archive],
    open_index: Callable[[], Index],
    store: Store,
    *,
    where: str,
) -> None:
    """Hold rows of a lock against the index of the archives that they may come from.

    What an index has said before on this machine is not asked again: then `opened` is not called.
    Raises: ArchiveError for each row that the index says otherwise, or does not have.
    """
    signers = [identify_signer(archive) for archive in archives]
    unvouched = find_unvouched(packages, signers, store)
    if not unvouched:
        return
    if request.trust_lock:
        record_vouched_rows(((package, signers[0]) for package in unvouched), store)
        return
    try:
        index = open_index()
    except ArchiveError as error:
        raise _explain_offline(unvouched, where, error) if request.offline else error from error
    _compare_with_index(unvouched, signers, index, store, where)


def _compare_with_index(
    unvouched: Sequence[Package], signers: Sequence[str], index: Index, store: Store, where: str
) -> None:
    """Note the rows that an index has. Raises: ArchiveError for each one that it says otherwise."""
    offers = [
        (one, name)
        for package in unvouched
        for one, name in index.list_offers(package.name)
        if name in signers
    ]
    signer_by_row = {_extract_index_row(package): name for package, name in offers}
    vouched: list[tuple[Package, str]] = []
    problems = []
    for package in unvouched:
        signer = signer_by_row.get(_extract_index_row(package))
        if signer is not None:
            vouched.append((package, signer))
        else:
            problems.append(_explain_mismatch(package, [one for one, _ in offers], index, where))
    record_vouched_rows(vouched, store)
    if problems:
        raise combine(problems)


def record_vouched_rows(rows: Iterable[tuple[Package, str]], store: Store) -> None:
    """Note of packages that the index of a signer has them."""
    records = {_make_record_key(package, name): b"1" for package, name in rows}
    if records:
        store.put(RecordKind.VOUCHED_PACKAGE, records)


def find_unvouched(
    packages: Sequence[Package], signers: Sequence[str], store: Store
) -> list[Package]:
    """The packages that no index of these signers has had yet, as far as this machine knows."""
    return [
        package
        for package in packages
        if all(
            store.get(RecordKind.VOUCHED_PACKAGE, _make_record_key(package, name)) is None
            for name in signers
        )
    ]


def _make_record_key(package: Package, name: str) -> str:
    return f"{digest_row(package)} {hashlib.sha256(name.encode()).hexdigest()}"


def digest_row(package: Package) -> str:
    """A digest over what an index says of a package."""
    return hashlib.sha256(json.dumps(_extract_index_row(package)).encode()).hexdigest()


def collect_vouch_records(packages: Iterable[Package], store: Store) -> dict[str, bytes]:
    """The records of what indices have said of packages: for another store."""
    records: dict[str, bytes] = {}
    for package in packages:
        records |= store.get_all(RecordKind.VOUCHED_PACKAGE, digest_row(package))
    return records


def _extract_index_row(package: Package) -> tuple[object, ...]:
    return tuple(getattr(package, name) for name in _INDEX_FIELDS)


def _explain_mismatch(
    package: Package, offers: Sequence[Package], index: Index, where: str
) -> ArchiveError:
    identity = f"{package.name} {package.version} ({package.arch})"
    namesakes = [
        one
        for one in offers
        if all(getattr(one, name) == getattr(package, name) for name in _IDENTITY_FIELDS)
    ]
    if not namesakes:
        return ArchiveError(
            f"no signed index has {identity}, which the lock pins ({index.name})",
            where=where,
            fix="take what the archive has (minbuild lock MANIFEST --update), name a snapshot that "
            "has it (archive: snapshot), or vouch for this lock yourself, once: --trust-lock",
        )
    ours, theirs = dataclasses.asdict(package), dataclasses.asdict(namesakes[0])
    differences = "; ".join(
        f"{name} is {theirs[name] or 'not there'} there, and {ours[name] or 'not there'} here"
        for name in _INDEX_FIELDS
        if ours[name] != theirs[name]
    )
    return ArchiveError(
        f"the lock says otherwise than the signed index of {identity}: {differences}",
        where=where,
        fix="restore the lock from your version control, or make it anew: minbuild lock --update",
    )


def _explain_offline(packages: Sequence[Package], where: str, error: ArchiveError) -> ArchiveError:
    first = packages[0]
    suffix = f" and {len(packages) - 1} more" if len(packages) > 1 else ""
    return ArchiveError(
        f"this machine has seen no signed index with {first.name} {first.version}{suffix}, which the "
        f"lock pins, and --offline forbids to ask ({error.what})",
        where=where,
        fix="run once without --offline, bring the packages with minbuild store import, or vouch "
        "for this lock yourself, once: --trust-lock",
    )
