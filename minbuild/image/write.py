"""From a tree to the images of a host, in its output directory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.image.disk import Identity
from minbuild.image.formats import FORMATS, Material, in_order
from minbuild.image.outputs import Outputs, open_outputs
from minbuild.image.segments import Segment, join, pack
from minbuild.image.uki import Parts
from minbuild.manifest.types import Compression, DiskWish, ImageFormat, Sign
from minbuild.progress import Progress
from minbuild.store import Store
from minbuild.toolbox.toolbox import Toolbox
from minbuild.tree.types import Tree


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written."""

    name: str
    """Of the outputs: host for host.efi."""
    arch: str
    tree: Tree
    cmdline: str
    osrel: bytes
    """The content of os-release, which a boot menu shows."""
    formats: tuple[ImageFormat, ...]
    compression: Compression
    seed: str
    """What identifiers follow from: the lock's digest."""
    disk: DiskWish | None = None
    """None: an ESP alone."""
    sign: Sign | None = None
    """None: nothing is signed."""


@dataclass(frozen=True, slots=True)
class Images:
    """What was written, before it is published."""

    initramfs: int
    """Packed bytes of the initramfs."""
    packed: Mapping[str, int]
    """Bytes of each image by its suffix, "efi" the one that boots."""
    segments: tuple[Segment, ...]


def write(
    order: Order,
    directory: Path,
    beside: Callable[[Images], Mapping[str, bytes]],
    *,
    store: Store,
    toolbox: Toolbox,
    progress: Progress,
    last: Callable[[Outputs], None] = lambda outputs: None,
) -> tuple[Path, ...]:
    """Write every image of an order, and SHA256SUMS, to `directory`: all of them or none.

    `beside` gives more files, by name, that are published with them (footprint.json); `last` adds
    what is made of all of these. Returns all paths.
    Raises: ToolError when a tool fails or the directory cannot be written.
    """
    segments = pack(
        order.tree, store, toolbox, order.compression, arch=order.arch, progress=progress
    )
    with open_outputs(directory) as outputs:
        kernel, initrd = _kept(store, _kernel(order.tree)), outputs.work / "initrd"
        join(segments, store, initrd)
        parts = Parts(order.arch, kernel, initrd, order.cmdline, order.osrel, order.tree.release)
        made: dict[ImageFormat, Path] = {}
        for each in in_order(order.formats):
            name = f"{order.name}.{FORMATS[each].suffix}"
            place = outputs.place(name) if each in order.formats else outputs.work / name
            progress.step(f"writing {name}")
            material = Material(
                parts=parts,
                identity=Identity(order.seed),
                toolbox=toolbox,
                work=outputs.work,
                made=made,
                tree=order.tree,
                content=store.need,
                name=order.name,
                disk=order.disk,
                sign=order.sign,
            )
            FORMATS[each].make(material, place)
            made[each] = place
        sizes = {FORMATS[each].suffix: _size(path) for each, path in made.items()}
        for name, data in beside(Images(initrd.stat().st_size, sizes, segments)).items():
            outputs.place(name).write_bytes(data)
        last(outputs)
        return outputs.publish()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a directory."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size


def _kept(store: Store, sha256: str) -> Path:
    """Where the store holds these bytes, which were checked in this run."""
    path = store.sound(sha256)
    if path is None:
        store.need(sha256)  # says what is lost
    assert path is not None
    return path


def _kernel(tree: Tree) -> str:
    return next(node.sha256 for node in tree.nodes if node.path == tree.kernel)
