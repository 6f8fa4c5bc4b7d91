"""What a build stands on: the lock, the packages' facts, and the closure of the manifest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, Package
from minbuild.errors import ArchiveError, ResolveError, UsageError
from minbuild.facts.extract import extract_from_packages
from minbuild.facts.model import PackageFiles
from minbuild.facts.rendered import collect_rendered_files
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Archive, Manifest
from minbuild.pipeline import lock_policy
from minbuild.pipeline.lock_policy import (
    check_host_packages,
    check_lock,
    check_source_packages,
)
from minbuild.pipeline.maintainer_scripts import with_generated_files
from minbuild.pipeline.named_paths import PathFollower, check_path_rules, resolve_with_named_paths
from minbuild.pipeline.package_selection import PackageSource, select_packages
from minbuild.pipeline.package_sources import (
    derive_tools_manifest,
    ensure_downloaded,
    extract_to_cache,
    load_package_files,
    locate_mirror,
    open_archives,
)
from minbuild.pipeline.provider_search import ProviderSearch
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.shell_check import drop_used_waivers, make_content_reader
from minbuild.pipeline.tool_lock import (
    open_package_source,
    open_tool_source,
    select_tool_packages,
    select_tools,
)
from minbuild.resolve import error_messages
from minbuild.resolve.model import Closure, SelectedFile
from minbuild.resolve.policy import make_policy
from minbuild.resolve.resolution import resolve
from minbuild.resolve.root_selection import list_roots


def extract_chosen_files(
    request: BuildRequest,
    packages: Sequence[Package],
    files: Iterable[SelectedFile],
    session: Session,
) -> None:
    """Put the content of every chosen file into the store, from its package.

    Raises: ArchiveError when a package cannot be had or is damaged.
    """
    by_name = {package.name: package for package in packages}
    digests_by_package: dict[str, set[str]] = {}
    for file in files:
        entry = file.entry
        if (
            file.package
            and entry.kind is FileType.FILE
            and session.store.path(entry.sha256) is None
        ):
            digests_by_package.setdefault(file.package, set()).add(entry.sha256)
    if not digests_by_package:
        return
    by_package: Mapping[Package, frozenset[str]] = {
        by_name[name]: frozenset(digests) for name, digests in sorted(digests_by_package.items())
    }
    ensure_downloaded(request, list(by_package), session)
    extract_from_packages(by_package, session.store, session.progress)


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    manifest: Manifest
    lock: Lock
    files: tuple[PackageFiles, ...]
    """Rendered files first, then the lock's packages."""
    closure: Closure


def resolve_host(request: BuildRequest, manifest: Manifest, session: Session) -> ResolvedHost:
    """Use the lock that is there, or write one, and resolve the manifest.

    Raises: UsageError for `--locked` without a lock; ArchiveError; ResolveError.
    """
    lock_path = locate_lock(request, manifest)
    if lock_path.exists():
        lock = lockfile.read_lock(lock_path)
        return resolve_locked(request, manifest, lock, lock_path, session)
    if request.locked:
        raise UsageError(
            "there is no lock, and --locked asks for one",
            where=str(lock_path),
            fix=f"write it first: minbuild lock {request.manifest_argument}",
        )
    resolved = create_lock(request, manifest, session)
    lockfile.write_lock(lock_path, resolved.lock)
    lock_policy.record_used_lock(lockfile.render_lock(resolved.lock).encode(), session.store)
    session.progress.note(f"wrote {lock_path}: {len(resolved.lock.packages)} packages for the host, "
                        f"{len(resolved.lock.toolbox)} for the toolbox")  # fmt: skip
    return resolved


def resolve_locked(
    request: BuildRequest, manifest: Manifest, lock: Lock, lock_path: Path, session: Session
) -> ResolvedHost:
    """Resolve a manifest with the packages of a lock, and no others.

    Raises: ResolveError when the lock does not meet every need.
    """
    check_lock(request, manifest, lock, lock_path)
    check_host_packages(request, manifest, lock.packages, session, where=str(lock_path))
    manifest_files = collect_rendered_files(
        (file for one in manifest.components for file in one.files), session.store
    )
    policy = make_policy(manifest)
    package_files = load_package_files(request, lock.packages, session)
    extract = partial(extract_to_cache, request, session)
    files = (
        manifest_files,
        *with_generated_files(package_files, lock.packages, policy.rules, session.store, extract),
    )
    read_content = make_content_reader(lock.packages, session.store, extract)
    closure = resolve_with_named_paths(manifest, session.store, read_content, lambda strings: resolve(
        list_roots(manifest),
        files,
        arch=manifest.arch,
        policy=policy,
        strings=strings,
    ))  # fmt: skip
    closure = drop_used_waivers(closure, files, manifest.allow_missing, read_content, session.store)
    if closure.unmet_needs or closure.unused_waivers:
        error = error_messages.make_unresolved_error(closure, files)
        if closure.unmet_needs:
            error = _add_providers(error, closure, request, manifest, session)
        raise _hint_stale_lock(error, len(closure.unused_waivers), request, lock_path)
    return ResolvedHost(manifest, lock, files, closure)


