"""Images that diskimage-builder makes of a build, before it is published."""

import shutil

from minbuild.build.request import Doors
from minbuild.image.outputs import Outputs
from minbuild.manifest.types import Manifest
from minbuild.tree.types import Tree


def assemble_all(manifest: Manifest, tree: Tree, outputs: Outputs, doors: Doors) -> None:
    """Add the images that the manifest wants of dib to the outputs of a build.

    dib's logs lie in the directory of outputs at once, whatever comes of it.
    Raises: ToolError when dib cannot run here, or fails.
    """
    if not manifest.image.dib:
        return
    from minbuild.dib.assemble import assemble

    size = sum(node.size for node in tree.nodes)
    with doors.store.work() as work:
        for number, wish in enumerate(manifest.image.dib, 1):
            place = work / str(number)
            place.mkdir()
            end = f"-dib{number}" if len(manifest.image.dib) > 1 else "-dib"
            name = f"{manifest.name}{end}"
            made = assemble(
                wish, name, outputs.new, place, size=size, progress=doors.progress,
                paths=[node.path for node in tree.nodes], log=outputs.directory / f"{name}.log",
            )  # fmt: skip
            for path in made:
                shutil.move(path, outputs.place(path.name))
