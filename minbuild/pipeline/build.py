"""Build of one host: load, lock, resolve, assemble, verify, write, measure, publish."""

from dataclasses import dataclass

from minbuild.archive import lockfile
from minbuild.cache.store import Store
from minbuild.footprint import document
from minbuild.footprint.measure import measure_image
from minbuild.footprint.model import Footprint
from minbuild.image.initramfs_segments import pack_initramfs
from minbuild.image.publish import open_outputs
from minbuild.image.write import ImageSpec, WrittenImages, write_images
from minbuild.kconfig import document as kernel_document
from minbuild.kernel.package import SOURCES_FILE
from minbuild.manifest.model import Manifest
from minbuild.pipeline import up_to_date
from minbuild.pipeline.attestation import collect_inputs
from minbuild.pipeline.dib import add_dib_images, apply_elements
from minbuild.pipeline.host_resolution import resolve_host
from minbuild.pipeline.image_spec import build_cmdline, build_xen_cmdline, make_image_spec
from minbuild.pipeline.kernel_build import read_compiled_sources
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_creation import load_or_create_lock, load_or_select_lock
from minbuild.pipeline.lock_policy import record_used_lock
from minbuild.pipeline.package_sources import with_archives
from minbuild.pipeline.resolved_host import (
    ResolvedHost,
    analyse_surface,
    assemble_rootfs,
    estimate_initramfs,
    weigh_contents,
)
from minbuild.pipeline.rootfs_checks import explain_missing_init, verify_rootfs
from minbuild.pipeline.session import (
    BuildRequest,
    CacheRecovery,
    Session,
    locate_lock,
    locate_output,
)
from minbuild.pipeline.tool_setup import open_toolbox, preload_ukify
from minbuild.pipeline.up_to_date import BuildResult
from minbuild.progress import Progress
from minbuild.rootfs.model import RootfsTree


@dataclass(frozen=True, slots=True)
class Plan:
    """A manifest that was resolved and not built."""

    resolved: ResolvedHost
    tree: RootfsTree
    footprint: Footprint


def build_host(request: BuildRequest, session: Session) -> BuildResult:
    """Build every image of a manifest, whether or not anything has changed.

    Raises: ManifestError; ArchiveError; ResolveError; ToolError.
    """
    recovery = CacheRecovery(session)
    while True:
        with recovery, session.stop_tools_at_end():
            manifest = load_manifest(request, session)
            inputs_digest = up_to_date.digest_inputs(manifest, session.store)
            request = with_archives(request, manifest)
            preload_ukify(request, manifest, session)

            lock = load_or_create_lock(request, manifest, session)
            resolved = resolve_host(request, manifest, lock, session, compiles=True)
            tree = assemble_rootfs(request, resolved, session)
            if manifest.elements:
                extended = apply_elements(manifest, tree, session)
                resolved = resolve_host(request, extended, lock, session, compiles=True)
                tree = assemble_rootfs(request, resolved, session)
            verify_rootfs(resolved, tree, session)

            manifest, lock_text = resolved.manifest, lockfile.render_lock(resolved.lock)
            record_used_lock(lock_text.encode(), session.store)
            toolbox = open_toolbox(request, resolved.lock, session, image=manifest.image)
            _announce(manifest, tree, session.progress)
            spec = make_image_spec(resolved, tree, lock_text)
            segments = pack_initramfs(
                tree, session.store, toolbox, spec.compression, arch=spec.arch, progress=session.progress
            )  # fmt: skip
            with open_outputs(locate_output(request, manifest)) as outputs:
                images = write_images(
                    spec, segments, outputs, session.store, toolbox, session.progress
                )
                footprint = _measure(request, resolved, spec, images, session.store)
                outputs.add("footprint.json", document.render_footprint(footprint))
                outputs.add(f"{manifest.name}.lock", lock_text)
                if resolved.kernel_options is not None:
                    text = kernel_document.render_options(resolved.kernel_options)
                    outputs.add(kernel_document.FILE_NAME, text)
                    release = tree.kernel_release
                    text = read_compiled_sources(resolved.files, release, session.store)
                    outputs.add(SOURCES_FILE, text)
                if manifest.image.dib:
                    add_dib_images(request, manifest, tree, outputs, session)
                paths = outputs.publish()
            build_digest = up_to_date.digest_build(inputs_digest, locate_lock(request, manifest))
            up_to_date.record_outputs(session.store, outputs.directory, build_digest, paths)
            return BuildResult(manifest, locate_output(request, manifest), rebuilt=True)


def _announce(manifest: Manifest, tree: RootfsTree, progress: Progress) -> None:
    """Say what a reader of the manifest may not expect, and that packing begins."""
    for text in (*manifest.notes, *explain_missing_init(tree, manifest)):
        progress.note(text)
    progress.step(f"packing {manifest.name}")


def _measure(
    request: BuildRequest,
    resolved: ResolvedHost,
    spec: ImageSpec,
    images: WrittenImages,
    store: Store,
) -> Footprint:
    tree = spec.tree
    return measure_image(
        resolved.manifest,
        tree,
        resolved.lock.packages,
        initramfs=images.initramfs_size,
        packed=images.image_sizes,
        weights=weigh_contents(tree, store),
        surface=analyse_surface(resolved, tree, spec.cmdline, spec.xen_cmdline, store),
        inputs=collect_inputs(request, resolved.manifest),
        options=resolved.kernel_options,
    )


def plan_build(request: BuildRequest, session: Session) -> Plan:
    """Resolve a manifest and measure what would be packed; nothing is written but the cache.

    Raises: ManifestError; ArchiveError; ResolveError.
    """
    recovery = CacheRecovery(session)
    while True:
        with recovery:
            manifest = load_manifest(request, session)
            request = with_archives(request, manifest)
            lock = load_or_select_lock(request, manifest, session)
            resolved = resolve_host(request, manifest, lock, session)
            tree = assemble_rootfs(request, resolved, session)
            if manifest.elements:
                extended = apply_elements(manifest, tree, session)
                resolved = resolve_host(request, extended, lock, session)
                tree = assemble_rootfs(request, resolved, session)
            verify_rootfs(resolved, tree, session)

            weights = weigh_contents(tree, session.store)
            cmdline = build_cmdline(resolved.manifest)
            xen_cmdline = build_xen_cmdline(resolved.manifest)
            footprint = measure_image(
                resolved.manifest,
                tree,
                resolved.lock.packages,
                initramfs=estimate_initramfs(tree, weights),
                packed={},
                weights=weights,
                surface=analyse_surface(resolved, tree, cmdline, xen_cmdline, session.store),
                options=resolved.kernel_options,
            )
            return Plan(resolved, tree, footprint)