def create_lock(
    request: BuildRequest, manifest: Manifest, session: Session, pins: Sequence[Package] = ()
) -> ResolvedHost:
    """Choose packages for the host and the toolbox; `pins` stay as they are.

    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    tool_suites = set(manifest.archive.tools) - set(manifest.archive.suites)
    host_pins = [package for package in pins if package.suite not in tool_suites]
    resolved, host_source = _resolve_from_archive(request, manifest, session, host_pins)
    requested_tools = select_tools(manifest.image, lab=True)
    tool_source = open_tool_source(request, manifest, host_source, session, pins)
    tool_selection = select_tool_packages(requested_tools, tool_source)
    tool_manifest = derive_tools_manifest(manifest)
    archives = (tool_manifest.archive, *tool_manifest.archives, Archive())
    check_source_packages(request, tool_selection.packages, archives, tool_source)
    return replace(resolved, lock=replace(resolved.lock, toolbox=tool_selection.packages))


def resolve_read_only(request: BuildRequest, manifest: Manifest, session: Session) -> ResolvedHost:
    """Resolve with the lock that is there, or else with the newest packages; nothing is written.

    Without a lock, the ground's lock pins no toolbox.
    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    lock_path = locate_lock(request, manifest)
    if lock_path.exists():
        return resolve_locked(request, manifest, lockfile.read_lock(lock_path), lock_path, session)
    return _resolve_from_archive(request, manifest, session, ())[0]


def _resolve_from_archive(
    request: BuildRequest, manifest: Manifest, session: Session, pins: Sequence[Package]
) -> tuple[ResolvedHost, PackageSource]:
    index = open_archives(request, manifest, manifest.arch, session)
    source = open_package_source(request, manifest, index, session, pins)
    providers = ProviderSearch(manifest, index, source.mirror, session, request.offline)
    source = replace(source, find_providers=providers.find_packages)
    manifest_files = collect_rendered_files(
        (file for one in manifest.components for file in one.files), session.store
    )
    selection = select_packages(
        list_roots(manifest),
        source,
        arch=manifest.arch,
        manifest_files=[manifest_files],
        policy=make_policy(manifest),
        follower=PathFollower(manifest.paths, session.store) if manifest.paths else None,
    )
    check_path_rules(selection.closure, manifest)
    files = (manifest_files, *selection.files)
    read_content = make_content_reader(selection.packages, session.store, source.extract_to_cache)
    closure = drop_used_waivers(
        selection.closure, files, manifest.allow_missing, read_content, session.store
    )
    if closure.unmet_needs or closure.unused_waivers:
        raise providers.add_to_error(error_messages.make_unresolved_error(closure, files), closure)
    check_source_packages(
        request, selection.packages, (manifest.archive, *manifest.archives), source
    )
    lock = Lock(manifest.arch, source.index.suites, selection.packages, ())
    return ResolvedHost(manifest, lock, files, closure), source


def _add_providers(
    error: ResolveError,
    closure: Closure,
    request: BuildRequest,
    manifest: Manifest,
    session: Session,
) -> ResolveError:
    """Say of needs that a lock does not meet who has them, where the archive can be asked."""
    try:
        index = open_archives(request, manifest, manifest.arch, session)
        mirror = locate_mirror(request, manifest.arch)
    except ArchiveError as problem:
        error.fix += f" (which package has it was not looked up: {problem.what})"
        return error
    return ProviderSearch(manifest, index, mirror, session, request.offline).add_to_error(
        error, closure
    )


def _hint_stale_lock(
    error: ResolveError, unused_count: int, request: BuildRequest, lock_path: Path
) -> ResolveError:
    """Say first of each need that the lock may be too old for the manifest.

    `idle`: how many of the errors, from the end, are waivers; the others are needs.
    """
    if not error.where:
        error.where = str(lock_path)
    variant_option = f" --variant {request.cell}" if request.cell else ""
    lock_command = f"minbuild lock {request.manifest_argument}{variant_option}"
    errors = (error, *error.also)
    for problem in errors[: len(errors) - unused_count]:
        problem.what = problem.what.replace(
            error_messages.NOT_OFFERED, f"is not in {lock_path.name}"
        )
        problem.fix = f"{lock_command}, if the manifest has changed since {lock_path.name} was written; else {problem.fix}"
    return error
