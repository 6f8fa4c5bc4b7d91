"""Facts of packages in the shared store: read once by one machine, sealed, and taken by the others."""

from collections.abc import Iterator, Sequence

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.remote import Row
from minbuild.cache.store import Store
from minbuild.facts.package_facts import is_analysed
from minbuild.progress import Progress

KINDS = (RecordKind.FACTS, RecordKind.MODULE_ALIASES)
"""Records whose keys begin with the digest of a package and a slash."""
LAST_KINDS = (RecordKind.CONTROL, RecordKind.FILES)
"""Records whose key is the digest of a package, in the order in which they are written."""


def fetch_shared_facts(
    packages: Sequence[Package], store: Store, progress: Progress
) -> list[Package]:
    """Take the facts of packages that a believed key has sealed, as far as there are some.

    Returns those that must be here all the same: of which nothing is known, and kernels, whose
    modules are read one by one when a host takes them.
    """
    if store.remote is not None:
        digests = [package.sha256 for package in packages]
        progress.step(f"asking {store.remote.url} for facts of {len(digests)} packages")
        store.remote.fetch_records(store, RecordKind.FILES, digests, progress.note)
    return [
        package
        for package in packages
        if not is_analysed(package, store)
        or store.get(RecordKind.MODULE_ALIASES, f"{package.sha256}/") is not None
    ]


def share_facts(packages: Sequence[Package], store: Store, progress: Progress) -> None:
    """Give the facts of packages to the other machines."""
    if store.remote is not None and packages:
        rows = {package.sha256: _iter_rows(package.sha256, store) for package in packages}
        store.remote.share_records(RecordKind.FILES, rows, progress.note)


def _iter_rows(sha256: str, store: Store) -> Iterator[Row]:
    """All records of a package; FILES is last, since it says that the others are there."""
    for kind in KINDS:
        for key, value in store.get_all(kind, f"{sha256}/").items():
            yield kind, key, value
    for kind in LAST_KINDS:
        last = store.get(kind, sha256)
        if last is not None:
            yield kind, sha256, last
