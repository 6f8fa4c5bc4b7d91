"""A manifest's dib elements: what they bring becomes files of components named after them."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.dib import elements as known
from minbuild.dib.phases import STATIC_ELEMENT, ElementFile, run_elements
from minbuild.file_io import translate_disk_errors
from minbuild.image.publish import Outputs
from minbuild.manifest.model import Component, Location, Manifest, RenderedFile, Section
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.rootfs.model import RootfsTree

if TYPE_CHECKING:
    from minbuild.dib.builder_vm import BuilderVm


def add_dib_images(
    request: BuildRequest, manifest: Manifest, tree: RootfsTree, outputs: Outputs, session: Session
) -> None:
    """Add the images that the manifest wants of dib to the outputs of a build.

    dib's logs lie in the directory of outputs at once, whatever comes of it.
    Raises: ToolError when dib cannot run or fails, or a disk is full.
    """
    if not manifest.image.dib:
        return
    from minbuild.dib.disk_image_create import DibJob, make_dib_images
    from minbuild.pipeline.dib_builder import open_builder_vm

    size = sum(node.size for node in tree.nodes)
    paths = [node.path for node in tree.nodes]

    def open_builder(work: Path) -> "BuilderVm":
        return open_builder_vm(request, manifest, work, session)

    with session.store.create_temp_dir() as work, translate_disk_errors(work):
        for number, settings in enumerate(manifest.image.dib, 1):
            image_directory = work / str(number)
            image_directory.mkdir()
            suffix = f"-dib{number}" if len(manifest.image.dib) > 1 else "-dib"
            name = f"{manifest.name}{suffix}"
            log = outputs.directory / f"{name}.log"
            job = DibJob(settings, name, outputs.new, log, size, paths)
            images = make_dib_images(
                job,
                image_directory,
                progress=session.progress,
                location=request.dib_in,
                open_builder=open_builder,
            )
            with translate_disk_errors(outputs.directory):
                for path in images:
                    shutil.move(path, outputs.path(path.name))


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
