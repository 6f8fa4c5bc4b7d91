"""Whether a signed index has what a lock's rows say: asked once for each machine and row.

A lock is a file like others: whoever changes it names packages, and some of them run here. So its
rows count only once an index that a trusted key signed has said the same, or the user vouches.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

from minbuild.archive.index import Index
from minbuild.archive.suite import signer
from minbuild.archive.types import Package
from minbuild.build.archives import open_archives
from minbuild.build.growing import Market
from minbuild.build.request import Doors, Request
from minbuild.build.toolsource import open_tools, tool_archives
from minbuild.errors import ArchiveError, together
from minbuild.manifest.types import Archive, Manifest
from minbuild.store import Store

VOUCHED = "vouched/1"
"""Digest of a row, and of whose word it is → b"1" when their index said the same."""
_SAID = ("name", "version", "arch", "size", "sha256", "source", "source_version")
"""What an index says of a package, wherever it lies: packages move from suite to suite."""
_WHICH = ("name", "version", "arch")


def check_host(
    request: Request, manifest: Manifest, packages: Sequence[Package], doors: Doors, *, where: str
) -> None:
    """Hold the rows of a lock for the host against the indices of the manifest's archives.

    `where` names the lock. Raises: ArchiveError, as `check_rows`.
    """
    archives = (manifest.archive, *manifest.archives)

    def opened() -> Index:
        return open_archives(request, manifest, manifest.arch, doors)

    check_rows(request, packages, archives, opened, doors.store, where=where)


def check_tools(request: Request, packages: Sequence[Package], doors: Doors) -> None:
    """Hold the rows of a lock for the toolbox against the indices that tools come from.

    Raises: ArchiveError, as `check_rows`.
    """
    main, *others = request.archives or (Archive(),)
    if main.root or main.root_to_give:
        main = Archive()
    archives = tool_archives(main, others, trusted=request.chooses_tools)
    known = [
        one
        for one in (*archives, Archive())
        if request.chooses_tools or not (one.signed_by or one.trusted or one.directory)
    ]

    def opened() -> Index:
        return open_tools(request, main, archives, doors)

    check_rows(request, packages, known, opened, doors.store, where="the lock (toolbox)")


def check_market(
    request: Request, packages: Sequence[Package], archives: Sequence[Archive], market: Market
) -> None:
    """Note what an index that is open has; what was pinned before, it has as well.

    Raises: ArchiveError, as `check_rows`.
    """
    store = market.doors.store
    check_rows(request, packages, archives, lambda: market.index, store, where="the lock")


def check_rows(
    request: Request,
    packages: Sequence[Package],
    archives: Sequence[Archive],
    opened: Callable[[], Index],
    store: Store,
    *,
    where: str,
) -> None:
    """Hold rows of a lock against the index of the archives that they may come from.

    What an index has said before on this machine is not asked again: then `opened` is not called.
    Raises: ArchiveError for each row that the index says otherwise, or does not have.
    """
    signers = [signer(archive) for archive in archives]
    new = unknown(packages, signers, store)
    if not new:
        return
    if request.trust_lock:
        vouch(((package, signers[0]) for package in new), store)
        return
    try:
        index = opened()
    except ArchiveError as error:
        raise _unasked(new, where, error) if request.offline else error from error
    said = [
        (one, name)
        for package in new
        for one, name in index.offers(package.name)
        if name in signers
    ]
    rows = {_row(one): name for one, name in said}
    vouch(((one, rows[_row(one)]) for one in new if _row(one) in rows), store)
    problems = [
        _problem(package, [one for one, _ in said], index, where)
        for package in new
        if _row(package) not in rows
    ]
    if problems:
        raise together(problems)


def vouch(rows: Iterable[tuple[Package, str]], store: Store) -> None:
    """Note of packages that the index of a signer has them."""
    new = {_key(package, name): b"1" for package, name in rows}
    if new:
        store.put(VOUCHED, new)


def unknown(packages: Sequence[Package], signers: Sequence[str], store: Store) -> list[Package]:
    """The packages that no index of these signers has had yet, as far as this machine knows."""
    return [
        package
        for package in packages
        if all(store.get(VOUCHED, _key(package, name)) is None for name in signers)
    ]


def _key(package: Package, name: str) -> str:
    return f"{row_digest(package)} {hashlib.sha256(name.encode()).hexdigest()}"


def row_digest(package: Package) -> str:
    """A digest over what an index says of a package."""
    return hashlib.sha256(json.dumps(_row(package)).encode()).hexdigest()


def words_for(packages: Iterable[Package], store: Store) -> dict[str, bytes]:
    """The records of what indices have said of packages: for another store."""
    found: dict[str, bytes] = {}
    for package in packages:
        found |= store.get_all(VOUCHED, row_digest(package))
    return found


def _row(package: Package) -> tuple[object, ...]:
    return tuple(getattr(package, name) for name in _SAID)


def _problem(package: Package, said: Sequence[Package], index: Index, where: str) -> ArchiveError:
    known = f"{package.name} {package.version} ({package.arch})"
    same = [
        one for one in said if all(getattr(one, name) == getattr(package, name) for name in _WHICH)
    ]
    if not same:
        return ArchiveError(
            f"no signed index has {known}, which the lock pins ({index.name})",
            where=where,
            fix="take what the archive has (minbuild lock MANIFEST --update), name a snapshot that "
            "has it (archive: snapshot), or vouch for this lock yourself, once: --trust-lock",
        )
    ours, theirs = dataclasses.asdict(package), dataclasses.asdict(same[0])
    other = "; ".join(
        f"{name} is {theirs[name] or 'not there'} there, and {ours[name] or 'not there'} here"
        for name in _SAID
        if ours[name] != theirs[name]
    )
    return ArchiveError(
        f"the lock says otherwise than the signed index of {known}: {other}",
        where=where,
        fix="restore the lock from your version control, or make it anew: minbuild lock --update",
    )


def _unasked(packages: Sequence[Package], where: str, error: ArchiveError) -> ArchiveError:
    first = packages[0]
    more = f" and {len(packages) - 1} more" if len(packages) > 1 else ""
    return ArchiveError(
        f"this machine has seen no signed index with {first.name} {first.version}{more}, which the "
        f"lock pins, and --offline forbids to ask ({error.what})",
        where=where,
        fix="run once without --offline, bring the packages with minbuild store import, or vouch "
        "for this lock yourself, once: --trust-lock",
    )
