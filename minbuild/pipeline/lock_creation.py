"""Lock of a manifest: the one beside it, or a new one from the newest packages of its archives."""

from collections.abc import Sequence
from dataclasses import replace

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, Package
from minbuild.errors import UsageError
from minbuild.facts.rendered import collect_rendered_files
from minbuild.manifest.model import Archive, Manifest
from minbuild.pipeline.lock_policy import check_source_packages, record_used_lock
from minbuild.pipeline.named_paths import PathFollower, check_path_rules
from minbuild.pipeline.package_selection import PackageSource, select_packages
from minbuild.pipeline.package_sources import derive_tools_manifest, open_archives
from minbuild.pipeline.provider_search import ProviderSearch
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.shell_check import drop_used_waivers, make_content_reader
from minbuild.pipeline.tool_lock import (
    open_package_source,
    open_tool_source,
    select_tool_packages,
    select_tools,
)
from minbuild.resolve import error_messages
from minbuild.resolve.policy import make_policy
from minbuild.resolve.root_selection import list_roots


def load_or_create_lock(request: BuildRequest, manifest: Manifest, session: Session) -> Lock | None:
    """Read the lock of a manifest, or write one; None for an installed root, which has none.

    Raises: UsageError for `--locked` without a lock; ArchiveError; ResolveError.
    """
    if manifest.archive.root:
        return None
    lock_path = locate_lock(request, manifest)
    if lock_path.exists():
        return lockfile.read_lock(lock_path)
    if request.locked:
        raise UsageError(
            "there is no lock, and --locked asks for one",
            where=str(lock_path),
            fix=f"write it first: minbuild lock {request.manifest_argument}",
        )
    lock = create_lock(request, manifest, session).lock
    lockfile.write_lock(lock_path, lock)
    record_used_lock(lockfile.render_lock(lock).encode(), session.store)
    session.progress.note(f"wrote {lock_path}: {len(lock.packages)} packages for the host, "
                        f"{len(lock.toolbox)} for the toolbox")  # fmt: skip
    return lock


def load_or_select_lock(request: BuildRequest, manifest: Manifest, session: Session) -> Lock:
    """Read the lock of a manifest, or make one of the newest packages; nothing is written.

    A lock that is made here pins no toolbox; that of an installed root pins nothing.
    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    if manifest.archive.root:
        return Lock(manifest.arch, (), (), ())
    lock_path = locate_lock(request, manifest)
    if lock_path.exists():
        return lockfile.read_lock(lock_path)
    return _resolve_newest(request, manifest, session, ())[0].lock


def create_lock(
    request: BuildRequest, manifest: Manifest, session: Session, pins: Sequence[Package] = ()
) -> ResolvedHost:
    """Choose packages for the host and the toolbox; `pins` stay as they are.

    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    tool_suites = set(manifest.archive.tools) - set(manifest.archive.suites)
    host_pins = [package for package in pins if package.suite not in tool_suites]
    resolved, host_source = _resolve_newest(request, manifest, session, host_pins)
    requested_tools = select_tools(manifest.image, lab=True)
    tool_source = open_tool_source(request, manifest, host_source, session, pins)
    tool_selection = select_tool_packages(requested_tools, tool_source)
    tool_manifest = derive_tools_manifest(manifest)
    archives = (tool_manifest.archive, *tool_manifest.archives, Archive())
    check_source_packages(request, tool_selection.packages, archives, tool_source)
    return replace(resolved, lock=replace(resolved.lock, toolbox=tool_selection.packages))


def _resolve_newest(
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
