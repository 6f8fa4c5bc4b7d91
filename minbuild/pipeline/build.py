"""The life of a build: the same steps in the same order for every command that builds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import UsageError
from minbuild.footprint.model import Footprint
from minbuild.manifest.image_settings import ImageFormat
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest
from minbuild.manifest.templates import use_render_cache
from minbuild.pipeline import up_to_date
from minbuild.pipeline.session import BuildRequest, Session, locate_lock, retry_on_corruption

# What follows is imported by each step: a build without a change needs none of it.
if TYPE_CHECKING:
    from minbuild.archive.model import Package
    from minbuild.pipeline import lock_update
    from minbuild.pipeline.resolved_host import ResolvedHost
    from minbuild.rootfs.model import RootfsTree
    from minbuild.toolbox.toolbox import Toolbox

    Resolver = Callable[[BuildRequest, Manifest, Session], ResolvedHost]


@dataclass(frozen=True, slots=True)
class Plan:
    """A manifest that was resolved and not built."""

    resolved: "ResolvedHost"
    tree: "RootfsTree"
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A manifest that was resolved and proved, with the tools that will write its images."""

    request: BuildRequest
    inputs_digest: str
    """The manifest as it was read, as a digest: what packages declare is not yet in it."""
    resolved: "ResolvedHost"
    tree: "RootfsTree"
    toolbox: "Toolbox"
    directory: Path
    lock_path: Path


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A manifest whose images stand in a directory."""

    manifest: Manifest
    directory: Path
    footprint: Footprint
    rebuilt: bool
    """False: nothing had changed, and the images of the last build stand."""


def build_host(request: BuildRequest, session: Session) -> BuildResult:
    """Build every image of a manifest, unless those of the last build still hold."""
    return retry_on_corruption(lambda: _build_once(request, session), session)


def _build_once(request: BuildRequest, session: Session) -> BuildResult:
    try:
        prepared = prepare_build(request, session)
        return prepared if isinstance(prepared, BuildResult) else finish_build(prepared, session)
    finally:
        session.stop_preloaded_tools()


def prepare_build(request: BuildRequest, session: Session) -> PreparedBuild | BuildResult:
    """Take a build to where only its images are to be written; `Built` when nothing had changed."""
    manifest = load_manifest(request, session)
    directory = request.output or (request.output_root or Path("build")) / manifest.name
    lock_path = locate_lock(request, manifest)
    inputs_digest = up_to_date.digest_inputs(manifest)
    last_footprint = up_to_date.find_current_footprint(
        session.store, directory, up_to_date.digest_build(inputs_digest, lock_path)
    )
    if last_footprint is not None and not manifest.archive.root and not manifest.elements:
        return BuildResult(manifest, directory, last_footprint, rebuilt=False)

    from minbuild.pipeline.package_sources import with_archives
    from minbuild.pipeline.tool_setup import open_toolbox, preload_ukify

    request = with_archives(request, manifest)
    preload_ukify(request, lock_path, manifest, session)
    resolved, tree = _resolve_and_assemble(_resolve_for_images, request, manifest, session)
    toolbox = open_toolbox(request, resolved.lock, session, image=manifest.image)
    return PreparedBuild(request, inputs_digest, resolved, tree, toolbox, directory, lock_path)


def finish_build(prepared: PreparedBuild, session: Session) -> BuildResult:
    """Write the images of a prepared build."""
    from minbuild.pipeline.host_outputs import write_host_outputs
    from minbuild.pipeline.rootfs_checks import explain_missing_init

    for text in explain_missing_init(prepared.tree, prepared.resolved.manifest):
        session.progress.note(text)
    footprint, outputs = write_host_outputs(
        prepared.request,
        prepared.resolved,
        prepared.tree,
        prepared.toolbox,
        prepared.directory,
        session,
    )
    up_to_date.record_outputs(
        session.store,
        prepared.directory,
        up_to_date.digest_build(prepared.inputs_digest, prepared.lock_path),
        outputs,
    )
    return BuildResult(prepared.resolved.manifest, prepared.directory, footprint, rebuilt=True)


def _resolve_and_assemble(
    resolver: "Resolver", request: BuildRequest, manifest: Manifest, session: Session
) -> "tuple[ResolvedHost, RootfsTree]":
    """A manifest's ground and its tree, proved closed; elements see the tree without them."""
    from minbuild.pipeline.measurement import find_kernel_config
    from minbuild.pipeline.rootfs_checks import (
        check_cmdline,
        find_unknown_accounts,
        verify_closed_world,
    )

    resolved = _resolve_with_accounts(resolver, request, manifest, session)
    tree = assemble_rootfs(request, resolved, session)
    if manifest.elements:
        from minbuild.pipeline.dib_bridge import apply_elements

        resolved = _resolve_with_accounts(
            resolver, request, apply_elements(manifest, tree, session), session
        )
        tree = assemble_rootfs(request, resolved, session)
    verify_closed_world(resolved, tree, session)
    for text in find_unknown_accounts(tree, session.store):
        session.progress.note(text)
    check_cmdline(resolved.manifest, find_kernel_config(resolved, tree.kernel_release) or {})
    return resolved, tree


