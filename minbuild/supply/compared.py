"""Open security issues of two hosts, of which only footprints or locks need to be there."""

import re
from collections.abc import Iterable, Sequence

from minbuild.archive.types import Lock, Package
from minbuild.footprint.issues import Issues, OpenIssue, differ
from minbuild.footprint.types import Footprint
from minbuild.supply.issues import Known, open_for, read

BINNMU = re.compile(r"\+b\d+$")
"""What a rebuild of the same source adds to a package's version. Source: Debian Policy 3.2.2."""


def compared(
    before: Sequence[Package],
    after: Sequence[Package],
    data: str,
    where: str,
    suites: tuple[str, str],
) -> Issues:
    """Say which issues are open for one set of packages and not for the other.

    `suites`: Debian's release of each side: trixie. Raises: UsageError when the data are none.
    """
    sides = [
        _open(packages, read(data, suite, where))
        for packages, suite in zip((before, after), suites, strict=True)
    ]
    return differ(sides[0], sides[1])


def packages_of(footprint: Footprint, locks: Iterable[Lock]) -> tuple[Package, ...]:
    """The packages that have a file in a host, their sources as any of the locks knows them.

    A package of another version than in the locks keeps its source's name, and its source's version
    is its own without a rebuild's suffix; one that no lock knows is its own source.
    """
    known = {(one.name, one.version): one for lock in locks for one in lock.packages}
    sources = {name: one.source for (name, _), one in known.items()}
    found = []
    for row in footprint.packages:
        if not (row.name and row.version and row.files):
            continue
        same = known.get((row.name, row.version))
        plain = BINNMU.sub("", row.version)
        found.append(
            same
            or Package(
                name=row.name,
                version=row.version,
                arch=footprint.arch,
                root="",
                path="",
                size=0,
                sha256="",
                source=sources.get(row.name, _kernel(row.name)),
                source_version=plain if plain != row.version else "",
            )
        )
    return tuple(found)


def release_of(suites: Sequence[str]) -> str:
    """The Debian release that suites belong to: trixie-security is trixie's."""
    return next(iter(suites), "trixie").partition("-")[0]


def _kernel(name: str) -> str:
    return "linux" if name.startswith("linux-image-") else ""


def _open(packages: Sequence[Package], known: Iterable[Known]) -> tuple[OpenIssue, ...]:
    return tuple(
        OpenIssue(one.source, one.name, one.fixed, names)
        for one, names in open_for(packages, known)
    )
