"""Elements of a manifest: the files that they make become components named after them."""

from collections.abc import Sequence
from dataclasses import replace

from minbuild.dib import elements as known
from minbuild.dib.phases import STATIC_ELEMENT, ElementFile, run_elements
from minbuild.manifest.model import Component, Location, Manifest, RenderedFile, Section
from minbuild.pipeline.session import Session
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
