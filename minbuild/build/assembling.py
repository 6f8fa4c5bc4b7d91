"""Images that diskimage-builder makes of a build, before it is published."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.build.request import Doors, Request
from minbuild.image.outputs import Outputs
from minbuild.manifest.types import Manifest
from minbuild.records import full_disk
from minbuild.tree.types import Tree

if TYPE_CHECKING:
    from minbuild.dib.machine import Machine


def assemble_all(
    request: Request, manifest: Manifest, tree: Tree, outputs: Outputs, doors: Doors
) -> None:
    """Add the images that the manifest wants of dib to the outputs of a build.

    dib's logs lie in the directory of outputs at once, whatever comes of it.
    Raises: ToolError when dib cannot run or fails, or a disk is full.
    """
    if not manifest.image.dib:
        return
    from minbuild.build.builder import open_machine
    from minbuild.dib.assemble import Order, assemble

    size = sum(node.size for node in tree.nodes)
    paths = [node.path for node in tree.nodes]

    def builder(work: Path) -> "Machine":
        return open_machine(request, manifest, work, doors)

    with doors.store.work() as work, full_disk(work):
        for number, wish in enumerate(manifest.image.dib, 1):
            place = work / str(number)
            place.mkdir()
            end = f"-dib{number}" if len(manifest.image.dib) > 1 else "-dib"
            name = f"{manifest.name}{end}"
            log = outputs.directory / f"{name}.log"
            order = Order(wish, name, outputs.new, log, size, paths)
            made = assemble(
                order, place, progress=doors.progress, place=request.dib_in, builder=builder
            )
            with full_disk(outputs.directory):
                for path in made:
                    shutil.move(path, outputs.place(path.name))
