"""Bringing the contents of chosen files into the store."""

from collections.abc import Iterable, Mapping, Sequence

from minbuild.archive.types import Package
from minbuild.build.ground import get
from minbuild.build.request import Doors, Request
from minbuild.facts.content import extract_all
from minbuild.facts.types import Kind
from minbuild.resolve.types import Chosen


def bring(
    request: Request, packages: Sequence[Package], chosen: Iterable[Chosen], doors: Doors
) -> None:
    """Put the content of every chosen file into the store, from its package.

    Raises: ArchiveError when a package cannot be had or is damaged.
    """
    by_name = {package.name: package for package in packages}
    wanted: dict[str, set[str]] = {}
    for one in chosen:
        entry = one.entry
        if one.package and entry.kind is Kind.FILE and doors.store.file(entry.sha256) is None:
            wanted.setdefault(one.package, set()).add(entry.sha256)
    if not wanted:
        return
    by_package: Mapping[Package, frozenset[str]] = {
        by_name[name]: frozenset(digests) for name, digests in sorted(wanted.items())
    }
    get(request, list(by_package), doors)
    extract_all(by_package, doors.store, doors.progress)