def _resolve_with_accounts(
    resolver: "Resolver", request: BuildRequest, manifest: Manifest, session: Session
) -> "ResolvedHost":
    """A ground with the users and directories that its packages declare."""
    from minbuild.pipeline.accounts import with_declared_accounts

    resolved = resolver(request, manifest, session)
    if resolved.manifest.archive.root:  # an installed root has them
        return resolved
    extended_manifest = with_declared_accounts(resolved.manifest, resolved.closure, resolved.files)
    return (
        resolved
        if extended_manifest is resolved.manifest
        else resolver(request, extended_manifest, session)
    )


def _resolve_for_images(
    request: BuildRequest, manifest: Manifest, session: Session
) -> "ResolvedHost":
    if manifest.archive.root:
        from minbuild.pipeline.installed_root import resolve_root

        return resolve_root(request, manifest, session, tools=True)
    from minbuild.pipeline.resolved_host import resolve_host

    return resolve_host(request, manifest, session)


def plan_build(request: BuildRequest, session: Session) -> Plan:
    """Resolve a manifest and measure what would be packed; nothing is written but the store."""
    return retry_on_corruption(lambda: _plan_once(request, session), session)


def _resolve_read_only(
    request: BuildRequest, manifest: Manifest, session: Session
) -> "ResolvedHost":
    if manifest.archive.root:
        from minbuild.pipeline.installed_root import resolve_root

        return resolve_root(request, manifest, session, tools=False)
    from minbuild.pipeline.resolved_host import resolve_read_only

    return resolve_read_only(request, manifest, session)


def _plan_once(request: BuildRequest, session: Session) -> Plan:
    from minbuild.footprint.measure import measure_image
    from minbuild.pipeline.measurement import analyse_surface, estimate_initramfs, weigh_contents
    from minbuild.pipeline.package_sources import with_archives
    from minbuild.pipeline.rootfs_checks import build_cmdline

    manifest = load_manifest(request, session)
    request = with_archives(request, manifest)
    resolved, tree = _resolve_and_assemble(_resolve_read_only, request, manifest, session)
    weights = weigh_contents(tree, session.store)
    footprint = measure_image(
        resolved.manifest,
        tree,
        resolved.lock.packages,
        initramfs=estimate_initramfs(tree, weights),
        packed={},
        weights=weights,
        surface=analyse_surface(resolved, tree, build_cmdline(resolved.manifest), session.store),
    )
    return Plan(resolved, tree, footprint)


def propose_lock(
    request: BuildRequest, session: Session, *, update: bool, only: Sequence[str] = ()
) -> "lock_update.LockProposal":
    """Make the lock that a manifest would get now; `accept` writes it."""
    from minbuild.pipeline import lock_update
    from minbuild.pipeline.package_sources import with_archives

    manifest = load_manifest(request, session)
    full_request = with_archives(request, manifest)
    return retry_on_corruption(
        lambda: lock_update.make_proposal(
            full_request, manifest, session, update=update, only=only
        ),
        session,
    )


def accept_proposal(proposal: "lock_update.LockProposal") -> None:
    """Write a proposed lock."""
    from minbuild.pipeline import lock_update

    lock_update.write_proposal(proposal)


def find_outdated(
    request: BuildRequest, session: Session
) -> "tuple[lock_update.OutdatedPackage, ...]":
    """What the archive has newer than the lock of a manifest."""
    from minbuild.pipeline import lock_update
    from minbuild.pipeline.package_sources import with_archives

    manifest = load_manifest(request, session)
    full_request = with_archives(request, manifest)
    return retry_on_corruption(
        lambda: lock_update.list_outdated(full_request, manifest, session), session
    )


