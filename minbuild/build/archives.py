"""Every archive that a manifest names, as one: where they lie, and what they offer together."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.archive.credentials import hide
from minbuild.archive.index import Index, open_index
from minbuild.archive.mirror import Mirror, find_mirror, named, trees
from minbuild.archive.part import Part
from minbuild.archive.suite import signer
from minbuild.archive.types import SuiteState
from minbuild.build.request import Doors, Request
from minbuild.errors import ArchiveError, UsageError
from minbuild.facts.deb import opened
from minbuild.manifest.types import TOOLS, Archive, Manifest
from minbuild.store import Store

_FIELDS = ("Package", "Version", "Architecture", "Source", "Depends", "Pre-Depends", "Provides")


def with_archives(request: Request, manifest: Manifest) -> Request:
    """The request, with the archives of its manifest, Debian's own first.

    Raises: UsageError for `--mirror` beside a snapshot.
    """
    if manifest.archive.snapshot and request.mirror:
        raise UsageError(
            "the manifest takes Debian's packages from a snapshot, and from nowhere else",
            where=hide(manifest.archive.snapshot),
            fix="leave --mirror out, or remove `snapshot:` from the manifest",
        )
    archives = (manifest.archive, *manifest.archives)
    return replace(request, archives=archives, chooses_tools=manifest.trusted)


def mirror_of(request: Request, arch: str = "") -> Mirror:
    """Where the archives of a request lie; a snapshot is the only tree of Debian's that is asked.

    `arch` is that of the packages; "" for this machine's.
    Raises: ArchiveError.
    """
    main, *others = request.archives or (Archive(),)
    known = {
        one.name: _trees(one, arch, offline=request.offline)
        for one in others
        if one.mirror or one.directory
    }
    if main.tools_apart:
        known |= _tool_trees(main, arch, offline=request.offline)
    if main.snapshot:
        return named([main.snapshot], "snapshot", known)
    found = find_mirror(request.mirror or main.mirror, arch=arch, offline=request.offline)
    return replace(found, others=known)


def open_archives(request: Request, manifest: Manifest, arch: str, doors: Doors) -> Index:
    """Open every archive of a manifest for one architecture.

    Raises: ArchiveError, also for a pin that nothing meets.
    """
    archives = (manifest.archive, *manifest.archives)
    found = replace(open_all(request, archives, arch, doors), pins=manifest.pins)
    for pin in manifest.pins:
        found.package(pin.package)
    return found


def open_all(request: Request, archives: Sequence[Archive], arch: str, doors: Doors) -> Index:
    """Open several archives for one architecture. Raises: ArchiveError."""
    mirror = mirror_of(request, arch)
    suites: list[SuiteState] = []
    parts: list[Part] = []
    for archive in archives:
        if archive.directory:
            state, part = _directory(archive, arch, doors.store)
            suites.append(state)
            parts.append(part)
            continue
        index = open_index(
            archive,
            arch,
            mirror,
            doors.store,
            offline=request.offline,
            progress=doors.progress,
            allow_downgrade=request.allow_downgrade,
        )
        suites += index.suites
        parts += index.parts
    return Index(tuple(suites), tuple(parts))


def _tool_trees(main: Archive, arch: str, *, offline: bool) -> dict[str, tuple[str, ...]]:
    """Where an archive of tools alone lies; {} when this machine knows no mirror of its own."""
    own = main.tools_archive
    if own is not None and own.mirror != (TOOLS,):
        where = "archive: tools"
        return {TOOLS: trees(own.mirror, where, arch=arch, offline=offline)}
    try:
        found = find_mirror((), arch=arch, offline=offline)
    except ArchiveError:
        return {}
    return {TOOLS: (found.debian, found.security, *found.debians, *found.securities)}


def _trees(archive: Archive, arch: str, *, offline: bool) -> tuple[str, ...]:
    if archive.directory:
        return (Path(archive.directory).absolute().as_uri(),)
    return trees(archive.mirror, f"archives: {archive.name}", arch=arch, offline=offline)


def _directory(archive: Archive, arch: str, store: Store) -> tuple[SuiteState, Part]:
    """Read the .debs of a directory as an archive.

    Raises: ArchiveError for a package that cannot be read, or when there is none.
    """
    texts = [text for path in _debs(archive) if (text := _paragraph(path, arch))]
    packages = "\n".join(texts).encode()
    digest = store.add(packages)
    part = Part(
        suite=archive.name,
        root=archive.name,
        path="Packages",
        sha256=digest,
        size=len(packages),
        unpacked=len(packages),
        by_hash=False,
        store=store,
        priority=archive.priority,
        signer=signer(archive),
    )
    if not part.kept:
        part.make()
    return SuiteState(archive.name, archive.name, 0, digest), part


def _debs(archive: Archive) -> Sequence[Path]:
    found = sorted(Path(archive.directory).glob("*.deb"))
    if not found:
        raise ArchiveError(
            f"the directory of the archive {archive.name} holds no .deb",
            where=archive.directory,
            fix="put packages there, or remove the archive from the manifest",
        )
    return found


def _paragraph(path: Path, arch: str) -> str:
    """What an index would say of a .deb; "" for one of another architecture."""
    with opened(path, str(path)) as deb:
        fields = deb.control()
    if fields.get("architecture") not in {arch, "all"}:
        return ""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    rows = {name: fields[name.lower()] for name in _FIELDS if fields.get(name.lower())}
    rows |= {"Filename": path.name, "Size": str(path.stat().st_size), "SHA256": digest}
    return "".join(f"{name}: {value}\n" for name, value in rows.items())
