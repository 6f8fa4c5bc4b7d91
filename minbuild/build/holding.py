"""Which packages of a lock a manifest rules out: by its pins, or by naming other suites."""

from collections.abc import Iterator
from pathlib import Path

from minbuild.archive.index import allows
from minbuild.archive.types import Lock, Package
from minbuild.build.request import Request
from minbuild.errors import ArchiveError, together
from minbuild.manifest.types import Manifest
from minbuild.run import paste


def held(manifest: Manifest, package: Package) -> bool:
    """Whether a package that was locked may stay: its suite is named, and no pin is against it."""
    return package.suite in named_suites(manifest) and allows(manifest.pins, package)


def named_suites(manifest: Manifest) -> frozenset[str]:
    """Every suite that a manifest takes packages from; a directory of packages is one, too."""
    others = (((one.name,) if one.directory else one.suites) for one in manifest.archives)
    return frozenset((*manifest.archive.suites, *(name for names in others for name in names)))


def hold(request: Request, manifest: Manifest, lock: Lock, place: Path) -> None:
    """Refuse a lock with packages that the manifest rules out.

    Raises: ArchiveError for each package that a pin is against, and one for all other suites.
    """
    moved = f"take what the manifest allows: {_lock(request)}"
    problems = [ArchiveError(what, where=str(place), fix=moved) for what in _pinned(manifest, lock)]
    names = named_suites(manifest)
    if strange := sorted({one.suite for one in lock.packages} - names):
        own = place.with_name(f"{place.stem}-{manifest.archive.suites[0]}.lock")
        what = (
            f"the lock has packages of {', '.join(strange)}, "
            f"and the manifest takes them from {', '.join(sorted(names))}"
        )
        fix = (
            f"give each suite a lock of its own: --lock {own}, or a matrix: {{suite: […]}}; "
            f"or move this one: {_lock(request)}"
        )
        problems.append(ArchiveError(what, where=str(place), fix=fix))
    if problems:
        raise together(problems)


def _pinned(manifest: Manifest, lock: Lock) -> Iterator[str]:
    for one in lock.packages:
        if not allows(manifest.pins, one):
            yield f"the lock has {one.name} {one.version}, which the manifest's pin rules out"


def _lock(request: Request) -> str:
    more = [
        word for name, value in request.settings.items() for word in ("--set", f"{name}={value}")
    ]
    return paste(["minbuild", "lock", request.told, *more])
