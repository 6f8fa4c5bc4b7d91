"""diskimage-builder's part in a build: elements of a manifest, images in its formats, and the
builder machine where it runs."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.data import data_directory
from minbuild.dib import elements as known
from minbuild.dib import python_bundle
from minbuild.dib.builder_vm import BuilderVm
from minbuild.dib.disk_image_create import DibJob, choose_location, make_dib_images
from minbuild.dib.elements import STATIC_ELEMENT, ElementFile, run_elements
from minbuild.file_io import translate_disk_errors
from minbuild.image import initramfs_segments
from minbuild.image.publish import Outputs
from minbuild.manifest.image_settings import DibLocation, ImageSettings
from minbuild.manifest.model import Component, Location, Manifest, RenderedFile, Section
from minbuild.pipeline.host_resolution import resolve_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_creation import find_tools, load_or_create_lock
from minbuild.pipeline.package_sources import with_archives
from minbuild.pipeline.resolved_host import assemble_rootfs
from minbuild.pipeline.rootfs_checks import verify_rootfs
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.tool_setup import open_toolbox, open_tools
from minbuild.rootfs.model import RootfsTree

BASE_ELEMENT = "minbuild-root"


def apply_elements(manifest: Manifest, tree: RootfsTree, session: Session) -> Manifest:
    """The manifest with the files that its elements make of its tree; they replace others' files.

    Raises: ToolError for an element that is not there, needs a shell inside the root, or fails.
    """
    names = [name.text for name in manifest.elements]
    session.progress.step(f"applying the elements {', '.join(names)}")
    elements = _expand_elements(names)
    chroot_elements = [element for element in elements if element.name != STATIC_ELEMENT]
    known.refuse_chroot_phases(chroot_elements, [])  # nothing of ours runs in a chroot, bash or not
    with session.store.create_temp_dir() as work:
        element_files = run_elements(elements, tree.nodes, session.store.require, work)
    replaced = {each.path for each in element_files}
    components = tuple(
        replace(one, files=tuple(file for file in one.files if file.path not in replaced))
        for one in manifest.components
    )
    location = manifest.elements[0].where
    element_components = tuple(
        _make_component(one.name, element_files, location) for one in elements
    )
    return replace(
        manifest, components=(*components, *(one for one in element_components if one.files))
    )


def _expand_elements(names: Sequence[str]) -> list[known.Element]:
    """What the names lead to, without what install-static wants for itself: we copy its files."""
    all_elements = known.expand_elements([BASE_ELEMENT, *names], known.make_elements_path())
    excluded = {BASE_ELEMENT}
    if any(element.name == STATIC_ELEMENT for element in all_elements):
        static_elements = known.expand_elements(
            [BASE_ELEMENT, STATIC_ELEMENT], known.make_elements_path()
        )
        excluded |= {element.name for element in static_elements} - {STATIC_ELEMENT, *names}
    return [element for element in all_elements if element.name not in excluded]


def _make_component(
    element: str, element_files: Sequence[ElementFile], location: Location
) -> Component:
    files = tuple(
        RenderedFile(
            path=each.path, where=location, content=each.content, mode=each.mode, uid=each.uid,
            gid=each.gid, link=each.link, directory=each.directory,
        )
        for each in element_files
        if each.element == element
    )  # fmt: skip
    return Component(
        name=f"{Section.SERVICES}/{element}",
        section=Section.SERVICES,
        summary=f"diskimage-builder's element {element}",
        where=location,
        files=files,
    )


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


def add_dib_images(
    request: BuildRequest, manifest: Manifest, tree: RootfsTree, outputs: Outputs, session: Session
) -> None:
    """Add the images that the manifest wants of dib to the outputs of a build.

    dib's logs lie in the directory of outputs at once, whatever comes of it.
    Raises: ToolError when dib cannot run or fails, or a disk is full.
    """
    size = sum(node.size for node in tree.nodes)
    paths = [node.path for node in tree.nodes]

    with session.store.create_temp_dir() as work, translate_disk_errors(work):
        for number, settings in enumerate(manifest.image.dib, 1):
            image_directory = work / str(number)
            image_directory.mkdir()
            suffix = f"-dib{number}" if len(manifest.image.dib) > 1 else "-dib"
            name = f"{manifest.name}{suffix}"
            log = outputs.directory / f"{name}.log"
            job = DibJob(settings, name, outputs.new, log, size, paths)
            builder = None
            if choose_location(job, request.dib_in, session.progress) is DibLocation.VM:
                builder = open_builder_vm(request, manifest, image_directory, session)
            images = make_dib_images(
                job, image_directory, progress=session.progress, builder=builder
            )
            with translate_disk_errors(outputs.directory):
                for path in images:
                    shutil.move(path, outputs.path(path.name))
