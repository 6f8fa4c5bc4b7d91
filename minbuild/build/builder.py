"""The builder machine, built by minbuild itself: where dib runs when this machine does not let it."""

from dataclasses import replace
from pathlib import Path

from minbuild.build.request import Doors, Request, lock_file
from minbuild.build.selection import named
from minbuild.build.tools import lay_tools, open_toolbox
from minbuild.dib import python
from minbuild.dib.machine import Machine
from minbuild.image import segments
from minbuild.manifest.types import ImageWish, Manifest
from minbuild.shipped import shipped

NAME = "builder.yaml"


def open_machine(request: Request, manifest: Manifest, work: Path, doors: Doors) -> Machine:
    """Build the builder and lay it down in `work`; what has not changed comes from the store.

    Its lock, builder.lock, lies beside that of `manifest`.
    Raises: ArchiveError, ResolveError, ToolError, as any build.
    """
    from minbuild.build.life import Built, prepare

    lock = lock_file(request, manifest).with_name("builder.lock")
    own = replace(
        request, manifest=shipped("manifests") / NAME, settings={}, cell="", components=(),
        lock=lock, root=None, compression=None, archives=(), output=work / "builder",
    )  # fmt: skip
    doors.progress.step("building the builder machine")
    ready = prepare(own, doors)
    assert not isinstance(ready, Built)  # nothing was ever built there
    found = ready.ground.manifest
    packed = segments.pack(ready.tree, doors.store, ready.toolbox, found.image.compression,
                           arch=found.arch, progress=doors.progress)  # fmt: skip
    initrd, kernel = work / "builder.initrd", work / "builder.vmlinuz"
    segments.join(packed, doors.store, initrd)
    (found_kernel,) = (node for node in ready.tree.nodes if node.path == ready.tree.kernel)
    kernel.write_bytes(doors.store.need(found_kernel.sha256))
    tools = lay_tools(own, ready.ground.lock, doors, named("python"))
    return Machine(
        kernel=kernel,
        initrd=initrd,
        python=python.packed(ready.tree.nodes, doors.store.need, tools, doors.store),
        tools=open_toolbox(own, ready.ground.lock, doors, image=ImageWish(), lab=True),
    )
