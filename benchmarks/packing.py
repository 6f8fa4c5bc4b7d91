"""Our segments against the best solid xz of the same files."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import Ground
from minbuild.build import life
from minbuild.build.request import Doors, Request
from minbuild.build.tools import open_toolbox
from minbuild.image import cpio, segments
from minbuild.image.groups import dictionary
from minbuild.manifest.find import manifest_file
from minbuild.manifest.types import Compression
from minbuild.progress import Silent

SOLID = (
    ("--x86", "--lzma2=preset=9e,dict={size}"),
    ("--x86", "--lzma2=preset=9e,lc=4,pb=0,dict={size}"),
    ("--x86", "--lzma2=mode=normal,mf=bt4,nice=273,lc=4,depth=512,dict={size}"),
)
"""Settings of xz, of which the smallest result counts."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of one initramfs packed in two ways."""

    segments: int
    parts: int
    """How many segments."""
    solid: int
    best: str
    """The settings that gave `solid`."""

    @property
    def more(self) -> float:
        """What segments cost, of 1."""
        return self.segments / self.solid - 1


def sizes(ground: Ground) -> Sizes:
    """Pack host.yaml's initramfs both ways."""
    doors = Doors(ground.store, Silent())
    request = Request(manifest_file("host.yaml"), lock=Path(ground.directory / "host.lock"))
    planned = life.plan(request, doors)
    toolbox = open_toolbox(request, planned.ground.lock, doors)
    tree = planned.tree
    ours = segments.pack(
        tree, doors.store, toolbox, Compression.XZ, arch="amd64", progress=Silent()
    )
    nodes = [node for node in tree.nodes if node.path != tree.kernel]
    whole = cpio.write(nodes, lambda sha256: segments.content(doors.store, sha256))
    found = {}
    for settings in SOLID:
        words = [word.format(size=dictionary(len(whole))) for word in settings]
        argv = ["--format=xz", "--check=crc32", "--stdout", *words]
        packed = toolbox.run("xz", argv, what="packing all files at once", stdin=whole)
        found[" ".join(words)] = len(packed)
    best = min(found, key=lambda name: found[name])
    return Sizes(sum(one.size for one in ours), len(ours), found[best], best)
