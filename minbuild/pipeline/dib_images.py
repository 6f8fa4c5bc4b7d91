"""Images that diskimage-builder makes of a host, here or in the builder machine."""

import shutil

from minbuild.dib.disk_image_create import DibJob, choose_location, make_dib_images
from minbuild.dib.model import DibLocation
from minbuild.file_io import translate_disk_errors
from minbuild.image.publish import Outputs
from minbuild.manifest.model import Manifest
from minbuild.pipeline.dib_builder import open_builder_vm
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.rootfs.model import RootfsTree


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
