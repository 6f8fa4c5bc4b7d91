"""A manifest's dib elements: what they bring becomes files of components named after them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from minbuild.build.request import Doors
from minbuild.dib import elements as known
from minbuild.dib.phases import STATIC, Brought, apply
from minbuild.image.segments import content
from minbuild.manifest.types import Component, Manifest, RenderedFile, Section, Where
from minbuild.tree.types import Tree

ROOT = "minbuild-root"


def with_elements(manifest: Manifest, tree: Tree, doors: Doors) -> Manifest:
    """The manifest with the files that its elements make of its tree; they replace others' files.

    Raises: ToolError for an element that is not there, needs a shell inside the root, or fails.
    """
    names = [name.text for name in manifest.elements]
    doors.progress.step(f"applying the elements {', '.join(names)}")
    elements = _elements(names)
    inside = [element for element in elements if element.name != STATIC]
    known.refuse_inside(inside, [])  # nothing of ours runs in a chroot, bash or not
    with doors.store.work() as work:
        brought = apply(elements, tree.nodes, partial(content, doors.store), work)
    replaced = {each.path for each in brought}
    before = tuple(
        replace(one, files=tuple(file for file in one.files if file.path not in replaced))
        for one in manifest.components
    )
    where = manifest.elements[0].where
    made = tuple(_component(one.name, brought, where) for one in elements)
    return replace(manifest, components=(*before, *(one for one in made if one.files)))


def _elements(names: Sequence[str]) -> list[known.Element]:
    """What the names lead to, without what install-static wants for itself: we copy its files."""
    every = known.expand([ROOT, *names], known.search_path())
    left = {ROOT}
    if any(element.name == STATIC for element in every):
        own = known.expand([ROOT, STATIC], known.search_path())
        left |= {element.name for element in own} - {STATIC, *names}
    return [element for element in every if element.name not in left]


def _component(element: str, brought: Sequence[Brought], where: Where) -> Component:
    files = tuple(
        RenderedFile(
            path=each.path, where=where, content=each.content, mode=each.mode, uid=each.uid,
            gid=each.gid, link=each.link, directory=each.directory,
        )
        for each in brought
        if each.element == element
    )  # fmt: skip
    return Component(
        name=f"{Section.SERVICES}/{element}",
        section=Section.SERVICES,
        summary=f"diskimage-builder's element {element}",
        where=where,
        files=files,
    )
