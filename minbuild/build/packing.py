"""From a proved tree to the files in the output directory: images, footprint, lock, sums."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.build import own
from minbuild.build.assembling import assemble_all
from minbuild.build.cmdline import cmdline
from minbuild.build.ground import Ground
from minbuild.build.inputs import inputs_of
from minbuild.build.request import Doors, Request
from minbuild.build.surface import look
from minbuild.build.weights import weigh
from minbuild.footprint import document
from minbuild.footprint.measure import measure
from minbuild.footprint.types import Footprint
from minbuild.image.outputs import Outputs
from minbuild.image.write import Images, Order, write
from minbuild.manifest.types import Manifest
from minbuild.toolbox.toolbox import Toolbox
from minbuild.tree.types import Tree


def pack(
    request: Request, ground: Ground, tree: Tree, toolbox: Toolbox, directory: Path, doors: Doors
) -> tuple[Footprint, tuple[Path, ...]]:
    """Write every output of a build to `directory`, all or none; returns them with the footprint.

    Raises: ToolError when a tool fails or the directory cannot be written.
    """
    manifest = ground.manifest
    locked = lockfile.render(ground.lock)
    own.note(locked.encode(), doors.store)
    doors.progress.step(f"packing {manifest.name}")
    measured: list[Footprint] = []
    surface = look(ground, tree, cmdline(manifest), doors.store)

    def beside(images: Images) -> Mapping[str, bytes]:
        footprint = measure(
            manifest,
            tree,
            ground.lock.packages,
            initramfs=images.initramfs,
            packed=images.packed,
            weights=weigh(tree, doors.store),
            surface=surface,
            inputs=inputs_of(request, manifest),
        )
        measured.append(footprint)
        return {
            "footprint.json": document.render(footprint).encode(),
            f"{manifest.name}.lock": locked.encode(),
        }

    def last(outputs: Outputs) -> None:
        assemble_all(request, manifest, tree, outputs, doors)

    order = Order(
        name=manifest.name,
        arch=manifest.arch,
        tree=tree,
        cmdline=cmdline(manifest),
        osrel=os_release(manifest),
        formats=manifest.image.formats,
        compression=manifest.image.compression,
        seed=hashlib.sha256(locked.encode()).hexdigest(),
        disk=manifest.image.disk,
        sign=manifest.image.sign,
    )
    outputs = write(
        order, directory, beside, store=doors.store, toolbox=toolbox, progress=doors.progress,
        last=last,
    )  # fmt: skip
    return measured[0], outputs


def os_release(manifest: Manifest) -> bytes:
    """What a boot menu shows of the image. Source: os-release(5)."""
    title = manifest.summary or manifest.name
    return (
        f'ID=minbuild\nNAME="{_quoted(manifest.name)}"\nPRETTY_NAME="{_quoted(title)}"\n'
    ).encode()


def _quoted(text: str) -> str:
    for special in '\\"$`':
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
