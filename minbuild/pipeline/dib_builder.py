"""The builder machine, built by minbuild itself: where dib runs when this machine does not let it."""

from dataclasses import replace
from pathlib import Path

from minbuild.data import data_directory
from minbuild.dib import python_bundle
from minbuild.dib.builder_vm import BuilderVm
from minbuild.image import initramfs_segments
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.model import Manifest
from minbuild.pipeline.assembly import assemble_rootfs
from minbuild.pipeline.host_resolution import resolve_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_creation import load_or_create_lock
from minbuild.pipeline.package_sources import with_archives
from minbuild.pipeline.rootfs_checks import verify_rootfs
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.tool_lock import find_tools
from minbuild.pipeline.tool_setup import open_toolbox, open_tools

BUILDER_MANIFEST = "builder.yaml"


def open_builder_vm(
    request: BuildRequest, host: Manifest, work: Path, session: Session
) -> BuilderVm:
    """Build the builder and lay it down in `work`; what has not changed comes from the store.

    Its lock, builder.lock, is beside that of `host`.
    Raises: ArchiveError, ResolveError, ToolError, as any build.
    """
    lock_path = locate_lock(request, host).with_name("builder.lock")
    builder_request = replace(
        request, manifest=data_directory("manifests") / BUILDER_MANIFEST, settings={}, cell="", components=(),
        lock=lock_path, root=None, compression=None, archives=(), output=work / "builder",
    )  # fmt: skip
    session.progress.step("building the builder machine")
    manifest = load_manifest(builder_request, session)
    builder_request = with_archives(builder_request, manifest)
    lock = load_or_create_lock(builder_request, manifest, session)
    resolved = resolve_host(builder_request, manifest, lock, session)
    tree = assemble_rootfs(builder_request, resolved, session)
    verify_rootfs(resolved, tree, session)

    toolbox = open_toolbox(builder_request, resolved.lock, session, image=manifest.image)
    segments = initramfs_segments.pack_initramfs(
        tree, session.store, toolbox, manifest.image.compression, arch=manifest.arch, progress=session.progress
    )  # fmt: skip
    initrd, kernel = work / "builder.initrd", work / "builder.vmlinuz"
    initramfs_segments.concatenate_segments(segments, session.store, initrd)
    (kernel_node,) = (node for node in tree.nodes if node.path == tree.kernel_image)
    kernel.write_bytes(session.store.require(kernel_node.sha256))
    python = open_tools(builder_request, resolved.lock, session, find_tools("python"))
    return BuilderVm(
        kernel=kernel,
        initrd=initrd,
        python=python_bundle.bundle_python(
            tree.nodes, session.store.require, python, session.store
        ),
        tools=open_toolbox(
            builder_request, resolved.lock, session, image=ImageSettings(), lab=True
        ),
    )