def fetch_host_packages(request: BuildRequest, session: Session) -> "tuple[Package, ...]":
    """Bring every package of a manifest's lock into the store."""
    from minbuild.pipeline import lock_update
    from minbuild.pipeline.package_sources import with_archives

    manifest = load_manifest(request, session)
    return lock_update.fetch_locked(with_archives(request, manifest), manifest, session)


def load_manifest(request: BuildRequest, session: Session | None = None) -> Manifest:
    """Load the manifest of a request; with `doors`, what was rendered is kept in their store.

    Raises: ManifestError with every problem of it.
    """
    if session is not None:
        from minbuild.pipeline.manifest_checks import check_scripts

        with use_render_cache(session.store, up_to_date.digest_source_code()):
            manifest = load_manifest(request)
            check_scripts(manifest, session.store)
            return manifest
    manifest = read_manifest(
        request.manifest,
        settings=request.settings,
        components=request.components,
        variant=request.cell,
        trust=request.trust,
    )
    if request.root is not None:
        archive = replace(manifest.archive, root=str(request.root), suites=("installed root",))
        manifest = replace(manifest, archive=archive)
    elif manifest.archive.requires_root_option:
        raise UsageError(
            "the manifest takes its files from a root, and none is given",
            where=str(request.manifest),
            fix="give it: --root PATH (a directory, a tar, a container image or a disk image)",
        )
    if manifest.drop:
        from minbuild.pipeline.manifest_checks import drop_overridden_waivers

        manifest = drop_overridden_waivers(manifest)
    default_compression = manifest.image.compression
    if request.compression in {None, default_compression}:
        return manifest
    image = replace(
        manifest.image, compression=request.compression, overridden_compression=default_compression
    )
    return replace(manifest, image=image)


def assemble_rootfs(
    request: BuildRequest, resolved: "ResolvedHost", session: Session
) -> "RootfsTree":
    """Bring the contents of a closure into the store and make its tree."""
    from minbuild.pipeline.named_paths import with_named_paths
    from minbuild.pipeline.resolved_host import extract_chosen_files
    from minbuild.pipeline.shell_check import with_script_warnings
    from minbuild.rootfs.assemble import make_rootfs

    extract_chosen_files(request, resolved.lock.packages, resolved.closure.files.values(), session)
    tree = make_rootfs(resolved.manifest, resolved.closure, resolved.files, session.store)
    tree = with_named_paths(tree, resolved.files, session.store)
    if tree.decompressed_modules:
        from minbuild.rootfs.assemble import DECOMPRESS_REASON

        session.progress.note(
            f"modules unpacked: {len(tree.decompressed_modules)}, since {DECOMPRESS_REASON}"
        )
    _report_lost_capabilities(tree, resolved.manifest, session)
    _report_missing_drivers(resolved, session)
    tree = with_script_warnings(tree, resolved.manifest, session.store)
    if tree.script_warnings:
        from minbuild.explain.providers import find_command_packages

        lock = resolved.lock
        owners = find_command_packages(tree.script_warnings, lock.suites, lock.arch, session.store)
        for name, packages in owners.items():
            session.progress.note(f"the command {name} is in the package {packages}")
    return tree


def _report_missing_drivers(resolved: "ResolvedHost", session: Session) -> None:
    names = [name for part in resolved.manifest.components for name in part.hardware]
    if names:
        from minbuild.pipeline.modaliases import explain_missing_drivers

        for text in explain_missing_drivers(
            names, resolved.closure.skipped_softdeps, resolved.closure.kernel_release
        ):
            session.progress.note(text)


def _report_lost_capabilities(tree: "RootfsTree", manifest: Manifest, session: Session) -> None:
    """Name the files whose capabilities an initramfs cannot hold. Source: cpio's newc has no place."""
    paths = [str(node.path) for node in tree.nodes if node.capability]
    formats = [str(one) for one in manifest.image.formats if one is not ImageFormat.TAR]
    if paths and formats:
        session.progress.note(
            f"{', '.join(formats)}: an initramfs cannot hold file capabilities, and these have "
            f"some: {', '.join(paths)}"
        )
