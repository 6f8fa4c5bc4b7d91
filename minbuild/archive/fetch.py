"""How packages come from the mirror into the store."""

from collections.abc import Sequence

from minbuild.archive.download import Wanted, download
from minbuild.archive.mirror import Mirror, is_local
from minbuild.archive.types import Package
from minbuild.errors import ArchiveError
from minbuild.progress import Progress
from minbuild.store import Store

_NAMED = 5
"""Packages that an error names before it only counts them."""


def fetch(
    packages: Sequence[Package],
    mirror: Mirror,
    store: Store,
    *,
    offline: bool,
    progress: Progress,
) -> None:
    """Bring packages into the store, each checked by size and SHA-256.

    Raises: ArchiveError when one cannot be had, is not what it must be, or `offline` forbids.
    """
    absent = [package for package in packages if store.file(package.sha256) is None]
    if not absent:
        return
    wanted = {package: _wanted(package, mirror, offline=offline) for package in absent}
    barred = [package for package in absent if not wanted[package].mirrors]
    if barred:
        names = [f"{package.name} {package.version}" for package in barred]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise ArchiveError(
            f"the store lacks {', '.join(names[:_NAMED])}{more}, and --offline forbids to fetch",
            where=str(store.directory),
            fix="build once without --offline",
        )
    download([*wanted.values()], store, progress, "packages")


def _wanted(package: Package, mirror: Mirror, *, offline: bool) -> Wanted:
    """How to get a package; offline, only mirrors on this machine are asked."""
    urls = mirror.urls(package.root, package.path)
    return Wanted(
        what=f"package {package.name} {package.version}",
        mirrors=tuple((url,) for url in urls if is_local(url) or not offline),
        sha256=package.sha256,
        size=package.size,
        fix="use another mirror or a snapshot (--mirror URL), take newer packages "
        "(minbuild lock MANIFEST --update), or a store that has them (minbuild store import FILE)",
    )
