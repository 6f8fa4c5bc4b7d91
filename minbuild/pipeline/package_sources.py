"""Every archive that a manifest names, as one: where they lie, and what they offer together."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.archive.download import fetch_packages
from minbuild.archive.http_request import hide_credentials
from minbuild.archive.index import Index, open_index
from minbuild.archive.mirror import Mirror, build_mirror, find_mirror, resolve_repository_urls
from minbuild.archive.model import LockedSuite, Package
from minbuild.archive.packages_file import PackagesFile
from minbuild.archive.suite import SuiteNotFound, identify_signer
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError, UsageError
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import extract_from_packages, is_analysed, load_facts
from minbuild.facts.shared_facts import fetch_shared_facts, share_facts
from minbuild.file_io import hash_file
from minbuild.formats.deb import open_deb
from minbuild.manifest.model import TOOL_ARCHIVE_NAME, Archive, Manifest
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch

_STANZA_FIELDS = (
    "Package",
    "Version",
    "Architecture",
    "Source",
    "Depends",
    "Pre-Depends",
    "Provides",
)


def with_archives(request: BuildRequest, manifest: Manifest) -> BuildRequest:
    """The request, with the archives of its manifest, Debian's own first.

    Raises: UsageError for `--mirror` beside a snapshot.
    """
    if manifest.archive.snapshot and request.mirror:
        raise UsageError(
            "the manifest takes Debian's packages from a snapshot, and from nowhere else",
            where=hide_credentials(manifest.archive.snapshot),
            fix="leave --mirror out, or remove `snapshot:` from the manifest",
        )
    archives = (manifest.archive, *manifest.archives)
    return replace(request, archives=archives, chooses_tools=manifest.trusted)


def locate_mirror(request: BuildRequest, arch: str = "") -> Mirror:
    """Where the archives of a request lie; a snapshot is the only tree of Debian's that is asked.

    `arch` is that of the packages; "" for this machine's.
    Raises: ArchiveError.
    """
    main, *others = request.archives or (Archive(),)
    repositories = {
        one.name: _locate_repositories(one, arch, offline=request.offline)
        for one in others
        if one.mirror or one.directory
    }
    if main.has_own_tool_suites:
        repositories |= _locate_tool_repositories(main, arch, offline=request.offline)
    if main.snapshot:
        return build_mirror([main.snapshot], "snapshot", repositories)
    mirror = find_mirror(request.mirror or main.mirror, arch=arch, offline=request.offline)
    return replace(mirror, repositories=repositories)


def open_archives(request: BuildRequest, manifest: Manifest, arch: str, session: Session) -> Index:
    """Open every archive of a manifest for one architecture.

    Raises: ArchiveError, also for a pin that nothing meets.
    """
    archives = (manifest.archive, *manifest.archives)
    index = replace(open_all_archives(request, archives, arch, session), pins=manifest.pins)
    for pin in manifest.pins:
        index.find_package(pin.package)
    return index


def open_all_archives(
    request: BuildRequest, archives: Sequence[Archive], arch: str, session: Session
) -> Index:
    """Open several archives for one architecture. Raises: ArchiveError."""
    mirror = locate_mirror(request, arch)
    suites: list[LockedSuite] = []
    parts: list[PackagesFile] = []
    for archive in archives:
        if archive.directory:
            state, part = _index_directory(archive, arch, session.store)
            suites.append(state)
            parts.append(part)
            continue
        index = open_index(
            archive,
            arch,
            mirror,
            session.store,
            offline=request.offline,
            progress=session.progress,
            allow_downgrade=request.allow_downgrade,
        )
        suites += index.suites
        parts += index.packages_files
    return Index(tuple(suites), tuple(parts))


def _locate_tool_repositories(
    main: Archive, arch: str, *, offline: bool
) -> dict[str, tuple[str, ...]]:
    """Where an archive of tools alone lies; {} when this machine knows no mirror of its own."""
    tools_archive = main.tools_archive
    if tools_archive is not None and tools_archive.mirror != (TOOL_ARCHIVE_NAME,):
        where = "archive: tools"
        return {
            TOOL_ARCHIVE_NAME: resolve_repository_urls(
                tools_archive.mirror, where, arch=arch, offline=offline
            )
        }
    try:
        mirror = find_mirror((), arch=arch, offline=offline)
    except ArchiveError:
        return {}
    return {
        TOOL_ARCHIVE_NAME: (
            mirror.debian,
            mirror.security,
            *mirror.debian_alternates,
            *mirror.security_alternates,
        )
    }


def _locate_repositories(archive: Archive, arch: str, *, offline: bool) -> tuple[str, ...]:
    if archive.directory:
        return (Path(archive.directory).absolute().as_uri(),)
    return resolve_repository_urls(
        archive.mirror, f"archives: {archive.name}", arch=arch, offline=offline
    )


def _index_directory(archive: Archive, arch: str, store: Store) -> tuple[LockedSuite, PackagesFile]:
    """Read the .debs of a directory as an archive.

    Raises: ArchiveError for a package that cannot be read, or when there is none.
    """
    texts = [text for path in _list_debs(archive) if (text := _render_stanza(path, arch))]
    packages = "\n".join(texts).encode()
    digest = store.add(packages)
    part = PackagesFile(
        suite=archive.name,
        repository=archive.name,
        path="Packages",
        sha256=digest,
        size=len(packages),
        unpacked_size=len(packages),
        by_hash=False,
        store=store,
        priority=archive.priority,
        signer=identify_signer(archive),
    )
    if not part.is_cached:
        part.build_index()
    return LockedSuite(archive.name, archive.name, 0, digest), part


def _list_debs(archive: Archive) -> Sequence[Path]:
    paths = sorted(Path(archive.directory).glob("*.deb"))
    if not paths:
        raise ArchiveError(
            f"the directory of the archive {archive.name} holds no .deb",
            where=archive.directory,
            fix="put packages there, or remove the archive from the manifest",
        )
    return paths


def _render_stanza(path: Path, arch: str) -> str:
    """What an index would say of a .deb; "" for one of another architecture."""
    with open_deb(path, str(path)) as deb:
        fields = deb.read_control()
    if fields.get("architecture") not in {arch, "all"}:
        return ""
    rows = {name: fields[name.lower()] for name in _STANZA_FIELDS if fields.get(name.lower())}
    rows |= {"Filename": path.name, "Size": str(path.stat().st_size), "SHA256": hash_file(path)}
    return "".join(f"{name}: {value}\n" for name, value in rows.items())


def load_package_files(
    request: BuildRequest, packages: Sequence[Package], session: Session
) -> tuple[PackageFiles, ...]:
    """What locked packages offer; only those the store knows nothing of are fetched."""
    unread = [package for package in packages if package.sha256 not in session.package_files]
    uncached = [package for package in unread if not is_analysed(package, session.store)]
    if uncached:
        needed = fetch_shared_facts(uncached, session.store, session.progress)
        ensure_downloaded(request, needed, session)
    files = load_facts(unread, session.store, session.progress)
    share_facts(uncached, session.store, session.progress)
    session.package_files.update(zip((package.sha256 for package in unread), files, strict=True))
    return tuple(session.package_files[package.sha256] for package in packages)


def ensure_downloaded(request: BuildRequest, packages: Sequence[Package], session: Session) -> None:
    """Fetch locked packages into the store; those that are damaged there, too."""
    absent = [
        package for package in packages if session.store.find_verified(package.sha256) is None
    ]
    if absent:
        mirror = locate_mirror(request, next((one.arch for one in absent if one.arch != "all"), ""))
        fetch_packages(
            absent, mirror, session.store, offline=request.offline, progress=session.progress
        )


def extract_to_cache(
    request: BuildRequest, session: Session, package: Package, digests: Collection[str]
) -> None:
    """Put contents of one package into the store."""
    ensure_downloaded(request, [package], session)
    extract_from_packages({package: digests}, session.store, session.progress)


def derive_tools_manifest(manifest: Manifest) -> Manifest:
    """The manifest as the toolbox sees it: with the archives that tools come from.

    One that may not choose what runs on this machine gives it no further archives, and no pins.
    """
    main, others = manifest.archive, manifest.archives
    archives = list_tool_archives(main, others, trusted=manifest.trusted)
    pins = manifest.pins if archives[1:] == others and main.tools_archive is None else ()
    return replace(manifest, archive=archives[0], archives=archives[1:], pins=pins)


def list_tool_archives(
    main: Archive, others: Sequence[Archive], *, trusted: bool
) -> tuple[Archive, ...]:
    """The archives that tools come from, where `main` and `others` are the host's.

    What is waived for the host's suites is not waived for others.
    """
    if main.tools_archive is not None:
        return (main.tools_archive,)
    further_archives = tuple(others) if trusted else ()
    if not main.has_own_tool_suites:
        return (main, *further_archives)
    check = main.check_valid_until or not has_only_host_suites(main)
    return (replace(main, suites=main.tools, check_valid_until=check), *further_archives)


def has_only_host_suites(archive: Archive) -> bool:
    """Whether the toolbox comes from suites that the host comes from, too."""
    return set(archive.tools) <= set(archive.suites)


def open_tool_index(
    request: BuildRequest, main: Archive, archives: Sequence[Archive], session: Session
) -> Index:
    """Open the archives that tools come from; `main` is the host's.

    Suites that the host's archive has not are Debian's, from this machine's own mirror and by
    Debian's keys: the host may be of another distribution, or of an archive of one's own.
    Raises: ArchiveError.
    """
    try:
        return open_all_archives(request, archives, detect_machine_arch(), session)
    except SuiteNotFound:
        if main.tools_archive is not None or not main.has_own_tool_suites:
            raise
        debian = Archive(suites=main.tools, name=TOOL_ARCHIVE_NAME, mirror=(TOOL_ARCHIVE_NAME,))
        return open_all_archives(request, (debian,), detect_machine_arch(), session)
