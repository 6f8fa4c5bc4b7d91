"""The builder machine, built by minbuild itself: where dib runs when this machine does not let it."""

from dataclasses import replace
from pathlib import Path

from minbuild.data import data_directory
from minbuild.dib import python_bundle
from minbuild.dib.builder_vm import BuilderVm
from minbuild.image import initramfs_segments
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.model import Manifest
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.tool_lock import find_tools
from minbuild.pipeline.tool_setup import open_toolbox, open_tools

BUILDER_MANIFEST = "builder.yaml"


def open_builder_vm(
    request: BuildRequest, manifest: Manifest, work: Path, session: Session
) -> BuilderVm:
    """Build the builder and lay it down in `work`; what has not changed comes from the store.

    Its lock, builder.lock, lies beside that of `manifest`.
    Raises: ArchiveError, ResolveError, ToolError, as any build.
    """
    from minbuild.pipeline.build import BuildResult, prepare_build

    lock_path = locate_lock(request, manifest).with_name("builder.lock")
    builder_request = replace(
        request, manifest=data_directory("manifests") / BUILDER_MANIFEST, settings={}, cell="", components=(),
        lock=lock_path, root=None, compression=None, archives=(), output=work / "builder",
    )  # fmt: skip
    session.progress.step("building the builder machine")
    prepared = prepare_build(builder_request, session)
    assert not isinstance(prepared, BuildResult)  # nothing was ever built there
    builder_manifest = prepared.resolved.manifest
    packed_segments = initramfs_segments.pack_initramfs(prepared.tree, session.store, prepared.toolbox, builder_manifest.image.compression,
                           arch=builder_manifest.arch, progress=session.progress)  # fmt: skip
    initrd, kernel = work / "builder.initrd", work / "builder.vmlinuz"
    initramfs_segments.concatenate_segments(packed_segments, session.store, initrd)
    (kernel_node,) = (
        node for node in prepared.tree.nodes if node.path == prepared.tree.kernel_image
    )
    kernel.write_bytes(session.store.require(kernel_node.sha256))
    tools = open_tools(builder_request, prepared.resolved.lock, session, find_tools("python"))
    return BuilderVm(
        kernel=kernel,
        initrd=initrd,
        python=python_bundle.bundle_python(
            prepared.tree.nodes, session.store.require, tools, session.store
        ),
        tools=open_toolbox(
            builder_request, prepared.resolved.lock, session, image=ImageSettings(), lab=True
        ),
    )
